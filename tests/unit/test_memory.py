"""How much memory there is, read from files as the kernel writes them."""

import os

import pytest

from orchestrator.machine.memory import SystemMemory, own_bytes

MEMINFO = "MemTotal:       8000 kB\nMemFree:  100 kB\nMemAvailable:   5000 kB\n"


@pytest.fixture
def tree(tmp_path):
    def make(cgroup, files):
        for name, text in {"proc/meminfo": MEMINFO, "proc/self/cgroup": cgroup, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return SystemMemory(str(tmp_path / "proc"), str(tmp_path / "groups"))

    return make


def group(folder, limit, used, dropped):
    return {
        f"groups{folder}/memory.max": f"{limit}\n",
        f"groups{folder}/memory.current": f"{used}\n",
        f"groups{folder}/memory.stat": f"anon 5\ninactive_file {dropped}\n",
    }


def old_group(folder, limit, used, dropped):
    return {
        f"groups/memory{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"groups/memory{folder}/memory.usage_in_bytes": f"{used}\n",
        f"groups/memory{folder}/memory.stat": f"cache 9\ninactive_file 1\ntotal_inactive_file {dropped}\n",
    }


@pytest.mark.parametrize(
    ("cgroup", "files", "total", "available"),
    [
        ("", {}, 8000 * 1024, 5000 * 1024),
        ("0::/\n", {}, 8000 * 1024, 5000 * 1024),
        ("0::/a/b\n", group("/a/b", "max", 100, 0), 8000 * 1024, 5000 * 1024),
        ("0::/a/b\n", group("/a/b", 90_000, 80_000, 5_000), 90_000, 15_000),
        ("0::/a/b\n", group("/a/b", "max", 1, 0) | group("/a", 50_000, 45_000, 0), 50_000, 5_000),  # its parent's
        ("0::/not/here\n", group("", 70_000, 80_000, 0), 70_000, 0),  # a container sees its own group as the root
        ("0::/\n", group("/unified", 60_000, 10_000, 0), 60_000, 50_000),
        ("4:cpu,memory:/x\n0::/\n", old_group("/x", 40_000, 30_000, 1_000), 40_000, 11_000),
        ("4:memory:/x\n", old_group("", 2**63 - 4096, 30_000, 0), 8000 * 1024, 5000 * 1024),
        ("4:memory:/docker/1\n", old_group("", 44_000, 30_000, 0), 44_000, 14_000),
    ],
)
def test_the_least_of_the_machine_and_all_groups_counts(tree, cgroup, files, total, available):
    memory = tree(cgroup, files)
    assert (memory.total_bytes(), memory.available_bytes()) == (total, available)


def test_this_machine_has_some():
    memory = SystemMemory()
    assert 0 < memory.available_bytes() <= memory.total_bytes() < 1 << 60


def test_shared_memory_is_nobodys_own(tmp_path):
    import mmap

    fd = os.memfd_create("shared")
    os.ftruncate(fd, 64 << 20)
    before = own_bytes(os.getpid())
    with mmap.mmap(fd, 64 << 20) as shared:
        shared.write(b"x" * (64 << 20))
        assert own_bytes(os.getpid()) < before + (48 << 20)
        own = bytearray(b"x") * (64 << 20)
        assert own_bytes(os.getpid()) > before + (48 << 20)
    del own
    os.close(fd)
    assert own_bytes(2**22 + 1) == 0
