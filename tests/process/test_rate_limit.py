"""A rate limit over real processes: one count for all, and nobody who dies holds a turn. Nothing here asserts a time."""

import gc
import os
import pickle
import signal
import subprocess
import sys

import pytest

from orchestrator import RateLimit, Stream, run
from orchestrator.errors import ResourceTimeoutError

NEVER = 1e-6
"""Turns a second: none comes while a test runs."""


def is_even(n):
    return n % 2 == 0


def takes(limit, _n):
    try:
        limit.acquire(timeout=0)
    except ResourceTimeoutError:
        return 0
    return 1


@pytest.fixture
def pool(pool):
    """A pool that has forgotten the last call at the end: what pickled its function refers to it until the next one."""
    yield pool
    list(pool.map(abs, [1]))
    gc.collect()


def test_all_processes_take_from_one_count(pool):
    limit = RateLimit(NEVER, burst=25)
    taken = [takes(limit, 0) for _ in range(3)]
    assert sum(pool.map(lambda n: takes(limit, n), range(200), chunk=3)) + sum(taken) == 25
    assert takes(limit, 0) == 0
    assert sum(pool.map(lambda n: takes(limit, n), range(20))) == 0


def test_a_map_keeps_to_a_rate_that_it_shares_with_others(pool):
    limit = RateLimit(NEVER, burst=40)
    assert list(pool.map(divmod, range(20), [3] * 20, rate=limit)) == [divmod(n, 3) for n in range(20)]
    found = []
    run(Stream(range(40)).filter(is_even).map(abs, rate=limit).to(found), pool=pool)
    assert found == [*range(0, 40, 2)]
    assert takes(limit, 0) == 0


def test_a_map_with_a_rate_of_its_own_is_the_same_map(pool):
    assert list(pool.map(abs, range(50), rate=1000.0, retries=1)) == list(range(50))


WAITS = """
import pickle, sys
limit = pickle.load(sys.stdin.buffer)
print("waits", flush=True)
limit.acquire()
"""


def test_who_is_killed_while_it_waits_holds_no_turn():
    limit = RateLimit(5)
    for _ in range(3):
        limit.acquire()
        child = subprocess.Popen([sys.executable, "-c", WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdin.write(pickle.dumps(limit))
        child.stdin.close()
        assert child.stdout.readline() == b"waits\n"
        child.kill()
        child.wait()
        child.stdout.close()
    due_s = limit._due_s[0]
    limit.acquire(timeout=60)
    assert limit._due_s[0] >= due_s


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_takes_from_the_same_count():
    limit = RateLimit(NEVER, burst=2)
    limit.acquire()
    with limit._file.mutex:  # which no thread of the child will ever give back
        child = os.fork()
        if not child:
            os._exit(takes(limit, 0))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert takes(limit, 0) == 0


def test_one_that_is_killed_under_the_mutex_leaves_the_limit_whole():
    limit = RateLimit(NEVER, burst=2)
    child = os.fork()
    if not child:
        limit._file.mutex.__enter__()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert [takes(limit, 0) for _ in range(3)] == [1, 1, 0]
