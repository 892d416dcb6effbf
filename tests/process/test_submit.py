"""`Pool.submit` gives real futures of the standard library."""

import concurrent.futures as cf
import operator
import sys
import threading
import time
import traceback

import pytest
from support.waiting import Gate, Tally, is_at_rest, until

from orchestrator import ItemError, Pool, WorkerDiedError


def same(x):
    return x


def raises(kind, *args):
    raise kind(*args)


def test_results_and_arguments(pool):
    assert pool.submit(pow, 2, 5).result() == 32
    assert pool.submit(sorted, "cab", reverse=True).result() == ["c", "b", "a"]
    assert pool.submit(dict, fn=1, self=2, args=3).result() == {"fn": 1, "self": 2, "args": 3}
    assert isinstance(pool.submit(same, 1), cf.Future)


def test_many(pool):
    futures = [pool.submit(operator.mul, n, 2) for n in range(500)]
    assert [future.result() for future in futures] == [2 * n for n in range(500)]
    until(lambda: is_at_rest(pool))


def test_what_the_function_raised(pool):
    error = pool.submit(raises, KeyError, "missing").exception()
    assert type(error) is KeyError
    assert error.args == ("missing",)
    assert any("raises" in note for note in error.__notes__), "the worker's traceback"
    with pytest.raises(ZeroDivisionError):
        pool.submit(operator.truediv, 1, 0).result()


def test_as_completed_and_wait(tmp_path):
    gate = Gate(tmp_path / "gate")

    def waits(x):
        gate.wait()
        return x

    with Pool(workers=2) as pool:
        slow, quick = pool.submit(waits, "slow"), pool.submit(same, "quick")
        done, open_ = cf.wait([slow, quick], return_when=cf.FIRST_COMPLETED, timeout=30)
        assert (done, open_) == ({quick}, {slow})
        order = cf.as_completed([slow, quick], timeout=30)
        assert next(order) is quick
        with pytest.raises(cf.TimeoutError):
            slow.result(timeout=0)
        gate.open()
        assert next(order) is slow


def test_a_pool_is_closed_whose_last_futures_were_cancelled():
    with Pool(workers=1) as pool:
        assert pool.submit(same, 1).result() == 1
        pool.resize(0)
        until(lambda: not pool.workers)
        futures = [pool.submit(same, number) for number in range(3)]
        assert all(future.cancel() for future in futures)
        pool.resize(1)
        closing = threading.Thread(target=pool.close, daemon=True)
        closing.start()
        closing.join(30)
        assert not closing.is_alive()


def test_cancel(tmp_path):
    gate, begun = Gate(tmp_path / "gate"), Tally(tmp_path / "begun")

    def waits():
        begun.add()
        gate.wait()

    with Pool(workers=1) as pool:
        first = pool.submit(waits)
        until(lambda: begun.count)
        rest = [pool.submit(begun.add) for _ in range(20)]
        cancelled = [future for future in reversed(rest) if future.cancel()]
        assert rest[-1] in cancelled
        assert not first.cancel()
        gate.open()
        for future in rest:
            if future in cancelled:
                with pytest.raises(cf.CancelledError):
                    future.result()
            else:
                future.result()
        assert begun.count == 1 + len(rest) - len(cancelled)


def test_callbacks_may_use_the_pool():
    done = threading.Event()
    seen = []

    with Pool(workers=2) as pool:

        def more(future):
            seen.append(future.result())
            if len(seen) < 5:
                pool.submit(same, len(seen)).add_done_callback(more)
            else:
                done.set()

        pool.submit(same, 0).add_done_callback(more)
        assert done.wait(30)
    assert seen == [0, 1, 2, 3, 4]


def test_a_callback_that_raises_harms_nobody(caplog):
    with Pool(workers=1) as pool:
        future = pool.submit(same, 1)
        future.add_done_callback(lambda _: 1 / 0)
        assert future.result() == 1
        assert pool.submit(same, 2).result() == 2


def test_a_death_names_the_call():
    with Pool(workers=2) as pool:
        import os

        error = pool.submit(os._exit, 3).exception()
        assert isinstance(error, WorkerDiedError)
        assert pool.submit(same, 2).result() == 2


def test_close_waits_for_futures_and_terminate_does_not(tmp_path):
    gate, begun = Gate(tmp_path / "gate"), Tally(tmp_path / "begun")

    def waits(x):
        begun.add()
        gate.wait()
        return x

    pool = Pool(workers=1)
    future = pool.submit(waits, 1)
    until(lambda: begun.count)
    pool.terminate()
    assert isinstance(future.exception(timeout=0), Exception)
    gate.open()
    pool = Pool(workers=1)
    futures = [pool.submit(same, n) for n in range(100)]
    pool.close()
    assert [f.result(timeout=0) for f in futures] == list(range(100))


