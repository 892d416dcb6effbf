"""What a submitted call may be asked for: a timeout, retries, a priority; and its end, whatever it is at."""

import asyncio
import concurrent.futures as cf
import os
import signal
import threading
import time

import pytest
from support.waiting import Gate, Tally, is_at_rest, until

from orchestrator import ConfigError, ItemTimeoutError, Pool, WorkerDiedError

METHODS = pytest.mark.parametrize("start_method", ["forkserver", "spawn", "fork"])


def same(x):
    return x


def sleeps(begun, seconds=600.0):
    begun.add()
    time.sleep(seconds)


def waits(gate, begun, x=None):
    begun.add()
    gate.wait()
    return x


def fails_until(tally, times):
    tally.add()
    if tally.count < times:
        raise ConnectionError("not yet")
    return tally.count


def notes(tally_dir, number):
    (tally_dir / f"{time.monotonic_ns():020d}-{number}").touch()


def own_names(timeout=None, *, retries=0, priority="none"):
    return timeout, retries, priority


def any_names(**kwargs):
    return kwargs


def load_everywhere(pool):
    """Have this module in every worker, so that no timeout is spent on its import."""
    pool.run_on_all(same, 0)


@pytest.fixture
def any_pool():
    """Of the usual start method, for what is the same with all."""
    with Pool(workers=2) as pool:
        yield pool


# ---- options ----------------------------------------------------------------------------------------------------


def test_a_timeout_ends_the_call_and_nothing_else(pool, tmp_path):
    begun = Tally(tmp_path / "begun")
    load_everywhere(pool)
    slow = pool.submit(sleeps, begun, timeout=1)
    assert isinstance(slow.exception(30), ItemTimeoutError)
    assert begun.count == 1
    assert [pool.submit(same, n, timeout=60).result(30) for n in range(5)] == list(range(5))
    until(lambda: is_at_rest(pool))


def test_a_timeout_does_not_count_the_wait_for_a_worker(tmp_path):
    gate, begun = Gate(tmp_path / "gate"), Tally(tmp_path / "begun")
    with Pool(workers=1) as pool:
        load_everywhere(pool)
        first = pool.submit(waits, gate, begun)
        until(lambda: begun.count)
        second = pool.submit(same, 2, timeout=0.3)
        with pytest.raises(cf.TimeoutError):
            second.result(0.6)
        gate.open()
        assert second.result(30) == 2
        first.result(30)


def test_retries(any_pool, tmp_path):
    load_everywhere(any_pool)
    assert any_pool.submit(fails_until, Tally(tmp_path / "a"), 3, retries=2).result(30) == 3
    with pytest.raises(ConnectionError):
        any_pool.submit(fails_until, Tally(tmp_path / "b"), 3, retries=1).result(30)
    assert any_pool.submit(fails_until, Tally(tmp_path / "c"), 3, retries={OSError: 2, KeyError: 0}).result(30) == 3
    begun = Tally(tmp_path / "d")
    retries = any_pool.stats().retries
    assert isinstance(any_pool.submit(sleeps, begun, timeout=1, retries=1).exception(30), ItemTimeoutError)
    assert begun.count == 2
    assert any_pool.call(fails_until, [Tally(tmp_path / "e"), 3], retries=2, retry_delay=0.01).result(30) == 3
    assert any_pool.stats().retries == retries + 1 + 2


def test_priorities(tmp_path):
    gate, begun, order = Gate(tmp_path / "gate"), Tally(tmp_path / "begun"), tmp_path / "order"
    order.mkdir()
    wanted = [(number * 7 % 5, number) for number in range(60)]
    with Pool(workers=1) as pool:
        pool.submit(waits, gate, begun, timeout=60)  # a kind of its own: those behind it have other options
        until(lambda: begun.count)
        for priority, number in wanted:
            pool.submit(notes, order, number, priority=priority, retries=number % 2)
        gate.open()
    ran = [int(path.name.partition("-")[2]) for path in sorted(order.iterdir())]
    assert sorted(ran) == list(range(60))
    ahead = 4  # calls that the worker had been sent before the higher ones came
    expected = [number for _, number in sorted(wanted, key=lambda each: (-each[0], each[1])) if number >= ahead]
    assert [number for number in ran if number >= ahead] == expected


