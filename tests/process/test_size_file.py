"""A pool that follows a file, or what the machine has left, while it is at work."""

import os
import re
import subprocess
import sys
import time

import psutil
import pytest
from support.waiting import Gate, until

from orchestrator import ConfigError, Pool
from orchestrator.machine import cpu
from orchestrator.pool.size import resizing


def nap(x):
    time.sleep(0.002)
    return x


def test_a_pool_follows_its_file(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(resizing, "LOOK_S", 0.02)
    path = tmp_path / "size"
    path.write_text("2\n")

    def size():
        _ = pool.workers  # has the pool look
        return pool.size

    with Pool(str(path)) as pool:
        assert pool.size == 2

        def items():
            for number in range(600):
                if number == 100:
                    path.write_text("3\n")
                elif number == 200:
                    until(lambda: size() == 3)
                    path.write_text("many\n")
                elif number == 300:
                    os.replace(path, path.with_suffix(".old"))
                yield number

        assert list(pool.map(nap, items(), chunk=1)) == list(range(600))
        path.write_text("0")
        until(lambda: size() == 0)
        path.write_text("+0")
        pool.reread_size()
        assert list(pool.map(nap, range(10))) == list(range(10))
        assert pool.size >= 1
    said = capfd.readouterr().err
    assert len(re.findall(r"-j \S+: invalid number of workers: 'many'.*; it stays at 3 workers", said)) <= 1
    assert len(re.findall(r"-j \S+: can't read it: No such file.*; it stays at 3 workers", said)) == 1
    with pytest.raises(ConfigError, match="no file has that name"):
        Pool(str(tmp_path / "nowhere"))
    path.write_text("0")
    with Pool(str(path)) as pool:
        assert pool.size == 0


class Plenty:
    def total_bytes(self):
        return 2**40

    available_bytes = total_bytes


def test_a_pool_of_auto_size_follows_the_machine(monkeypatch):
    """As the machine is described, not as it is: the tests share it with others."""
    monkeypatch.setattr(resizing, "LOOK_S", 0.005)
    idle = [3.0]
    monkeypatch.setattr(cpu.CpuWatch, "poll", lambda _: (idle[0], 4.0))
    monkeypatch.setattr(cpu.CpuWatch, "look_at_groups", lambda *_: 0.5)
    sizes = []

    def items():
        while True:
            sizes.append(pool.size)
            if pool.size == 5:
                idle[0] = 0.0
            elif idle[0] == 0.0 and pool.size == 2:
                return
            yield 0

    with Pool("auto:2-5", memory=Plenty()) as pool:
        assert set(pool.map(nap, items(), chunk=1)) == {0}
        assert max(sizes) == 5
        idle[0] = 3.0
        pool.resize(3)  # ends it
        list(pool.map(nap, range(100), chunk=1))
        assert pool.size == 3


def test_what_the_machine_says(tmp_path, monkeypatch):
    watch = cpu.CpuWatch()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"], process_group=0) as busy:
        try:
            assert watch.look_at_groups({busy.pid}) is None
            until(lambda: psutil.Process(busy.pid).cpu_times().user > 0.1)
            assert 0 < watch.look_at_groups({busy.pid}) <= os.cpu_count() + 1
        finally:
            busy.kill()
    idle, cpus = watch.poll()
    assert 0 <= idle <= cpus <= os.cpu_count()

    (tmp_path / "cpu.stat").write_text("usage_usec 1000000\n")
    monkeypatch.setattr(cpu, "_CGROUP", str(tmp_path))
    monkeypatch.setattr(cpu, "cgroup_cpus", lambda: 0.5)
    watch = cpu.CpuWatch()
    (tmp_path / "cpu.stat").write_text("usage_usec 9000000000\n")  # used up
    assert watch.poll() == (0.0, 0.5)


def waits(path):
    Gate(path).wait()
    return 1


def test_the_status_says_what_runs(tmp_path):
    gate = tmp_path / "gate"
    with Pool(2) as pool:
        future = pool.submit(waits, gate)
        results = pool.map(waits, [gate] * 3, chunk=1, timeout=60)
        until(lambda: pool.status().chunks_in_flight)
        running = [each for each in pool.status().workers if each.runs]
        assert [each.id for each in pool.status().workers] == [0, 1]
        assert all(each.rss_bytes > 0 and each.for_s >= 0 for each in running)
        assert "chunk" in str(pool.status())
        gate.touch()
        assert future.result() == 1
        assert list(results) == [1, 1, 1]
        assert "nothing to do" in str(pool.status())
