"""`Executor` is a `concurrent.futures.ProcessPoolExecutor`. CPython's own tests of that: tests/peers."""

import asyncio
import concurrent.futures as cf
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest
from support.waiting import Gate, Tally, until

from orchestrator import Executor, WorkerDiedError, WorkerStartError
from orchestrator.fronts.executor import TerminatedWorkerError


def double(x):
    return 2 * x


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def fail():
    raise KeyError("missing") from ValueError("first")


def counted_death(tally):
    tally.add()
    die()


def wait_and_count(gate, tally):
    gate.wait()
    tally.add()


class Unloadable:
    def __reduce__(self):
        return fail, ()


@pytest.fixture
def executor():
    with Executor(2) as made:
        yield made


def test_it_is_an_executor(executor):
    assert isinstance(executor, cf.Executor)
    assert executor.submit(pow, 2, 5).result() == 32
    assert executor.submit(dict, fn=1, self=2, timeout=3).result() == {"fn": 1, "self": 2, "timeout": 3}
    futures = [executor.submit(double, n) for n in range(20)]
    assert sorted(future.result() for future in cf.as_completed(futures)) == [2 * n for n in range(20)]


@pytest.mark.parametrize("buffersize", [None, 1, 3, 100])
@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_map(executor, chunksize, buffersize):
    assert list(executor.map(pow, range(9), range(10), chunksize=chunksize, buffersize=buffersize)) == [n**n for n in range(9)]


def test_map_reads_no_further_than_its_buffer(executor):
    read = []
    results = executor.map(double, (read.append(n) or n for n in range(100)), buffersize=3)
    assert read == [0, 1, 2]
    assert next(results) == 0
    assert read == [0, 1, 2, 3]
    results.close()


def test_map_gives_up_after_its_time(executor, tmp_path):
    gate = Gate(tmp_path / "gate")
    with pytest.raises(TimeoutError):
        list(executor.map(Gate.wait, [gate], timeout=0.01))
    gate.open()


@pytest.mark.parametrize("wrong", [{"chunksize": 0}, {"buffersize": 0}])
def test_map_refuses_sizes_below_one(executor, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        executor.map(double, [1], **wrong)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (ValueError, {"max_workers": 0}),
        (TypeError, {"initializer": 5}),
        (TypeError, {"max_tasks_per_child": "5"}),
        (ValueError, {"max_tasks_per_child": 0}),
        (ValueError, {"max_tasks_per_child": 1, "mp_context": multiprocessing.get_context("fork")}),
        (ValueError, {"on_death": "retyr"}),
    ],
)
def test_arguments_are_checked(kind, wrong):
    with pytest.raises(kind, match=next(iter(wrong))):
        Executor(**wrong)


def test_what_a_function_raised_has_the_workers_traceback_as_cause(executor):
    error = executor.submit(fail).exception()
    assert type(error) is KeyError
    assert error.args == ("missing",)
    shown = "".join(traceback.format_exception(error))
    assert shown.count('raise KeyError("missing")') == 1
    assert "ValueError: first" in shown


def test_a_death_is_retried_and_then_told(executor, tmp_path):
    tally = Tally(tmp_path / "deaths")
    error = executor.submit(counted_death, tally).exception()
    assert type(error) is TerminatedWorkerError
    assert isinstance(error.__cause__, WorkerDiedError)
    assert tally.count == 3
    assert executor.submit(double, 2).result() == 4, "others go on"


def test_a_death_breaks_it_if_asked(tmp_path):
    tally = Tally(tmp_path / "deaths")
    gate = Gate(tmp_path / "gate")
    with Executor(1, on_death="break") as executor:
        dead = executor.submit(counted_death, tally)
        others = [executor.submit(wait_and_count, gate, Tally(tmp_path / "runs")) for _ in range(5)]
        assert isinstance(dead.exception().__cause__, WorkerDiedError)
        assert {isinstance(other.exception(), BrokenProcessPool) for other in others} == {True}
        with pytest.raises(BrokenProcessPool, match="SIGKILL"):
            executor.submit(double, 1)
    assert tally.count == 1


def test_an_initializer_that_fails_breaks_it():
    with Executor(2, initializer=fail) as executor:
        error = executor.submit(double, 1).exception()
        assert type(error) is BrokenProcessPool
        assert isinstance(error.__cause__, WorkerStartError)
        with pytest.raises(BrokenProcessPool):
            executor.submit(double, 1)


