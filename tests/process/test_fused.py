"""Fused steps over a pool: flat results in order, each failure at its item's place and with its step's name."""

import os
import signal
import threading

import pytest

from orchestrator import Failure, ItemError, Pool, WorkerDiedError
from workers.functions.steps import Step, Steps

ITEMS = range(300)


def seventh(x):
    if x % 70 == 7:
        raise ValueError(f"{x} is a seventh")
    return x


CHAIN = Steps(
    (
        Step("double", "map", lambda x: x * 2, workflow="w"),
        Step("half", "map", lambda x: x // 2, workflow="w"),
        Step("seventh", "map", seventh, workflow="w"),
        Step("most", "filter", lambda x: x % 5, workflow="w"),
        Step("numbers", "flat_map", lambda x: [(x, n) for n in range(x % 4)], workflow="w"),
    )
)


def of(x):
    return [(x, n) for n in range(x % 4)] if x % 5 else []


@pytest.mark.parametrize("chunk", [1, 3, 64, "auto"])
@pytest.mark.parametrize("on_error", ["skip", "return"])
@pytest.mark.parametrize("retries", [0, 1])
def test_items_around_a_failing_one_come_exactly_once(pool, chunk, on_error, retries):
    results = pool.map(CHAIN, ITEMS, chunk=chunk, on_error=on_error, retries=retries)
    got = list(results)
    expected = []
    for x in ITEMS:
        if x % 70 != 7:
            expected += of(x)
        elif on_error == "return":
            expected.append(x)
    assert [r.index if isinstance(r, Failure) else r for r in got] == expected
    for failure in (r for r in got if isinstance(r, Failure)):
        assert failure.error.step == "seventh"
        assert f"failed in step 'seventh' of workflow 'w'{' (2 attempts)' * retries}: ValueError" in str(failure.error)
    steps = results.stats.steps
    assert list(steps) == ["double", "half", "seventh", "most", "numbers"]
    assert steps["seventh"].failed == 5 * (1 + retries)
    assert steps["double"].items_in == 300 + 5 * retries
    assert steps["numbers"].items_out == sum(len(of(x)) for x in ITEMS if x % 70 != 7)
    assert (results.stats.failures, results.stats.items) == (5, 300 if on_error == "return" else 295)


def test_the_first_failure_ends_it_behind_the_results_before_it(pool):
    got = []
    with pytest.raises(ItemError, match="step 'seventh'") as caught:
        got.extend(pool.map(CHAIN, ITEMS))
    assert got == [result for x in range(7) for result in of(x)]
    assert (caught.value.index, caught.value.item, caught.value.step) == (7, 7, "seventh")
    assert isinstance(caught.value.__cause__, ValueError)


def test_unordered_results_are_the_same(pool):
    got = pool.map(CHAIN, ITEMS, ordered=False, on_error="skip", chunk=7)
    assert sorted(got) == [result for x in ITEMS if x % 70 != 7 for result in of(x)]


def locks(x):
    return [x, threading.Lock()] if x == 5 else [x]


@pytest.mark.parametrize("chunk", [1, 4, 32])
def test_one_of_several_results_that_can_t_be_sent_fails_its_item_alone(pool, chunk):
    steps = Steps((Step("locks", "flat_map", locks),))
    got = list(pool.map(steps, range(20), chunk=chunk, on_error="return"))
    assert [r.index if isinstance(r, Failure) else r for r in got] == list(range(20))
    assert "the result (lock) can't be pickled" in str(got[5].error)


class Poison:
    """Can be pickled but not unpickled."""

    def __reduce__(self):
        return int, ("poison",)


def poisons(x):
    return [x, Poison()] if x == 5 else [x, -x]


@pytest.mark.parametrize("chunk", [1, 4, 32])
def test_a_result_that_can_t_be_read_here_fails_its_item_alone(pool, chunk):
    steps = Steps((Step("poisons", "flat_map", poisons),))
    got = list(pool.map(steps, range(10), chunk=chunk, on_error="skip"))
    assert got == [result for x in range(10) if x != 5 for result in (x, -x)]


def dies(x):
    if x == 11:
        os.kill(os.getpid(), signal.SIGKILL)
    return [x] * 2


def test_a_death_costs_its_item_alone(start_method):
    steps = Steps((Step("dies", "flat_map", dies),))
    with Pool(2, start_method=start_method, max_deaths=2) as pool:
        got = list(pool.map(steps, range(40), on_error="return"))
    failures = [r for r in got if isinstance(r, Failure)]
    assert [f.index for f in failures] == [11]
    assert isinstance(failures[0].error, WorkerDiedError)
    assert [r for r in got if not isinstance(r, Failure)] == [x for x in range(40) if x != 11 for _ in "ab"]


def test_a_consumer_may_walk_away(pool):
    results = pool.map(CHAIN, iter(int, 1))
    results.close()
    spread = Steps((Step("many", "flat_map", lambda x: range(1000)),))
    with pool.map(spread, iter(int, 1)) as results:
        assert [next(results) for _ in range(1500)] == [*range(1000), *range(500)]
    assert list(pool.map(abs, [-1])) == [1]


def test_steps_that_can_t_be_sent_are_named(pool):
    lock = threading.Lock()
    steps = Steps((Step("fine", "map", abs), Step("held", "map", lambda x: lock.locked())))
    with pytest.raises(ItemError, match="one of the steps fine, held can't be sent to the workers: TypeError"):
        pool.map(steps, range(3))
