"""The fate of each item of a chunk is known, whatever the function does."""

from itertools import pairwise

import pytest

from workers.functions.runner import CallRunner, CallSpec


def never():
    return False


def call(function, *, star=False, stop_at_failure=False):
    return CallRunner(CallSpec(function, star, stop_at_failure, forward_output=False))


def places(failures):
    return {position: record.type_name for position, record in failures}


def test_results_come_in_the_order_of_the_items():
    assert call(abs).run([-1, 2, -3], never) == ([1, 2, 3], [])


def test_no_items_give_nothing():
    assert call(abs).run([], never) == ([], [])


def test_items_as_arguments():
    assert call(pow, star=True).run([(2, 3), (2, 3, 5), [3, 2]], never) == ([8, 3, 9], [])


def test_an_item_that_is_no_tuple_of_arguments_fails_alone():
    results, failures = call(pow, star=True).run([(2, 3), 7, (2,), (3, 2)], never)
    assert results == [8, 9]
    assert places(failures) == {1: "TypeError", 2: "TypeError"}


@pytest.mark.parametrize("bad", [(), (0,), (4,), (0, 1, 4), (1, 2, 3), tuple(range(5))])
def test_failures_stand_at_their_places_and_the_rest_is_run(bad):
    def function(i):
        if i in bad:
            raise ValueError(i)
        return i

    results, failures = call(function).run(list(range(5)), never)
    assert results == [i for i in range(5) if i not in bad]
    assert [(position, record.text) for position, record in failures] == [(i, str(i)) for i in bad]


def test_behind_a_failure_nothing_is_run_if_nobody_needs_it():
    seen = []

    def function(i):
        seen.append(i)
        return 1 // (i - 2)

    results, failures = call(function, stop_at_failure=True).run(list(range(5)), never)
    assert (seen, len(results), places(failures)) == ([0, 1, 2], 2, {2: "ZeroDivisionError"})


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_stop_iteration_ends_nothing_silently(at):
    def function(i):
        if i == at:
            raise StopIteration(i)
        return i

    results, failures = call(function).run(list(range(5)), never)
    assert results == [i for i in range(5) if i != at]
    assert places(failures) == {at: "RuntimeError"}
    assert "StopIteration" in failures[0][1].text


def test_a_stop_iteration_in_the_middle_of_a_long_slice():
    def function(i):
        if i in {500, 501, 900}:
            raise StopIteration
        return i

    results, failures = call(function).run(list(range(1000)), never)
    assert results == [i for i in range(1000) if i not in {500, 501, 900}]
    assert list(places(failures)) == [500, 501, 900]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), BaseException("base")])
def test_what_is_no_exception_is_a_failure_too(error):
    def function(i):
        if i == 1:
            raise error
        return i

    results, failures = call(function).run([0, 1, 2], never)
    assert (results, places(failures)) == ([0, 2], {1: type(error).__name__})


def test_results_of_any_kind_are_no_failures():
    values = [None, False, ValueError("returned, not raised"), StopIteration, ()]
    results, failures = call(lambda i: values[i]).run(list(range(5)), never)
    assert (results, failures) == (values, [])


def test_an_abandoned_chunk_ends_between_two_items():
    seen = []
    results, failures = call(seen.append).run(list(range(5)), lambda: len(seen) >= 1)
    assert (seen, results, failures) == ([0], [None], [])


def test_nobody_asks_after_the_last_item():
    def abandoned():
        raise AssertionError("asked")

    assert call(abs).run([-1], abandoned) == ([1], [])


def looks(clock, seconds, items, chunks=1):
    """How long it ran between two looks at whether it was abandoned."""

    def function(_):
        clock.now += seconds

    def abandoned():
        times.append(clock.now)
        return False

    times = [0.0]
    made = call(function)
    for _ in range(chunks):
        made.run([None] * items, abandoned)
    return [later - earlier for earlier, later in pairwise(times)]


def test_between_two_long_items_it_looks_each_time(clock):
    assert looks(clock, 1.0, 10) == [1.0] * 9


def test_short_items_are_run_many_at_once_but_not_for_long(clock):
    times = looks(clock, 1e-5, 100_000)
    assert len(times) < 250
    assert max(times) <= 0.0051
    assert times[-1] > 0.004


def test_items_that_take_no_time_do_not_stop_it(clock):
    assert len(looks(clock, 0.0, 100_000)) < 10


def test_what_was_learnt_serves_the_next_chunk(clock):
    assert len(looks(clock, 1e-5, 400, chunks=20)) < 10


def test_items_that_become_long_are_looked_at_soon(clock):
    taken = iter([1e-6] * 10_000 + [0.001] * 6000)
    asked = []

    def function(_):
        clock.now += next(taken)

    made = call(function)
    made.run([None] * 10_000, never)
    made.run([None] * 6000, lambda: asked.append(clock.now))  # one slice is as long as it was thought short
    assert max(b - a for a, b in pairwise(asked)) < 0.006
    assert len(asked) > 100


def test_a_failure_within_a_slice_does_not_run_an_item_twice():
    seen = []

    def function(i):
        seen.append(i)
        if i % 7 == 3:
            raise ValueError(i)
        return i

    results, failures = call(function).run(list(range(1000)), never)
    assert seen == list(range(1000))
    assert sorted([*results, *places(failures)]) == seen