def test_what_cannot_be_unpickled(executor):
    for future in (executor.submit(id, Unloadable()), executor.submit(Unloadable)):
        error = future.exception()
        assert type(error) is BrokenProcessPool
        assert isinstance(error.__cause__, KeyError)
    assert executor.submit(double, 2).result() == 4, "others go on"


def test_workers_start_with_the_first_call():
    before = psutil.Process().children(), threading.enumerate()
    executor = Executor(2)
    assert (psutil.Process().children(), threading.enumerate()) == before
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(double, 1)


def test_a_worker_that_has_done_its_share_is_replaced():
    with Executor(1, max_tasks_per_child=2) as executor:
        pids = [executor.submit(os.getpid).result() for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_cancelled_futures_at_shutdown(tmp_path):
    gate = Gate(tmp_path / "gate")
    executor = Executor(1)
    futures = [executor.submit(Gate.wait, gate) for _ in range(20)]
    until(futures[0].running)
    executor.shutdown(wait=False, cancel_futures=True)
    until(futures[-1].cancelled)
    gate.open()
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert futures[0].exception() is None


def test_a_dropped_executor_finishes_its_calls(tmp_path):
    gate, tally = Gate(tmp_path / "gate"), Tally(tmp_path / "runs")
    executor = Executor(1)
    executor.submit(wait_and_count, gate, tally)
    results = executor.map(double, range(10))
    dropped = weakref.ref(executor)
    del executor
    gc.collect()
    assert dropped() is None
    gate.open()
    assert list(results) == [2 * n for n in range(10)]
    assert tally.count == 1


def test_a_callback_may_shut_it_down():
    executor = Executor(1)
    done = threading.Event()

    def shut(_):
        executor.shutdown()
        done.set()

    executor.submit(double, 1).add_done_callback(shut)
    assert done.wait(30)
    executor.shutdown()


@pytest.mark.parametrize("way", ["terminate_workers", "kill_workers"])
def test_killed_workers(tmp_path, way):
    gate = Gate(tmp_path / "gate")
    executor = Executor(2)
    futures = [executor.submit(Gate.wait, gate) for _ in range(4)]
    until(futures[0].running)
    getattr(executor, way)()
    assert {type(future.exception()) for future in futures} == {BrokenProcessPool}
    with pytest.raises(RuntimeError):
        executor.submit(double, 1)


def test_in_asyncio(executor):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, double, n) for n in range(5)))

    assert asyncio.run(main()) == [0, 2, 4, 6, 8]


AT_EXIT = """
import atexit, sys
from orchestrator import Executor
from support.waiting import Tally
from pathlib import Path

def work(path):
    Tally(Path(path)).add()

def too_late():
    try:
        executor.submit(work, sys.argv[1])
    except RuntimeError as error:
        print(error)

atexit.register(too_late)
executor = Executor(1)
for _ in range(5):
    executor.submit(work, sys.argv[1])
if sys.argv[2] == "shut":
    executor.shutdown(wait=False)
"""


@pytest.mark.parametrize("way", ["open", "shut"])
def test_what_was_submitted_runs_before_the_interpreter_exits(tmp_path, way):
    script = tmp_path / "script.py"
    script.write_text(AT_EXIT)
    tally = Tally(tmp_path / "runs")
    path = os.pathsep.join(each for each in sys.path if each)
    done = subprocess.run(
        [sys.executable, script, tally.path, way], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert tally.count == 5
    assert not done.stderr
    after = "interpreter shutdown" if way == "open" else "shutdown"
    assert done.stdout == f"cannot schedule new futures after {after}\n"


def test_it_is_closed_here_where_no_thread_can_be_started(monkeypatch):
    """Python 3.12 starts none any more once the interpreter exits."""

    def refuse(_):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    executor = Executor(1)
    futures = [executor.submit(double, n) for n in range(5)]
    with monkeypatch.context() as exiting:
        exiting.setattr(threading.Thread, "start", refuse)
        executor.shutdown()
    assert [future.done() and future.result() for future in futures] == [0, 2, 4, 6, 8]


FORKED = """
import os, sys
from orchestrator import Executor
executor = Executor(1)
if sys.argv[1] == "started":
    executor.submit(int).result()
if os.fork():
    status = os.wait()[1]
    assert executor.submit(int).result() == 0
    sys.exit(os.waitstatus_to_exitcode(status))
try:
    print(executor.submit(pow, 2, 5).result())
except RuntimeError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(("state", "told"), [("started", "ClosedError"), ("unstarted", "32")])
def test_in_a_forked_child(tmp_path, state, told):
    script = tmp_path / "script.py"
    script.write_text(FORKED)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script, state], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"{told}\n"
    assert not done.stderr