def test_whose_a_name_is(any_pool):
    assert any_pool.submit(own_names, timeout=1, retries=2, priority=3).result(30) == (1, 2, 3)
    assert any_pool.submit(any_names, timeout=9, retries=2, priority=3, other=4).result(30) == {"other": 4}
    assert any_pool.call(any_names, kwargs={"timeout": 1, "retries": 2}, timeout=30).result(30) == {
        "timeout": 1,
        "retries": 2,
    }
    assert any_pool.submit(any_names, retry_delay=1, at_most_once=2, args=3).result(30) == {
        "retry_delay": 1,
        "at_most_once": 2,
        "args": 3,
    }


@pytest.mark.parametrize(
    "options",
    [{"timeout": 0}, {"timeout": -1}, {"retries": -1}, {"priority": 1.5}, {"priority": True}, {"priority": "high"}],
)
def test_options_that_can_not_be(any_pool, options):
    with pytest.raises(ConfigError):
        any_pool.submit(same, 1, **options)
    assert any_pool.submit(same, 1).result(30) == 1


def dies_once(tally):
    tally.add()
    if tally.count == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return tally.count


def test_at_most_once(any_pool, tmp_path):
    assert any_pool.call(dies_once, [Tally(tmp_path / "a")]).result(30) == 2
    once = Tally(tmp_path / "b")
    error = any_pool.call(dies_once, [once], at_most_once=True).exception(30)
    assert isinstance(error, WorkerDiedError)
    assert "had begun" in str(error)
    assert once.count == 1
    with pytest.raises(ConfigError):
        any_pool.call(same, [1], at_most_once=True, retries=1)


def test_arguments_are_those_of_the_moment_of_submit(any_pool, tmp_path):
    """Also for what waits, and for what runs again."""
    lists, again, arrays = [0], [0], bytearray(1 << 20)
    futures = []
    for number in range(50):
        lists[0] = number
        futures.append(any_pool.submit(same, lists))
    assert [future.result(30) for future in futures] == [[number] for number in range(50)]
    tally = Tally(tmp_path / "tally")
    future = any_pool.submit(dies_once_and_gives, tally, again)
    again[0] = 1
    assert future.result(30) == [0]
    future = any_pool.submit(bytes, arrays)
    arrays[:] = b"x" * len(arrays)
    assert future.result(30) == bytes(1 << 20)


def dies_once_and_gives(tally, x):
    dies_once(tally)
    return x


# ---- the end of a call --------------------------------------------------------------------------------------------


@METHODS
def test_a_call_that_runs_is_ended_when_asked(start_method, tmp_path):
    begun = Tally(tmp_path / "begun")
    with Pool(workers=1, start_method=start_method) as pool:
        future = pool.submit(sleeps, begun)
        until(lambda: begun.count)
        assert not future.cancel()
        assert future.cancel(running=True)
        assert future.cancelled()
        assert future.done()
        assert future.cancel()
        with pytest.raises(cf.CancelledError):
            future.result(0)
        assert cf.wait([future], timeout=0).done == {future}
        assert pool.submit(same, 1).result(30) == 1
        other = pool.submit(sleeps, begun, timeout=300)
        until(lambda: begun.count == 2)
        assert pool.cancel(other)
        assert pool.submit(same, 2).result(30) == 2
    assert begun.count == 2


def test_whoever_waits_is_told(any_pool, tmp_path):
    begun, called = Tally(tmp_path / "begun"), threading.Event()
    future = any_pool.submit(sleeps, begun)
    future.add_done_callback(lambda _: called.set())
    until(lambda: begun.count)
    waiter = cf.ThreadPoolExecutor(1)
    told = waiter.submit(cf.wait, [future])
    raised = waiter.submit(future.exception)
    assert future.cancel(running=True)
    assert called.wait(30)
    assert told.result(30).done == {future}
    with pytest.raises(cf.CancelledError):
        raised.result(30)
    waiter.shutdown()


