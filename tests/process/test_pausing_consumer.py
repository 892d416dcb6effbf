"""A consumer that pauses does not starve the workers, and the byte budget holds meanwhile."""

from functools import partial
from itertools import islice

import pytest

from orchestrator import Pool
from tests.support.timed import noted_and_slow, runs_of
from tests.support.waiting import is_at_rest, until

FIRST = 10


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("source", [range, lambda items: iter(range(items))])
def test_workers_go_on_while_the_consumer_is_away(tmp_path, ordered, source):
    with Pool(2) as pool:
        results = iter(pool.map(partial(noted_and_slow, str(tmp_path), 1), source(60), ordered=ordered, chunk=1))
        first = list(islice(results, FIRST))
        until(lambda: len(runs_of(tmp_path)) == 60)  # nobody drives the pool from here
        assert len(first + list(results)) == 60
    assert set(runs_of(tmp_path).values()) == {1}


def test_results_that_nobody_takes_count_against_the_budget(tmp_path):
    size, budget = 100_000, 2_000_000
    with Pool(2, buffer_bytes=budget) as pool:
        results = iter(pool.map(partial(noted_and_slow, str(tmp_path), size), range(100), chunk=1))
        first = list(islice(results, FIRST))
        until(lambda: is_at_rest_but_for_results(pool))
        ran = len(runs_of(tmp_path))
        assert FIRST < ran <= FIRST + budget // size + 4
        assert pool.stats()["bytes_in_flight"] <= budget + 4 * size
        assert len(first + list(results)) == 100
        until(lambda: is_at_rest(pool))


def is_at_rest_but_for_results(pool):
    _ = pool.workers  # has the pool look at its lanes
    return pool.stats()["chunks_in_flight"] == 0


def test_what_is_encoded_ahead_is_dropped_with_its_call_and_runs_again_after_a_death(tmp_path):
    with Pool(2) as pool:
        results = pool.map(partial(noted_and_slow, str(tmp_path), 1), range(1000), chunk=1)
        list(islice(results, FIRST))
        results.close()
        until(lambda: is_at_rest(pool))
        assert len(runs_of(tmp_path)) < 1000
        assert list(pool.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]
