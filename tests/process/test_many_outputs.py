"""More outputs than descriptors: files are closed and reopened, checkpoints and failures included."""

import os
import resource
import sys
import textwrap
from subprocess import run as run_process

import pytest

from orchestrator import OrchestratorError, Stream, run
from orchestrator.sinks.disk.descriptors import DescriptorPool
from orchestrator.sinks.disk.output_file import output_file

PROGRAM = """
import os, resource, sys
from orchestrator import Stream, run
soft, hard, keys, kill, ending = *map(int, sys.argv[1:5]), sys.argv[5]
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
os.makedirs("out", exist_ok=True)
seen = 0
def key(x):
    global seen
    seen += 1
    if seen == int(sys.argv[4]):  # no global: those belong to what a run is known by
        os.kill(os.getpid(), 9)
    return x % keys
more = {"checkpoint": "kept", "checkpoint_every_s": 0.05} if kill >= 0 else {}
run(Stream(range(3 * keys)).demultiplex(key, to=lambda k: f"out/{k}{ending}"), **more)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], len(os.listdir("/proc/self/fd")))
"""


def go(folder, *arguments):
    (folder / "program.py").write_text(textwrap.dedent(PROGRAM))
    # A path of the package's own: the folder is another one.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [sys.executable, "program.py", *map(str, arguments)]
    return run_process(words, cwd=folder, capture_output=True, text=True, env=environment, check=False)


def check(folder, keys, ending=""):
    import gzip

    for key in range(keys):
        data = (folder / "out" / f"{key}{ending}").read_bytes()
        text = (gzip.decompress(data) if ending.endswith(".gz") else data).decode()
        assert text == f"{key}\n{key + keys}\n{key + 2 * keys}\n"
    assert len(os.listdir(folder / "out")) == keys


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_hard_limit_far_below_the_keys(tmp_path, ending):
    done = go(tmp_path, 64, 64, 500, -1, ending)
    assert done.returncode == 0, done.stderr
    check(tmp_path, 500, ending)
    assert int(done.stdout.split()[1]) < 16  # none is left open


def test_the_soft_limit_is_raised_to_the_hard_one_when_it_is_too_low(tmp_path):
    assert go(tmp_path, 64, 200, 5, -1, "").stdout.split()[0] == "64"
    assert go(tmp_path, 64, 200, 100, -1, "").stdout.split()[0] == "200"


def test_killed_and_resumed(tmp_path):
    for kill in (700, 1000):
        assert go(tmp_path, 64, 64, 400, kill, "").returncode == -9
    done = go(tmp_path, 64, 64, 400, 0, "")
    assert done.returncode == 0, done.stderr
    check(tmp_path, 400)


def test_the_one_used_least_recently_rests():
    class File:
        rests = 0

        def rest(self):
            self.rests += 1

    pool, files = DescriptorPool(2), [File() for _ in range(3)]
    for file in files[:2]:
        pool.open(file, lambda: 7)
    pool.used(files[0])
    assert pool.open(files[2], lambda: 9) == 9
    assert [file.rests for file in files] == [0, 1, 0]
    pool.forget(files[0])
    pool.open(files[1], lambda: 7)
    assert [file.rests for file in files] == [0, 1, 0]


@pytest.mark.parametrize("how", ["removed", "replaced", "longer"])
def test_what_was_changed_while_it_rested_is_told(tmp_path, how):
    file = output_file(str(tmp_path / "x"))
    file.write(b"one\n")
    file.rest()
    (part,) = tmp_path.iterdir()
    if how == "longer":
        part.write_bytes(b"one\nmore\n")
    else:
        part.unlink()
    if how == "replaced":
        part.write_bytes(b"one\n")
    with pytest.raises(OrchestratorError, match="somebody else has changed"):
        file.write(b"two\n")
        file.close()
    file.abort()


def test_without_descriptors_for_others_files_rest_early(tmp_path, monkeypatch):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, limit[1]))
        monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
        while len(os.listdir("/proc/self/fd")) < 92:
            taken.append(os.open("/dev/null", os.O_RDONLY))
        run(Stream(range(200)).demultiplex(lambda x: x % 40, to=lambda key: str(tmp_path / str(key))))
    finally:
        monkeypatch.undo()
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        for fd in taken:
            os.close(fd)
    assert sorted(os.listdir(tmp_path), key=int) == [str(key) for key in range(40)]
    assert (tmp_path / "7").read_text() == "".join(f"{x}\n" for x in range(7, 200, 40))
