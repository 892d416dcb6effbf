"""A consumer that walks away: what ran is forgotten, everything is given back, the pool goes on."""

import contextlib
import gc
import itertools
import os

import numpy as np
import pytest
from support.waiting import Gate, Tally, is_at_rest, until

from orchestrator import ItemError, Pool


def same(x):
    return x


def large(n):
    return np.full(50_000, n)


def by_break(pool, fn, items, **options):
    for _ in pool.map(fn, items, **options):
        break


def by_exception(pool, fn, items, **options):
    with pytest.raises(LookupError):
        for _ in pool.map(fn, items, **options):
            raise LookupError


def by_close(pool, fn, items, **options):
    results = pool.map(fn, items, **options)
    next(results)
    results.close()
    assert next(results, "end") == "end"


def by_with(pool, fn, items, **options):
    with pool.map(fn, items, **options) as results:
        next(results)
    assert next(results, "end") == "end"


def by_dropping(pool, fn, items, **options):
    results = pool.map(fn, items, **options)
    next(results)
    del results


def by_collection(pool, fn, items, **options):
    """The results are part of a cycle, which only the collector finds."""
    cycle = {"results": pool.map(fn, items, **options)}
    cycle["cycle"] = cycle
    next(cycle["results"])
    del cycle
    gc.collect()


def by_close_before_the_first(pool, fn, items, **options):
    pool.map(fn, items, **options).close()


def by_dropping_before_the_first(pool, fn, items, **options):
    with pytest.warns(ResourceWarning, match="dropped unread"):
        pool.map(fn, items, **options)


def by_zip(pool, fn, items, **options):
    assert len(list(zip(range(10), pool.map(fn, items, **options), strict=False))) == 10


def by_islice(pool, fn, items, **options):
    assert len(list(itertools.islice(pool.map(fn, items, **options), 100))) == 100


WAYS = [
    by_break,
    by_exception,
    by_close,
    by_with,
    by_dropping,
    by_collection,
    by_close_before_the_first,
    by_dropping_before_the_first,
    by_zip,
    by_islice,
]


@pytest.fixture
def two_workers():
    with contextlib.closing(Pool(workers=2)) as pool:
        yield pool


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fn", [same, large])
@pytest.mark.parametrize("options", [{}, {"ordered": False}, {"chunk": 1}], ids=["auto", "unordered", "chunk=1"])
def test_everything_is_given_back(two_workers, way, fn, options):
    way(two_workers, fn, itertools.count(), **options)
    until(lambda: is_at_rest(two_workers))
    assert list(two_workers.map(same, range(100))) == list(range(100))
    until(lambda: is_at_rest(two_workers))


@pytest.mark.parametrize("way", [by_break, by_collection, by_close])
def test_every_start_method(pool, way):
    way(pool, large, itertools.count())
    until(lambda: is_at_rest(pool))
    assert list(pool.map(same, range(100))) == list(range(100))


def test_again_and_again(two_workers):
    for n in range(200):
        assert next(two_workers.map(same, itertools.count(n))) == n
    until(lambda: is_at_rest(two_workers))


def test_the_end_of_the_pool_need_not_be_told(start_method):
    """Left open in the middle, by an iterator that somebody still holds: the pool closes all the same."""
    with Pool(workers=2, start_method=start_method) as pool:
        results = pool.map(large, itertools.count())
        assert next(results)[0] == 0
    results.close()


def test_queued_chunks_of_an_abandoned_call_are_not_run(tmp_path):
    gate, begun = Gate(tmp_path / "gate"), Tally(tmp_path / "begun")

    def waits(_):
        begun.add()
        gate.wait()

    def count(_):
        begun.add()

    with Pool(workers=1) as pool:
        results = pool.map(waits, [0], chunk=1)
        follower = pool.map(count, itertools.count(), chunk=1)
        with contextlib.closing(follower):
            # One consumer at a time drives: begin both, then give up both while the first item still waits.
            future = pool.submit(waits, 0)
            until(lambda: begun.count == 1)
        results.close()
        gate.open()
        future.result()
        until(lambda: is_at_rest(pool))
        assert begun.count == 1


