"""Pools over executors of `concurrent.futures`: what kills, what is kept apart, and what the executor keeps."""

import os
import signal
import threading
import time
from concurrent.futures import Executor as AnyExecutor
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import psutil
import pytest
from support.waiting import until

import workers
from orchestrator import ConfigError, EngineLostError, Failure, ItemTimeoutError, Pool, Stream, WorkerDiedError, run


@pytest.fixture
def processes():
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as executor:
        yield executor


@pytest.fixture
def threads():
    with ThreadPoolExecutor(3) as executor:
        yield executor


def kills_its_worker(x):
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def sleeps(seconds):
    time.sleep(seconds)
    return seconds


def own_and_parent(_):
    return os.getpid(), os.getppid()


def second_time(x):
    if workers.current().attempt == 1:
        raise OSError(x)
    return x


# ---- processes ------------------------------------------------------------------------------------------------


def test_items_that_kill_or_take_too_long_are_blamed_and_the_executor_lives(processes):
    with Pool(engine=processes) as pool:
        results = list(pool.map(kills_its_worker, range(20), on_error="return"))
        assert [each for each in results if not isinstance(each, Failure)] == [n for n in range(20) if n != 5]
        assert isinstance(results[5].error, WorkerDiedError)
        late = list(pool.map(sleeps, [0, 30, 0], timeout=0.3, chunk=1, on_error="return"))
        assert isinstance(late[1].error, ItemTimeoutError)
    assert processes.submit(abs, -2).result() == 2


def test_workers_end_with_the_pool_and_the_executor_stays(processes):
    with Pool(engine=processes) as pool:
        pids = dict(pool.map(own_and_parent, range(20), chunk=1))
        assert all(map(psutil.pid_exists, pids))
    until(lambda: not any(map(psutil.pid_exists, pids)))
    assert processes.submit(abs, -2).result() == 2


def test_ctrl_c_ends_what_runs_and_the_executor_stays(processes):
    with pytest.raises(KeyboardInterrupt), Pool(engine=processes) as pool:
        pids = set(pool.map(own_pid, [0] * 20, chunk=1))
        results = pool.map(own_pid, [0, 600, 600], chunk=1)
        pids.add(next(results))
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
        next(results)
    until(lambda: not any(map(psutil.pid_exists, pids)))
    assert processes.submit(abs, -2).result() == 2


def own_pid(seconds):
    time.sleep(seconds)
    return os.getpid()


def test_a_process_of_the_executor_that_dies_is_told(processes):
    with Pool(engine=processes) as pool:
        assert list(pool.map(sleeps, [0.01] * 4, chunk=1)) == [0.01] * 4
        results = pool.map(sleeps, [0.01] * 200, chunk=1)
        next(results)
        for info in pool.workers:
            os.kill(info.pid, signal.SIGKILL)
        with pytest.raises(EngineLostError, match="ProcessPoolExecutor"):
            list(results)


def test_a_flow_keeps_an_array_writable(processes):
    numpy = pytest.importorskip("numpy")
    out = []
    run(Stream([numpy.zeros(100_000), numpy.ones(3)]).map(add_one).to(out), engine=processes)
    assert [float(each.sum()) for each in out] == [100_000.0, 6.0]
    assert all(each.flags.writeable for each in out)


def add_one(array):
    array += 1
    return array


# ---- threads --------------------------------------------------------------------------------------------------


def test_threads_get_the_items_themselves_several_at_once(threads):
    meet = threading.Barrier(3)
    held = [object() for _ in range(3)]
    with Pool(engine=threads) as pool:
        assert list(pool.map(lambda item: meet.wait(10) is not None and item, held, chunk=1)) == held
        assert pool.submit(lambda: meet).result() is meet


def test_each_thread_has_its_own_attempt(threads):
    with Pool(engine=threads) as pool:
        assert list(pool.map(second_time, range(60), retries=1, chunk=1)) == list(range(60))
    with pytest.raises(RuntimeError, match="outside a worker"):
        workers.current()


def test_what_threads_cannot_do_is_refused_by_name(threads):
    for name, value in {"seed": 1, "memory_limit": "1G", "initializer": print, "max_deaths": 2}.items():
        with pytest.raises(ConfigError, match=f"executor engine .* {name}"):
            Pool(engine=threads, **{name: value})
    with Pool(engine=threads) as pool, pytest.raises(ConfigError, match="timeout"):
        pool.map(abs, [1], timeout=1)


# ---- any other ------------------------------------------------------------------------------------------------


class AtOnce(AnyExecutor):
    """Runs a task within `submit`, as some executors for tests do."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def test_an_executor_that_runs_tasks_at_once():
    with Pool(2, engine=AtOnce()) as pool:
        assert list(pool.map(abs, range(-50, 0))) == [abs(x) for x in range(-50, 0)]
        assert list(pool.map(kills_its_worker, range(7), on_error="skip")) == [0, 1, 2, 3, 4, 6]


def test_one_that_was_shut_down_is_told():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(EngineLostError, match="ThreadPoolExecutor"), Pool(engine=executor) as pool:
        list(pool.map(abs, [1]))


@pytest.mark.parametrize("engine", [5, None, object(), "dusk://host"])
def test_what_is_no_engine_is_refused(engine):
    with pytest.raises(ConfigError, match="engine must be"):
        Pool(engine=engine)
