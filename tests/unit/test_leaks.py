"""The leak check sees each kind of leak, and nothing where there is none."""

import os
import subprocess
import sys
import threading
from multiprocessing import shared_memory
from pathlib import Path

from support.leaks import Snapshot, leaks_since


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


def test_a_segment_is_seen():
    before = Snapshot.take()
    segment = shared_memory.SharedMemory(create=True, size=4096)
    assert any(segment.name.strip("/") in leak for leak in leaks_since(before, deadline_s=0))
    segment.close()
    segment.unlink()
