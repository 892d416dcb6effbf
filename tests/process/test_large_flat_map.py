"""A flat map whose item gives more than memory should hold: on disk between the worker and the consumer.

The oracle is the plain loop; the bound is small, so that all happens in small.
"""

import contextlib
import gc
import itertools
import os
import random
import signal
from pathlib import Path

import pytest
from support.large_flat_maps import peak_bytes, resident_bytes, run_despite_failures

import workers.functions.steps
from orchestrator import ItemError, Pool, Stream
from workers.functions.steps import Step, Steps


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(workers.functions.steps, "MOST_HELD", 50)


@pytest.fixture
def pool():
    with Pool(2) as pool:
        yield pool


def numbers(x):
    for n in range(x * 37 % 150):
        yield x, n


def listed(x):
    return list(numbers(x))


_buffer = []


def buffered(x):
    _buffer[:] = numbers(x)
    return _buffer


class Counted:
    """An iterable that is none of the usual types, and can be read once."""

    def __init__(self, x):
        self._values = numbers(x)

    def __iter__(self):
        values, self._values = self._values, None
        yield from values


def twice(v):
    return [v, v]


def keeps(v):
    return v[1] % 3 != 0


def many(v):
    return (v for _ in range(v[1] % 6))


def none_too(v):
    return [None if v[1] % 2 else v] * (v[1] % 6)


def odd(v):
    return v[1] % 2


def after(v):
    return v[0], v[1] + 1


def fails(v):
    if v in {(5, 30), (11, 3)}:
        raise ValueError(v)
    return v


def fails_at_the_end(x):
    yield from numbers(x)
    if x == 5:
        raise ValueError(x)


STEPS = {
    "map": (Step("map", "map", after), lambda v: [after(v)]),
    "filter": (Step("filter", "filter", keeps), lambda v: [v] if keeps(v) else []),
    "twice": (Step("twice", "flat_map", twice), twice),
    "many": (Step("many", "flat_map", many), many),
    "drops": (Step("drops", "flat_map", none_too, drop_none=True), lambda v: [w for w in none_too(v) if w is not None]),
    "fails": (Step("fails", "map", fails), lambda v: [fails(v)]),
    "when": (Step("when", "flat_map", many, when=odd), lambda v: many(v) if odd(v) else [v]),
    "branch": (
        Step(
            "branch", "branch", odd,
            branches=((0, (Step("even", "map", after),)), (1, (Step("odd", "flat_map", many), Step("o", "map", fails)))),
        ),
        lambda v: (fails(w) for w in many(v)) if odd(v) else [after(v)],
    ),
}  # fmt: skip


def by_loop(first, names, items):
    """Return the results of each item; None for one that fails."""
    found = []
    for item in items:
        try:
            values = list(first(item))
            for name in names:
                values = [made for value in values for made in STEPS[name][1](value)]
            found.append(values)
        except ValueError:
            found.append(None)
    return found


CASES = [
    (first, tuple(random.Random(seed).sample([n for n in STEPS if n != "many"], seed % 4)) + ("many",) * (seed % 3 == 0))
    for seed, first in enumerate([numbers, listed, buffered, Counted, fails_at_the_end] * 4)
]


@pytest.mark.parametrize(("first", "names"), CASES)
def test_results_are_those_of_the_plain_loop(first, names, pool, monkeypatch):
    monkeypatch.setattr(workers.functions.steps, "MOST_HELD", random.choice([2, 7, 50]))
    steps = Steps((Step("first", "flat_map", first), *(STEPS[name][0] for name in names)))
    groups = by_loop(first, names, range(14))
    wanted = [value for group in groups if group is not None for value in group]
    for chunk, ordered in itertools.product((1, 5, "auto"), (True, False)):
        got = list(pool.map(steps, range(14), chunk=chunk, ordered=ordered, on_error="skip"))
        assert (got if ordered else sorted(got)) == (wanted if ordered else sorted(wanted))
    failed = [at for at, group in enumerate(groups) if group is None]
    got = list(pool.map(steps, range(14), chunk=5, on_error="return", retries=1))
    assert len(got) == len(wanted) + len(failed)
    if failed:
        got = []
        with pytest.raises(ItemError) as caught:
            got.extend(pool.map(steps, range(14), chunk=5))
        assert caught.value.index == failed[0]
        assert got == [value for group in groups[: failed[0]] for value in group]


