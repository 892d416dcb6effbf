"""Workers never outlive their program, however it ends; and it ends quietly."""

import gc
import os
import signal

import psutil
import pytest
from support.scripts import TIMEOUT_S, run_script, start_script, succeeded
from support.waiting import Gate, is_running, until

from orchestrator import Pool

GONE_S = 5.0
"""A second is the promise; a loaded machine is given more."""


@pytest.fixture(params=["forkserver", "spawn", "fork"])
def method(request):
    return request.param


def pids_of(process):
    return [int(word) for word in process.stdout.readline().split()]


def waits_for_its_workers(process):
    """Wait until it sleeps: a Ctrl-C in the middle of the pool's own work ends the pool, which another test holds."""
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING)


def test_coordinator_killed(tmp_path, method):
    """Workers leave at once, in the middle of an item, and take their own children along."""
    text = f"""
    import os, subprocess
    from orchestrator import Pool
    def start_child(_):
        return subprocess.Popen(["sleep", "1000"]).pid
    def spin(_):
        while True:
            pass
    pool = Pool(workers=2, start_method={method!r})
    print(*[w.pid for w in pool.workers], *pool.run_on_all(start_child, 0), flush=True)
    list(pool.map(spin, range(10)))
    """
    with start_script(tmp_path, text) as process:
        pids = pids_of(process)
        assert len(pids) == 4
        assert all(map(is_running, pids))
        process.kill()
        process.wait()
        until(lambda: not any(map(is_running, pids)), GONE_S)


@pytest.mark.parametrize("body", ["list(pool.map(nap, range(10)))", "pool.submit(nap, 1).result()"])
def test_interrupted_twice(tmp_path, method, body):
    """The first Ctrl-C, to the whole process group, is a KeyboardInterrupt here; the pool goes on; so does the second."""
    text = f"""
    import pathlib, time
    from orchestrator import Pool
    def nap(_):
        pathlib.Path("begun").touch()
        time.sleep(1000)
    with Pool(workers=2, start_method={method!r}) as pool:
        print(*[w.pid for w in pool.workers], *pool.run_on_all(lambda: 0), flush=True)
        try:
            {body}
        except KeyboardInterrupt:
            pass
        print("first", flush=True)
        {body}
    """
    with start_script(tmp_path, text) as process:
        pids = pids_of(process)[:2]
        Gate(tmp_path / "begun").wait()
        waits_for_its_workers(process)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "first\n"
        assert all(map(is_running, pids)), "workers ignore Ctrl-C"
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == -signal.SIGINT
        assert err.count("Traceback") == 1, err
        assert err.rstrip().endswith("KeyboardInterrupt")
        until(lambda: not any(map(is_running, pids)), GONE_S)


def test_dropped_without_close(start_method):
    pool = Pool(workers=2, start_method=start_method)
    assert pool.submit(abs, -1).result() == 1
    pids = [worker.pid for worker in pool.workers]
    del pool
    gc.collect()
    until(lambda: not any(map(is_running, pids)), GONE_S)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "print(list(pool.map(abs, [-1])))",
        "print(pool.submit(abs, -1).result())",
        "results = pool.map(abs, range(10**9)); next(results)",
        "future = pool.submit(time.sleep, 1000)",
        "futures = [pool.submit(abs, n) for n in range(1000)]",
        "import multiprocessing; multiprocessing.get_logger(); print(pool.submit(abs, -1).result())",
        "raise SystemExit(0)",
    ],
)
def test_exit_without_close(tmp_path, method, body):
    text = f"""
    import time
    from orchestrator import Pool
    pool = Pool(workers=2, start_method={method!r})
    {body}
    """
    succeeded(run_script(tmp_path, text))


def test_exit_by_an_error_without_close(tmp_path):
    done = run_script(tmp_path, "from orchestrator import Pool\npool = Pool(workers=2)\nnext(pool.map(abs, [1]))\n1/0\n")
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")


def test_prints_of_workers(tmp_path, method):
    text = f"""
    import sys
    from orchestrator import Pool
    def talk(n):
        print("out", n)
        print("err", n, file=sys.stderr)
        return n
    with Pool(workers=2, start_method={method!r}) as pool:
        assert list(pool.map(talk, range(20), progress=True)) == list(range(20))
    """
    done = run_script(tmp_path, text)
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == sorted(f"out {n}" for n in range(20))
    lines = done.stderr.splitlines()
    assert all(lines.count(f"err {n}") == 1 for n in range(20))


def test_prints_can_be_had(pool):
    said = []
    pool.on_output = lambda worker, stream, text: said.append((stream, text, worker in (0, 1)))
    list(pool.map(lambda n: print("hello", n), range(3), chunk=1))
    assert sorted(said) == [("stdout", f"hello {n}\n", True) for n in range(3)]


@pytest.mark.parametrize("leave", ["os._exit(0)", "sys.exit(0)"])
def test_fork_while_a_pool_is_open(tmp_path, leave):
    """The child neither ends the parent's workers nor waits for them, and the parent notices nothing."""
    text = f"""
    import gc, os, sys
    from orchestrator import Pool
    pool = Pool(workers=2)
    results = pool.map(abs, range(1000))
    assert next(results) == 0
    child = os.fork()
    if child == 0:
        pool.close()
        del results
        gc.collect()
        {leave}
    assert os.waitpid(child, 0)[1] == 0
    assert list(results) == list(range(1, 1000))
    assert pool.submit(abs, -2).result() == 2
    pids = [w.pid for w in pool.workers]
    pool.close()
    print(len(pids))
    """
    assert succeeded(run_script(tmp_path, text)) == "2\n"


def test_a_forked_child_may_have_a_pool_of_its_own(tmp_path):
    text = """
    import os
    from orchestrator import Pool
    pool = Pool(workers=1)
    assert next(pool.map(abs, [-1])) == 1
    child = os.fork()
    with Pool(workers=1) as own:
        assert list(own.map(abs, [-3])) == [3]
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert next(pool.map(abs, [-1])) == 1
    pool.close()
    """
    assert succeeded(run_script(tmp_path, text)) == ""


def test_a_forked_child_does_not_keep_the_workers_alive(tmp_path):
    """The coordinator is killed while a child that it forked lives on: the workers leave all the same."""
    text = """
    import os, sys, time
    from orchestrator import Pool
    pool = Pool(workers=2)
    pool.run_on_all(abs, 1)
    pids = [w.pid for w in pool.workers]
    child = os.fork()
    if child == 0:
        time.sleep(1000)
    print(*pids, child, flush=True)
    time.sleep(1000)
    """
    with start_script(tmp_path, text) as process:
        *workers, child = pids_of(process)
        try:
            process.kill()
            process.wait()
            until(lambda: not any(map(is_running, workers)), GONE_S)
            assert is_running(child)
        finally:
            os.kill(child, signal.SIGKILL)
