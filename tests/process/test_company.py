"""What shares a worker with something long, or with something deadly: it neither waits for the one nor pays for the other."""

import threading
from functools import partial

import pytest

from orchestrator import ConfigError, Failure, Pool, WorkerDiedError
from tests.support.timed import noted, noted_and_deadly, runs_of, waits_at
from tests.support.waiting import DEADLINE_S, until

ITEMS = 60
DEADLY = frozenset({3, 17, 18, 40})


@pytest.mark.parametrize("before", [0, 2000])
def test_no_call_waits_behind_a_long_one_while_another_worker_is_idle(pool, tmp_path, before):
    gate = tmp_path / "gate"
    function = partial(waits_at, {0}, str(gate))
    assert [future.result() for future in [pool.submit(function, 1) for _ in range(before)]] == [1] * before
    futures = [pool.submit(function, x) for x in range(40)]
    assert [future.result(DEADLINE_S) for future in futures[1:]] == list(range(1, 40))
    assert not futures[0].done()
    gate.touch()
    assert futures[0].result() == 0


@pytest.mark.parametrize("chunk", [1, 3])
def test_no_chunk_of_a_map_waits_behind_a_long_one_while_another_worker_is_idle(pool, tmp_path, chunk):
    """The long one comes when those before have shown to be short, so that several are sent to each worker."""
    gate = tmp_path / "gate"
    items = range(200 * chunk)
    long = len(items) - 10 * chunk
    results = []
    for x in pool.map(partial(waits_at, {long}, str(gate)), items, chunk=chunk, ordered=False):
        results.append(x)
        if len(results) >= len(items) - chunk:
            gate.touch()
    assert sorted(results) == list(items)


def _outcomes(pool, function, how, **options):
    if how == "submit":
        return [future.exception() or future.result() for future in [pool.submit(function, x) for x in range(ITEMS)]]
    results = pool.map(function, range(ITEMS), on_error="return", chunk=how, **options)
    return [each.error if isinstance(each, Failure) else each for each in results]


@pytest.mark.parametrize("how", ["submit", 1, 7, "auto"])
def test_with_one_death_allowed_nothing_is_begun_twice(tmp_path, how):
    function = partial(noted_and_deadly, str(tmp_path), DEADLY)
    with Pool(2, max_deaths=1) as pool:
        outcomes = _outcomes(pool, function, how)
    runs = runs_of(tmp_path)
    assert set(runs.values()) == {1}
    failed = {x for x, each in enumerate(outcomes) if isinstance(each, WorkerDiedError)}
    assert failed >= DEADLY
    if how in {"submit", 1}:
        assert failed == DEADLY
    assert failed <= runs.keys()  # what has not begun is not given up for another's death
    assert all("(it had begun)" in str(outcomes[x]) for x in failed)
    assert [each for each in outcomes if not isinstance(each, WorkerDiedError)] == [
        x for x in range(ITEMS) if x not in failed
    ]


def test_a_call_may_ask_that_nothing_is_begun_twice(tmp_path):
    function = partial(noted_and_deadly, str(tmp_path), DEADLY)
    with Pool(2, max_deaths=3) as pool:
        _outcomes(pool, function, 5, at_most_once=True)
        assert set(runs_of(tmp_path).values()) == {1}
        with pytest.raises(ConfigError, match="at_most_once"):
            pool.map(abs, [], at_most_once=True, retries=1)


def test_an_item_that_kills_as_it_is_unpickled_has_not_begun():
    with Pool(1, max_deaths=1) as pool:
        [failure, good] = pool.map(repr, [Deadly(), 5], chunk=1, on_error="return")
    assert isinstance(failure.error, WorkerDiedError)
    assert "(it had not begun)" in str(failure.error)
    assert good == "5"


class Deadly:
    def __reduce__(self):
        import os

        return os._exit, (3,)


@pytest.mark.parametrize("chunk", [1, 4])
def test_only_what_a_worker_was_at_is_to_blame_whatever_it_held(tmp_path, chunk):
    """A step of all workers beside deadly items: it is never blamed, and no item takes more down than it may."""
    deadly = frozenset(range(1, ITEMS, 3))
    folders = [tmp_path / "items", tmp_path / "steps"]
    for folder in folders:
        folder.mkdir()
    with Pool(2, max_deaths=2) as pool:
        results = []
        function = partial(noted_and_deadly, str(folders[0]), deadly)
        items = pool.map(function, range(ITEMS), chunk=chunk, on_error="return")
        thread = threading.Thread(target=lambda: results.extend(items))
        thread.start()
        until(lambda: runs_of(folders[0]))
        for number in range(5):
            assert pool.run_on_all(noted, str(folders[1]), number) == [number, number]
        thread.join()
        deaths = pool.stats()["deaths"]
    assert [each.index for each in results if isinstance(each, Failure)] == sorted(deadly)
    assert [each for each in results if not isinstance(each, Failure)] == [x for x in range(ITEMS) if x not in deadly]
    assert deaths <= 2 * len(deadly)
    assert max(runs_of(folders[0]).values()) <= (2 if chunk == 1 else 3)
