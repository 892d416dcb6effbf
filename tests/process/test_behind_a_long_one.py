"""Nothing waits behind something long while a worker has nothing to do: an item that is through only when all are."""

import os
from functools import partial

import pytest

import workers
from orchestrator import Pool
from tests.support.waiting import Tally, until

ITEMS = 600


def last_of_all(tally, long, dies, x):
    """Count x; the long one is not through before all others have run."""
    if x != long:
        tally.add()
        return x
    until(lambda: tally.count >= ITEMS - 1)
    if dies and workers.current().attempt == 1:
        os._exit(3)
    return x


@pytest.fixture
def tally(tmp_path):
    return Tally(tmp_path / "ran")


@pytest.mark.parametrize(
    ("long", "chunk", "options"),
    [
        (0, 1, {}),
        (400, 1, {"timeout": 60}),
        (400, 1, {"ordered": False}),
        (400, 7, {}),
        (400, "auto", {"on_error": "return"}),
        (0, "auto", {"ordered": False}),
    ],
)
def test_what_a_long_item_shares_its_chunk_with_runs_elsewhere(tally, long, chunk, options):
    with Pool(2) as pool:
        results = list(pool.map(partial(last_of_all, tally, long, False), range(ITEMS), chunk=chunk, **options))
    assert sorted(results) == list(range(ITEMS))
    if options.get("ordered", True):
        assert results == list(range(ITEMS))
    assert tally.count == ITEMS - 1


@pytest.mark.parametrize("source", [range, lambda items: iter(range(items))])
def test_only_what_had_begun_runs_again_after_a_death(tally, source):
    with Pool(2) as pool:
        results = pool.map(partial(last_of_all, tally, 400, True), source(ITEMS), chunk=1, retries=1)
        assert list(results) == list(range(ITEMS))
        assert pool.stats()["deaths"] == 1


def test_calls_that_are_submitted(tally):
    with Pool(2) as pool:
        call = partial(last_of_all, tally, 400, False)
        assert [future.result() for future in [pool.submit(call, x) for x in range(ITEMS)]] == list(range(ITEMS))
