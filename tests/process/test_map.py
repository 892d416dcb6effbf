"""`Pool.map` gives what plain Python gives, however the items travel."""

import itertools
import operator
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.waiting import Gate, Tally, is_at_rest, until

from orchestrator import ConfigError, Failure, ItemError, Pool


@pytest.fixture(scope="module")
def shared():
    """One pool for the tests that only look at values."""
    with Pool(workers=2) as pool:
        yield pool


@pytest.fixture(scope="module", autouse=True)
def before_the_leak_check(shared):
    """Have the shared pool there before the leak check of the first test counts."""


def double(x):
    return x * 2


def odd_fails(x):
    if x % 2:
        raise ValueError(f"odd: {x}")
    return x


def inverse(x):
    return 1 / x


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def describe(value):
    return type(value).__name__, repr(value)


# ---- values -------------------------------------------------------------------------------------------------------


def test_all_start_methods(pool):
    assert list(pool.map(double, range(1000))) == [2 * x for x in range(1000)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(values, max_size=40), chunk=st.sampled_from(["auto", 1, 3, 1000]), ordered=st.booleans())
def test_same_as_plain_map(shared, items, chunk, ordered):
    given_back = list(shared.map(describe, items, chunk=chunk, ordered=ordered))
    expected = [describe(item) for item in items]
    if ordered:
        assert given_back == expected
    else:
        assert sorted(given_back) == sorted(expected)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    items=st.lists(st.integers(-3, 3), max_size=60),
    chunk=st.sampled_from(["auto", 1, 4, 100]),
    retries=st.integers(0, 2),
    on_error=st.sampled_from(["skip", "return"]),
)
def test_failures_fall_where_plain_python_has_them(shared, items, chunk, retries, on_error):
    given_back = list(shared.map(inverse, items, chunk=chunk, retries=retries, on_error=on_error))
    if on_error == "skip":
        assert given_back == [1 / x for x in items if x]
        return
    assert len(given_back) == len(items)
    for index, (item, result) in enumerate(zip(items, given_back, strict=True)):
        if item:
            assert result == 1 / item
        else:
            assert isinstance(result, Failure)
            assert (result.item, result.index, result.attempts) == (0, index, retries + 1)
            assert type(result.error.__cause__) is ZeroDivisionError


def test_several_iterables_end_with_the_shortest(shared):
    assert list(shared.map(pow, range(2, 10), itertools.count(1))) == [pow(a, b) for a, b in zip(range(2, 10), itertools.count(1))]
    assert list(shared.map(max, [1, 2], [3], [0, 0])) == [3]
    assert list(shared.map(operator.add, "ab", [])) == []


def test_one_iterable_of_tuples_is_one_argument(shared):
    assert list(shared.map(len, [(1, 2), (), (3,)])) == [2, 0, 1]


def test_no_items(shared):
    assert list(shared.map(double, [])) == []
    assert list(shared.map(double, iter(()), ordered=False)) == []


@pytest.mark.parametrize("chunk", [1, 2, 7, 100, 1001, "auto"])
def test_chunk_sizes_never_change_the_results(shared, chunk):
    assert list(shared.map(double, range(1000), chunk=chunk)) == [2 * x for x in range(1000)]


def test_none_and_false_are_results(shared):
    assert list(shared.map(bool, [0, 1, 0])) == [False, True, False]
    assert list(shared.map([].append, range(3))) == [None] * 3


def test_unordered_gives_what_is_ready_first(tmp_path):
    gate = Gate(tmp_path / "gate")

    def first_waits(x):
        if x == 0:
            gate.wait()
        return x

    with Pool(workers=2) as pool:
        results = pool.map(first_waits, range(2), chunk=1, ordered=False)
        assert next(results) == 1
        gate.open()
        assert list(results) == [0]