def test_arguments_stand_in_the_error_of_what_can_not_be_sent(pool):
    error = pool.submit(same, threading.Lock()).exception()
    assert isinstance(error, ItemError)
    assert "lock" in str(error)


def test_a_short_call_does_not_wait_behind_a_long_one(tmp_path):
    """One worker is busy for long; calls that come one by one go to the other, which is idle."""
    gate, begun = Gate(tmp_path / "gate"), Tally(tmp_path / "begun")

    def waits():
        begun.add()
        gate.wait()

    with Pool(workers=2) as pool:
        for _ in range(10):
            pool.submit(same, 0).result()
        long = pool.submit(waits)
        until(lambda: begun.count)
        try:
            assert [pool.submit(same, n).result(timeout=20) for n in range(10)] == list(range(10))
        finally:
            gate.open()
        long.result()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, ValueError])
def test_a_callback_harms_nobody_whatever_it_raises(pool, kind, caplog):
    def ends(_):
        raise kind("in a callback")

    called = threading.Event()
    gate = threading.Event()
    first = pool.submit(same, 1)
    first.add_done_callback(lambda _: gate.wait(30))
    others = [pool.submit(same, n) for n in range(5)]
    for future in others:
        future.add_done_callback(ends)
    others[-1].add_done_callback(lambda _: called.set())
    gate.set()
    assert [future.result(timeout=30) for future in others] == list(range(5))
    assert called.wait(30)
    assert pool.submit(same, 7).result(timeout=30) == 7


def calls_of(thread):
    """Return the names of the functions that a thread is in."""
    return {frame.name for frame in traceback.extract_stack(sys._current_frames()[thread])}


def test_waiting_for_a_call_never_stops_who_sends_it(tmp_path):
    """`concurrent.futures.wait` holds the locks of its futures, and the pool needs them to begin the calls."""
    gate = Gate(tmp_path / "gate")
    with Pool(workers=1) as pool:
        futures = [pool.submit(gate.wait), *(pool.submit(same, n) for n in range(20))]
        last = futures[-1]
        sending = pool._futures._turns.thread.ident
        waiter = cf._base._FirstCompletedWaiter()

        def wait():
            with last._condition:
                gate.open()
                until(lambda: "cancelled" in calls_of(sending))  # it wants this lock
                last._waiters.append(waiter)

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        waiting.join(30)
        assert not waiting.is_alive()
        until(lambda: waiter.finished_futures == [last])
        assert [future.result() for future in futures] == [None, *range(20)]


def test_what_nobody_waits_for_is_done_all_the_same():
    """Callers drive the pool while they wait; what they leave is taken over, also behind a pause."""
    with Pool(workers=1) as pool:
        for _ in range(3):
            assert pool.submit(same, 1).result() == 1
            left = [pool.submit(same, n) for n in range(3)]
            until(lambda left=left: all(future.done() for future in left))
            until(lambda: pool._futures._turns._sleeps)


def test_callers_in_many_threads_wait_for_their_own_calls():
    """Who drives changes from thread to thread, and each gets its own results."""
    wrong = []

    def call_often(number):
        wrong.extend(n for n in range(200) if pool.submit(operator.mul, number, n).result() != number * n)

    with Pool(workers=2) as pool:
        threads = [threading.Thread(target=call_often, args=(number,), daemon=True) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def test_who_waits_drives_and_the_thread_is_not_needed():
    """A call and its result wake no other thread; a callback does."""
    with Pool(workers=1) as pool:
        turns = pool._futures._turns
        for n in range(20):
            assert pool.submit(same, n).result() == n
        assert turns._count >= 20, "callers left the drive less often than they called"
        until(lambda: turns._sleeps)
        told = threading.Event()
        pool.submit(same, 1).add_done_callback(lambda _: told.set())
        assert told.wait(30)


def test_results_of_short_calls_are_looked_for(monkeypatch):
    """Whoever waits for one short call polls before sleeping; behind a long call nobody does."""
    looks = []
    with Pool(workers=2) as pool, monkeypatch.context() as patched:
        poll = pool._coordinator.poll
        patched.setattr(pool._coordinator, "poll", lambda: (looks.append(1), poll()))
        patched.setattr(pool._futures, "_cpus", 2)
        until(lambda: (pool.submit(same, 1).result(), looks)[1])
        looks.clear()
        long = pool.submit(time.sleep, 0.1)
        assert pool.submit(same, 1).result() == 1
        assert not looks, "polled while another call ran"
        assert long.result() is None


def test_the_next_map_of_a_short_function_is_one_chunk():
    """The first one measures; what is long now is shared out all the same."""
    with Pool(workers=2) as pool:
        pool.run_on_all(len, "")
        chunks = []
        for _ in range(20):
            results = pool.map(operator.neg, range(10))
            assert list(results) == [-n for n in range(10)]
            chunks.append(results.stats.chunks)
        assert min(chunks) == 1
