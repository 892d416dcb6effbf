"""Deadlines and memory limits hold while nobody waits for results, and what a function has started goes with it."""

import os
import subprocess
import sys
import threading
import time

import pytest

from orchestrator import Failure, Pool
from tests.support.waiting import is_running, until

CHILD = "import os, time; time.sleep(60)"
OWN_CHILD = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {CHILD!r}]); time.sleep(60)"
HOARD = []


def note_pids(*pids):
    with open(os.environ["PIDS"] + ".new", "w") as file:
        file.write(" ".join(map(str, pids)))
    os.replace(os.environ["PIDS"] + ".new", os.environ["PIDS"])


def stuck_with_children(x):
    """Item 1 starts a child in its group, and one with a session of its own that starts another; then it is stuck."""
    if x == 1:
        near = subprocess.Popen([sys.executable, "-c", CHILD])
        far = subprocess.Popen([sys.executable, "-c", OWN_CHILD], start_new_session=True)
        import psutil

        [below] = until(psutil.Process(far.pid).children)
        note_pids(os.getpid(), near.pid, far.pid, below.pid)
        time.sleep(60)
    return x


def hoards(x):
    if x == 1:
        note_pids(os.getpid())
        HOARD.append(b"x" * (300 << 20))
        time.sleep(60)
    return x


@pytest.fixture
def pids(tmp_path, monkeypatch):
    path = tmp_path / "pids"
    monkeypatch.setenv("PIDS", str(path))
    return lambda: list(map(int, until(lambda: path.exists() and path.read_text()).split()))


def watchdogs():
    return [thread for thread in threading.enumerate() if thread.name == "orchestrator-watchdog"]


def test_a_deadline_is_held_while_the_consumer_is_away_and_no_child_is_left(pids):
    with Pool(2) as pool:
        results = pool.map(stuck_with_children, range(6), chunk=1, timeout=1.5, on_error="return")
        assert next(results) == 0
        for pid in pids():  # nobody looks at the pool meanwhile
            until(lambda pid=pid: not is_running(pid))
        assert [each for each in results if not isinstance(each, Failure)] == [2, 3, 4, 5]
        until(lambda: not watchdogs())  # no call has a deadline any more
        assert list(pool.map(abs, range(3))) == [0, 1, 2]
        assert not watchdogs()


def test_a_memory_limit_is_held_while_the_consumer_is_away(pids):
    with Pool(2, memory_limit="150M", max_deaths=1) as pool:
        results = pool.map(hoards, range(4), chunk=1, on_error="return")
        assert next(results) == 0
        [pid] = pids()
        until(lambda: not is_running(pid))
        assert [each for each in results if not isinstance(each, Failure)] == [2, 3]
    assert not watchdogs()