def test_ordered_waits_for_the_first(tmp_path):
    gate, second = Gate(tmp_path / "gate"), Tally(tmp_path / "second")

    def first_waits(x):
        if x == 0:
            gate.wait()
        else:
            second.add()
        return x

    def open_when_the_second_is_done():
        until(lambda: second.count)
        gate.open()

    with Pool(workers=2) as pool:
        opener = threading.Thread(target=open_when_the_second_is_done)
        opener.start()
        assert list(pool.map(first_waits, range(2), chunk=1)) == [0, 1]
        opener.join()


def test_large_items_and_results_come_whole(pool):
    items = [bytes([n]) * (n * 50_000) for n in range(12)]
    assert list(pool.map(lambda data: data + b"!", items)) == [item + b"!" for item in items]


# ---- laziness -----------------------------------------------------------------------------------------------------


def test_nothing_is_read_before_the_first_result_is_asked_for(shared):
    read = []

    def items():
        for n in range(3):
            read.append(n)
            yield n

    results = shared.map(double, items())
    assert read == []
    assert next(results) == 0
    assert read
    assert list(results) == [2, 4]


def test_iterator_and_next_may_be_mixed(shared):
    results = shared.map(double, range(10))
    assert next(results) == 0
    assert list(itertools.islice(results, 3)) == [2, 4, 6]
    assert next(results) == 8
    assert list(results) == [10, 12, 14, 16, 18]
    assert next(results, "end") == "end"


def test_stats_count_what_was_done(tmp_path):
    with Pool(workers=1) as pool:
        results = pool.map(odd_fails, range(10), on_error="skip", retries=1)
        assert list(results) == [0, 2, 4, 6, 8]
        assert (results.stats.items, results.stats.failures, results.stats.retries) == (5, 5, 5)
        assert pool.stats()["items"] == 5
        assert pool.stats().failures == 5


# ---- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, "auto"])
@pytest.mark.parametrize("ordered", [True, False])
def test_raise_says_which_item_and_why(shared, chunk, ordered):
    results = shared.map(odd_fails, [0, 2, 4, 7, 8], chunk=chunk, ordered=ordered)
    with pytest.raises(ItemError, match="item 3") as caught:
        list(results)
    error = caught.value
    assert (error.item, error.index, error.attempts) == (7, 3, 1)
    assert type(error.__cause__) is ValueError
    assert str(error.__cause__) == "odd: 7"
    assert any("odd_fails" in note for note in error.__cause__.__notes__), "the worker's traceback"
    assert next(results, "end") == "end"


@pytest.mark.parametrize("chunk", [1, 2, 5, "auto"])
def test_results_before_the_failure_are_given_first(shared, chunk):
    got = []
    with pytest.raises(ItemError):
        got.extend(shared.map(odd_fails, [0, 2, 4, 7, 8], chunk=chunk))
    assert got == [0, 2, 4]


def test_the_pool_goes_on_after_a_failure(pool):
    for _ in range(3):
        with pytest.raises(ItemError):
            list(pool.map(odd_fails, range(1000)))
    assert list(pool.map(double, range(10))) == [2 * x for x in range(10)]
    assert until(lambda: is_at_rest(pool))


def test_return_puts_a_failure_in_its_place(shared):
    results = list(shared.map(odd_fails, range(6), on_error="return"))
    assert [r for r in results if not isinstance(r, Failure)] == [0, 2, 4]
    assert [(f.item, f.index) for f in results[1::2]] == [(1, 1), (3, 3), (5, 5)]
    assert not any(results[1::2]), "a failure is false"


def test_items_of_several_iterables_stand_in_the_error(shared):
    with pytest.raises(ItemError) as caught:
        list(shared.map(operator.truediv, [1, 2], [1, 0]))
    assert (caught.value.item, caught.value.index) == ((2, 0), 1)


def test_a_cause_keeps_its_own_cause(shared):
    def chained(_):
        try:
            {}["missing"]
        except KeyError as error:
            raise RuntimeError("no such key") from error

    with pytest.raises(ItemError) as caught:
        list(shared.map(chained, [0]))
    assert type(caught.value.__cause__) is RuntimeError
    assert type(caught.value.__cause__.__cause__) is KeyError


