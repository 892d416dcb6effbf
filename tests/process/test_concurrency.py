"""Several calls on one pool at once: interleaved, nested, and from several threads."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.waiting import is_at_rest, until

from orchestrator import ClosedError, Pool

THREADS = 6
TIMEOUT_S = 60


def double(x):
    return 2 * x


def in_threads(*functions):
    """Run them at once; a hang is a failure, and so is an exception."""
    with ThreadPoolExecutor(len(functions)) as threads:
        return [future.result(TIMEOUT_S) for future in [threads.submit(function) for function in functions]]


def test_two_maps_in_turn(pool):
    evens, odds = pool.map(double, range(0, 400, 2)), pool.map(double, range(1, 400, 2))
    both = list(itertools.chain.from_iterable(zip(evens, odds, strict=True)))
    assert both == [2 * x for x in range(400)]


def test_a_map_inside_the_iteration_of_another(pool):
    got = [list(pool.map(double, range(x))) for x in pool.map(double, range(15))]
    assert got == [[2 * y for y in range(2 * x)] for x in range(15)]


def test_a_map_as_the_source_of_another(pool):
    assert list(pool.map(double, pool.map(double, pool.map(double, range(300))))) == [8 * x for x in range(300)]


def test_a_map_in_a_source_generator(pool):
    def items():
        for x in range(20):
            yield sum(pool.map(double, range(x)))
            yield pool.submit(double, x).result(TIMEOUT_S)

    expected = [y for x in range(20) for y in (x * (x - 1), 2 * x)]
    assert list(pool.map(double, items())) == [2 * y for y in expected]


def test_many_open_at_once():
    with Pool(workers=2) as pool:
        calls = [pool.map(double, itertools.count(n)) for n in range(30)]
        for step in range(20):
            assert [next(call) for call in calls] == [2 * (n + step) for n in range(30)]
        for call in calls:
            call.close()
        until(lambda: is_at_rest(pool))


def test_calls_that_fill_the_buffer_do_not_block_others():
    with Pool(workers=2, buffer_bytes=1 << 20) as pool:
        calls = [pool.map(bytes, itertools.repeat(300_000)) for _ in range(6)]
        for _ in range(5):
            assert all(len(next(call)) == 300_000 for call in calls)
        for call in calls:
            call.close()


def test_maps_from_several_threads(pool):
    def mapper(n):
        return lambda: [list(pool.map(double, range(n, n + 300))) for _ in range(4)]

    got = in_threads(*(mapper(n) for n in range(THREADS)))
    assert got == [[[2 * x for x in range(n, n + 300)]] * 4 for n in range(THREADS)]
    until(lambda: is_at_rest(pool))


def test_maps_and_submits_from_several_threads(pool):
    def mapper():
        return [sum(pool.map(double, range(200), chunk=chunk)) for chunk in (1, 10, "auto")]

    def submitter():
        return sum(future.result(TIMEOUT_S) for future in [pool.submit(double, x) for x in range(150)])

    def one_by_one():
        return [pool.submit(double, x).result(TIMEOUT_S) for x in range(50)]

    def leaver():
        return [next(pool.map(double, itertools.count(n))) for n in range(20)]

    got = in_threads(mapper, submitter, one_by_one, leaver, mapper, submitter)
    total = sum(2 * x for x in range(200))
    assert got[0] == got[4] == [total] * 3
    assert got[1] == got[5] == sum(2 * x for x in range(150))
    assert got[2] == [2 * x for x in range(50)]
    assert got[3] == [2 * n for n in range(20)]
    until(lambda: is_at_rest(pool))


def test_large_payloads_from_several_threads():
    with Pool(workers=2, buffer_bytes=4 << 20) as pool:

        def mapper(n):
            return lambda: [data == bytes([n]) * 200_000 for data in pool.map(bytes, [[n] * 200_000] * 15)]

        assert in_threads(*(mapper(n) for n in range(4))) == [[True] * 15] * 4


@pytest.mark.parametrize("end", [Pool.close, Pool.terminate])
@pytest.mark.parametrize("consumers", [1, 3])
def test_the_pool_is_closed_while_other_threads_map(end, consumers):
    pool = Pool(workers=2)
    begun = threading.Barrier(consumers + 1, timeout=TIMEOUT_S)

    def consume():
        results = pool.map(double, itertools.count())
        assert next(results) == 0
        begun.wait()
        with pytest.raises(ClosedError):
            for _ in results:
                pass

    def close():
        begun.wait()
        end(pool)

    in_threads(close, *[consume] * consumers)


@pytest.mark.parametrize("end", [Pool.close, Pool.terminate])
def test_the_pool_is_closed_while_other_threads_submit(end):
    pool = Pool(workers=2)
    begun = threading.Barrier(3, timeout=TIMEOUT_S)

    def submit():
        futures = [pool.submit(double, 1)]
        begun.wait()
        with pytest.raises(ClosedError):
            while True:
                futures.append(pool.submit(double, 1))
        outcomes = [future.exception(TIMEOUT_S) or future.result() for future in futures]
        assert all(outcome == 2 or isinstance(outcome, ClosedError) for outcome in outcomes)

    def close():
        begun.wait()
        end(pool)

    in_threads(close, submit, submit)