def test_a_long_chunk_of_an_abandoned_call_is_cut_short(tmp_path):
    """Items of a chunk that runs are not all run once nobody waits for them."""
    gate, begun = Gate(tmp_path / "gate"), Tally(tmp_path / "begun")

    def first_chunk_waits(n):
        if n < 1000:
            begun.add()
            gate.wait()
        return n

    with Pool(workers=2) as pool:
        # Both are there: the one that is at the other chunk first has learnt that items are short, and looks seldom.
        pool.run_on_all(len, "")
        results = pool.map(first_chunk_waits, range(2000), chunk=1000, ordered=False)
        assert next(results) == 1000
        until(lambda: begun.count)
        results.close()
        gate.open()
        until(lambda: is_at_rest(pool))
        assert begun.count == 1


def test_an_error_gives_everything_back(two_workers):
    def fails_late(n):
        if n == 777:
            raise ValueError(n)
        return np.full(20_000, n)

    for options in ({}, {"chunk": 1}, {"chunk": 50}, {"ordered": False}, {"retries": 1}):
        with pytest.raises(ItemError) as caught:
            for _ in two_workers.map(fails_late, itertools.count(), **options):
                pass
        assert caught.value.index == 777
        del caught
        until(lambda: is_at_rest(two_workers))


def test_skipping_and_returning_give_everything_back(two_workers):
    def fails_often(n):
        if n % 3:
            raise ValueError(n)
        return np.full(20_000, n)

    for on_error in ("skip", "return"):
        for retries in (0, 2):
            by_islice(two_workers, fails_often, itertools.count(), on_error=on_error, retries=retries)
            until(lambda: is_at_rest(two_workers))


def test_deaths_give_everything_back(tmp_path):
    tally = Tally(tmp_path / "deaths")

    def dies_once(n):
        if n == 100 and not tally.count:
            tally.add()
            os._exit(1)
        return np.full(20_000, n)

    with Pool(workers=2) as pool:
        for chunk in (1, 30, "auto"):
            tally.path.unlink(missing_ok=True)
            assert [int(a[0]) for a in pool.map(dies_once, range(300), chunk=chunk)] == list(range(300))
            until(lambda: is_at_rest(pool))
        assert pool.stats().deaths == 3


def test_a_slow_consumer_holds_the_source_back():
    """Without any consumption nothing more is read than the workers and the buffer take."""
    read = []

    def items():
        for n in itertools.count():
            read.append(n)
            yield n

    with Pool(workers=2, buffer_bytes=4 << 20) as pool:
        results = pool.map(large, items())
        for n in range(20):
            assert next(results)[0] == n
        ahead = len(read) - 20
        assert ahead * large(0).nbytes <= 2 * (4 << 20)
        results.close()


def test_an_infinite_source_stays_in_its_budget():
    highest = 0
    budget = 8 << 20
    with Pool(workers=2, buffer_bytes=budget) as pool:
        for n, array in enumerate(pool.map(large, itertools.count())):
            assert array[0] == n
            highest = max(highest, pool.stats().bytes_in_flight)
            if n == 500:
                break
        until(lambda: is_at_rest(pool))
    assert 0 < highest <= 1.5 * budget


@pytest.mark.parametrize("chunk", [1, "auto"])
def test_large_items_of_a_quick_function_stay_in_the_budget(chunk):
    """Chunks that run for microseconds are sent several at once, but not so many that they burst the buffer."""
    highest = 0
    budget = 8 << 20
    with Pool(workers=2, buffer_bytes=budget) as pool:
        for _ in pool.map(len, (np.zeros(200_000) for _ in range(150)), chunk=chunk):
            highest = max(highest, pool.stats().bytes_in_flight)
    assert 0 < highest <= 2 * budget  # what is at work counts by an estimate
