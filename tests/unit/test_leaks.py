"""The leak check sees each kind of leak, and nothing where there is none."""

import os
import subprocess
import sys
import threading
from multiprocessing import shared_memory
from pathlib import Path

from support.leaks import Snapshot, leaks_since
from support.waiting import until


def test_nothing_left_is_nothing_told():
    before = Snapshot.take()
    with Path(os.devnull).open():
        pass
    assert leaks_since(before) == []


def test_a_thread_is_seen():
    before, gate = Snapshot.take(), threading.Event()
    thread = threading.Thread(target=gate.wait, name="stays")
    thread.start()
    assert "thread 'stays'" in leaks_since(before, deadline_s=0)
    gate.set()
    thread.join()


def test_a_descriptor_is_seen():
    before = Snapshot.take()
    reader, writer = os.pipe()
    assert len(leaks_since(before, deadline_s=0)) == 2
    os.close(reader)
    os.close(writer)


def test_a_process_is_seen_and_so_is_one_that_nobody_waited_for():
    before = Snapshot.take()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert any(f"process {process.pid}" in leak for leak in leaks_since(before, deadline_s=0))
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert any("zombie" in leak for leak in leaks_since(before, deadline_s=0))


def test_a_segment_is_seen_while_it_is_mapped():
    before = Snapshot.take()
    segment = shared_memory.SharedMemory(create=True, size=4096)
    assert any(segment.name.strip("/") in leak for leak in leaks_since(before, deadline_s=0))
    segment.close()
    segment.unlink()


def test_a_temporary_file_is_seen_whoever_of_ours_made_it():
    before = Snapshot.take()
    made = subprocess.check_output([sys.executable, "-c", "import tempfile; print(tempfile.mkdtemp(), end='')"], text=True)
    assert leaks_since(before, deadline_s=0) == [f"temporary file {Path(made).name}"]
    Path(made).rmdir()


NEIGHBOUR = """
import os, subprocess, sys, tempfile
if os.fork():
    os._exit(0)
os.setsid()
made = [tempfile.mkstemp(prefix="orchestrator-", dir=folder)[1] for folder in ("/dev/shm", "/tmp")]
print(os.getpid(), *made, flush=True)
sys.stdin.read()
for path in made:
    os.unlink(path)
"""


def test_what_a_neighbour_does_is_not_held_against_a_test():
    """One that was started elsewhere, makes names like ours in the common folders, and holds them."""
    before = Snapshot.take()
    with subprocess.Popen([sys.executable, "-c", NEIGHBOUR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        pid, *made = parent.stdout.readline().split()
        parent.wait()
        ours = {leak for leak in leaks_since(before, deadline_s=0) if not leak.startswith("file descriptor")}  # its pipes
        assert all(map(os.path.exists, made))
        assert ours == set()
    assert leaks_since(before) == []
    until(lambda: not any(map(os.path.exists, [*made, f"/proc/{pid}"])))