def test_a_call_is_ended_in_any_state(tmp_path):
    """Queued here, queued in a worker, running, to be retried later, and done."""
    gate, begun = Gate(tmp_path / "gate"), Tally(tmp_path / "begun")
    with Pool(workers=1) as pool:
        done = pool.submit(same, 0)
        assert done.result(30) == 0
        later = pool.call(fails_until, [Tally(tmp_path / "later"), 99], retries=9, retry_delay=500)
        until(lambda: pool.stats().retries)
        running = pool.submit(waits, gate, begun, "a")
        until(lambda: begun.count)
        behind = [pool.submit(begun.add) for _ in range(200)]
        large = pool.submit(same, bytes(1 << 20))
        assert not pool.cancel(done)
        assert all(pool.cancel(future) for future in [*behind[::2], later, large])
        until(lambda: not (pool._futures._to_end or pool._futures._ending))  # they are called off in a thread of its own
        gate.open()
        assert running.result(30) == "a"
        assert [future.result(30) for future in behind[1::2]] == [None] * 100
        assert begun.count == 101
    assert all(future.cancelled() for future in behind[::2])


def test_others_in_the_worker_run_again(tmp_path):
    """The calls behind the one that is ended are run, once."""
    begun, others = Tally(tmp_path / "begun"), Tally(tmp_path / "others")
    with Pool(workers=1) as pool:
        pool.submit(same, 0).result(30)
        future = pool.submit(sleeps, begun)
        behind = [pool.submit(others.add) for _ in range(20)]
        mapped = pool.map(same, range(100))
        until(lambda: begun.count)
        assert pool.cancel(future)
        assert [each.result(30) for each in behind] == [None] * 20
        assert list(mapped) == list(range(100))
        assert others.count == 20


def test_many_are_ended_by_many_threads(tmp_path):
    begun = Tally(tmp_path / "begun")
    with Pool(workers=2) as pool:
        futures = [pool.submit(sleeps, begun, timeout=300 + number % 3) for number in range(40)]
        until(lambda: begun.count)
        with cf.ThreadPoolExecutor(4) as threads:
            assert all(threads.map(pool.cancel, futures))
            assert all(threads.map(pool.cancel, futures))
        assert [pool.submit(same, number).result(30) for number in range(10)] == list(range(10))
    assert all(future.cancelled() for future in futures)


def test_what_is_no_future_of_a_pool(any_pool):
    with pytest.raises(ConfigError):
        any_pool.cancel(cf.Future())


# ---- asyncio ------------------------------------------------------------------------------------------------------


def test_a_cancelled_wait_for_frees_its_worker(tmp_path):
    begun = Tally(tmp_path / "begun")

    async def gives_up(pool, number):
        waiting = asyncio.wrap_future(pool.submit(sleeps, begun))
        await asyncio.to_thread(until, lambda: begun.count >= number)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waiting, 0.01)
        return await asyncio.wait_for(asyncio.wrap_future(pool.submit(same, number)), 30)

    async def is_cancelled(pool, number):
        task = asyncio.ensure_future(asyncio.wrap_future(pool.submit(sleeps, begun)))
        await asyncio.to_thread(until, lambda: begun.count >= number)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await asyncio.wrap_future(pool.submit(same, number))

    with Pool(workers=1) as pool:
        for number in range(1, 4):
            assert asyncio.run(gives_up(pool, number)) == number
        assert asyncio.run(is_cancelled(pool, 4)) == 4
        assert asyncio.run(shielded(pool)) == 5


async def shielded(pool):
    """Await a call whose shield was cancelled, which it is not."""
    inner = asyncio.wrap_future(pool.submit(same, 5))
    outer = asyncio.shield(inner)
    outer.cancel()
    return await inner