# ---- retries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 4, "auto"])
def test_retries_until_it_works(shared, tmp_path, chunk):
    def third_time(x):
        tally = Tally(tmp_path / str(x))
        tally.add()
        if x % 3 == 0 and tally.count < 3:
            raise OSError("not yet")
        return x

    results = shared.map(third_time, range(10), retries=2, chunk=chunk)
    assert list(results) == list(range(10))
    assert [Tally(tmp_path / str(x)).count for x in range(10)] == [1 if x % 3 else 3 for x in range(10)]
    assert results.stats.retries == 8


def test_retries_used_up(shared, tmp_path):
    tally = Tally(tmp_path / "tries")

    def never(_):
        tally.add()
        raise OSError("no")

    with pytest.raises(ItemError) as caught:
        list(shared.map(never, ["it"], retries=2))
    assert (caught.value.item, caught.value.index, caught.value.attempts) == ("it", 0, 3)
    assert type(caught.value.__cause__) is OSError
    assert tally.count == 3


def test_retry_delay_only_delays(shared, tmp_path):
    def second_time(x):
        tally = Tally(tmp_path / str(x))
        tally.add()
        if tally.count < 2:
            raise OSError("not yet")
        return x

    assert list(shared.map(second_time, range(5), retries=1, retry_delay=0.01)) == list(range(5))


def test_attempt_can_be_asked_for_in_the_worker(shared):
    def attempt(_):
        import workers

        if workers.current().attempt < 3:
            raise OSError
        return workers.current().attempt

    assert list(shared.map(attempt, range(4), retries=5)) == [3] * 4


# ---- the source ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, "auto"])
@pytest.mark.parametrize("count", [0, 1, 10])
def test_an_error_of_the_source_comes_after_the_results_before_it(shared, chunk, count):
    def items():
        yield from range(count)
        raise LookupError("the source broke")

    got = []
    with pytest.raises(LookupError, match="the source broke"):
        got.extend(shared.map(double, items(), chunk=chunk))
    assert got == [2 * x for x in range(count)]
    assert until(lambda: is_at_rest(shared))


def test_a_source_is_closed_when_the_map_is_closed(shared):
    ended = []

    def items():
        try:
            yield from itertools.count()
        finally:
            ended.append(True)

    results = shared.map(double, items())
    assert next(results) == 0
    results.close()
    del results
    assert ended == [True]


# ---- misuse -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"chunk": 0}, {"chunk": -1}, {"chunk": "big"}, {"chunk": True}, {"retries": -1}, {"retry_delay": -1}, {"on_error": "ignore"}],
)
def test_options_that_mean_nothing(shared, options):
    with pytest.raises(ConfigError):
        shared.map(double, [1], **options)


def test_map_without_iterable_or_function(shared):
    with pytest.raises(ConfigError, match="at least one iterable"):
        shared.map(double)
    with pytest.raises(ConfigError, match="function first"):
        shared.map([1, 2], double)
    with pytest.raises(TypeError):
        shared.map(double, 5)


def test_run_on_all_runs_once_in_each(pool):
    def where(tag):
        import os

        import workers

        return tag, workers.current().id, workers.current().pool_size, os.getpid()

    results = pool.run_on_all(where, "here")
    assert [r[:3] for r in results] == [("here", 0, 2), ("here", 1, 2)]
    assert [r[3] for r in results] == [worker.pid for worker in pool.workers]


def test_run_on_all_tells_where_it_failed(shared):
    def only_on_one(_):
        import workers

        if workers.current().id == 1:
            raise ValueError("here")

    with pytest.raises(ItemError) as caught:
        shared.run_on_all(only_on_one, None)
    assert caught.value.index == 1
    assert type(caught.value.__cause__) is ValueError