def dies_once(x, mark):
    for n in range(1000):
        if x == 3 and n == 700 and not Path(mark).exists():
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield x, n


def test_a_worker_that_dies_in_the_middle_costs_a_retry(tmp_path):
    mark = str(tmp_path / "died")
    steps = Steps((Step("first", "flat_map", lambda x: dies_once(x, mark)),))
    with Pool(2) as pool:
        results = pool.map(steps, range(6), chunk=2)
        assert list(results) == [(x, n) for x in range(6) for n in range(1000)]
        assert results.stats.deaths == 1


def unnamed_files():
    """Files without a name that this process has open; not the shared memory of its lanes, which may be made at any time."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sum(link.endswith(" (deleted)") and not link.startswith("/memfd:") for link in links)


def endless(x):
    return itertools.count(x)


@pytest.fixture
def no_collector():
    """What is given back is given back at once, not when the collector of cycles comes by."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_files_are_given_back_whoever_walks_away(pool, no_collector):
    steps = Steps((Step("first", "flat_map", numbers),))
    list(pool.map(steps, range(20), chunk=3))
    before, closed = unnamed_files(), []
    for taken in (0, 1, 70, 170, 500):
        results = pool.map(steps, range(200), chunk=3)
        list(itertools.islice(results, taken))
        results.close()
        closed.append(results)  # who closed it may keep it
    pool.run_on_all(os.getpid)  # behind all that was abandoned
    assert unnamed_files() <= before


def test_an_endless_iterable_ends_with_its_timeout(pool):
    steps = Steps((Step("first", "flat_map", endless),))
    got = list(pool.map(steps, [1], timeout=0.3, on_error="return"))
    assert "timed out" in str(got[0].error) or "0.3" in str(got[0].error)


def test_a_result_that_cannot_be_pickled_is_the_items_failure(pool):
    steps = Steps((Step("first", "flat_map", lambda x: ((n if n < 300 or x else (_ for _ in ())) for n in range(400))),))
    got = list(pool.map(steps, range(3), on_error="return"))
    assert "can't be pickled" in str(got[0].error)
    assert got[1:] == [*range(400)] * 2


@pytest.mark.parametrize("ordered", [True, False])
def test_a_run_that_failed_goes_on_in_the_middle_of_an_item(ordered, pool, tmp_path):
    out = tmp_path / "out"

    def flow(breaks):
        return Stream(range(20)).flat_map(numbers, ordered=ordered).map_inline(breaks).to(str(out))

    run_despite_failures(flow, pool, tmp_path / "kept")
    wanted = [f"[{x}, {n}]" for x in range(20) for n in range(x * 37 % 150)]
    got = out.read_text().splitlines()
    assert (got if ordered else sorted(got)) == (wanted if ordered else sorted(wanted))


def three_million(x):
    return range(x, x + 3_000_000)


def one_more(n):
    return n + 1


def test_memory_stays_flat(monkeypatch):
    monkeypatch.undo()
    steps = Steps((Step("first", "flat_map", three_million), Step("next", "map", one_more)))
    with Pool(1) as pool:
        list(pool.map(one_more, range(100_000)))
        before = max(pool.run_on_all(peak_bytes))
        own = resident_bytes()
        count = most = 0
        for value in pool.map(steps, [1_000_000]):
            count += 1
            if not value % 100_000:
                most = max(most, resident_bytes())
        assert count == 3_000_000
        assert max(pool.run_on_all(peak_bytes)) - before < 50 << 20
        assert most - own < 50 << 20
