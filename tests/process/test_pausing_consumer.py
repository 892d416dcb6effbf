"""A consumer that pauses does not starve the workers, whichever way it consumes, and the byte budget holds meanwhile."""

import time
from functools import partial
from itertools import islice

import numpy
import pytest

from orchestrator import Pool, Stream, run
from orchestrator.errors import PausedError
from orchestrator.streams.running import plan_of, run_plan
from tests.support.timed import noted, noted_and_slow, runs_of
from tests.support.waiting import Gate, is_at_rest, until

FIRST = 10
ITEMS = 40


def slow_until(drawn, folder, x):
    """Note that x begins, and take 2 ms; before anybody gets FIRST results, all items are drawn from the source."""
    noted(folder, x)
    time.sleep(0.002)
    if x >= FIRST // 2:
        drawn.wait()
    return x


@pytest.fixture
def drawn(tmp_path):
    return Gate(tmp_path / "drawn")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "runs").mkdir()
    return str(tmp_path / "runs")


def items_until(drawn):
    yield from range(ITEMS)
    drawn.open()


def by_map(pool, source, fn, away, **options):
    results = iter(pool.map(fn, source, **options))
    first = list(islice(results, FIRST))
    away()
    return first + list(results)


class Sink:
    """Goes away once it has some items."""

    def __init__(self, away):
        self.items, self._away = [], away

    def write(self, items):
        for item in items:
            self.items.append(item)
            if len(self.items) == FIRST:
                self._away()

    def close(self):
        pass


def by_sink(pool, source, fn, away, **options):
    sink = Sink(away)
    run(Stream(source).map(fn, **options).to(sink), pool=pool)
    return sink.items


def by_tee_behind_two_stages(pool, source, fn, away, **options):
    sink, items = Sink(away), []
    stream = Stream(source).map_inline(int).map(fn, **options).map_inline(int).map(abs, chunk=1)
    run(stream.tee(sink).to(items), pool=pool)
    assert sink.items == items
    return items


def by_inline_step(pool, source, fn, away, **options):
    seen, items = Sink(away), []

    def step(x):
        seen.write([x])
        return x

    run(Stream(source).map(fn, **options).map_inline(step).to(items), pool=pool)
    return items


@pytest.mark.parametrize("chunk", [1, "auto"])
@pytest.mark.parametrize("way", [by_map, by_sink, by_tee_behind_two_stages, by_inline_step])
def test_workers_go_on_while_the_consumer_is_away(folder, drawn, way, chunk):
    check(Pool(2), folder, drawn, way, chunk=chunk)


def number_of(folder, item):
    """Note that an item of large arrays begins, and take 20 ms."""
    noted_and_slow(folder, 0, int(item[0]))
    return int(item[0])


def test_large_items_that_take_long_go_ahead_as_well(folder):
    """They are copied to wait; what the source yields is one array, which it fills again."""

    def arrays():
        array = numpy.empty(50_000)
        for number in range(ITEMS):
            array[:] = number
            yield array

    with Pool(2) as pool:
        results = iter(pool.map(partial(number_of, folder), arrays(), chunk=1))
        first = list(islice(results, FIRST))
        until(lambda: len(runs_of(folder)) == ITEMS)
        assert first + list(results) == list(range(ITEMS))


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_workers_of_any_kind_go_on(folder, drawn, start_method):
    check(Pool(2, start_method=start_method), folder, drawn, by_map, chunk=1, ordered=False)


def check(pool, folder, drawn, way, **options):
    def away():
        until(lambda: len(runs_of(folder)) == ITEMS)  # nobody drives the pool from here

    with pool:
        items = way(pool, items_until(drawn), partial(slow_until, drawn, folder), away, **options)
    assert sorted(items) == list(range(ITEMS))
    assert set(runs_of(folder).values()) == {1}


def test_forked_workers_are_replaced_when_the_consumer_is_back(folder, drawn):
    with Pool(2, start_method="fork", items_per_worker=1) as pool:
        results = iter(pool.map(partial(slow_until, drawn, folder), items_until(drawn), chunk=1))
        first = list(islice(results, FIRST))
        until(lambda: not pool.stats()["chunks_in_flight"])  # the thread that stands in forks nobody
        assert first + list(results) == list(range(ITEMS))


def test_a_run_that_is_paused_drops_what_no_worker_has_begun(folder):
    runners = []
    sink = Sink(lambda: runners[0].pause(3600))
    plan = plan_of(Stream(range(1000)).map(partial(noted_and_slow, folder, 1), chunk=1).to(sink))
    with Pool(2) as pool, pytest.raises(PausedError):
        run_plan(plan, pool, starting=runners.append)
    assert FIRST <= len(runs_of(folder)) < 1000


def test_calls_with_chunks_ahead_share_one_worker_with_others(tmp_path):
    """No call has to wait until another is through."""
    with Pool(1) as pool:
        maps = [iter(pool.map(partial(noted_and_slow, str(tmp_path), 1), range(1000), chunk=1)) for _ in range(2)]
        for _ in range(FIRST):
            for results in maps:
                next(results)
            assert pool.submit(abs, -1).result() == 1
            assert list(pool.map(abs, [-2, -3])) == [2, 3]
        assert len(runs_of(tmp_path)) < 1000


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
