"""Every way from a source, or a step that runs inline, to the workers: one buffer is filled anew for each item."""

import asyncio
import queue

import numpy as np
import pytest

from orchestrator import Pool, Stream, Workflow, run

ITEMS = 60


@pytest.fixture(scope="module")
def pool():
    with Pool(2) as pool:
        yield pool


def refilled(kind, items=ITEMS):
    """Yield what is changed as soon as the next item is asked for."""
    row, array, rows = {"n": 0}, np.zeros(8), [[0], [0]]
    for n in range(items):
        row["n"] = array[:] = rows[n % 2][0] = n
        yield {"dict": row, "in a tuple": (n, row), "view": array[:], "two in turn": rows[n % 2]}[kind]
    row["n"] = array[:] = rows[0][0] = rows[1][0] = -1


KINDS = ["dict", "in a tuple", "view", "two in turn"]


def worth(item):
    while not isinstance(item, int | float | np.number):
        item = item["n"] if isinstance(item, dict) else item[-1] if isinstance(item, tuple) else item[0]
    return int(item)


def worths(window):
    return [worth(item) for item in window]


def as_is(item):
    return item


def refilling(numbers):
    """Return a step that gives one buffer over and over, too."""
    own = [0]

    def step(item):
        own[0] = worth(item)
        return own

    return step


def refilling_many(item):
    own = [worth(item)]
    yield own
    own[0] = -2


def combining():
    own = {}

    def combine(left, right):
        own["n"] = worth(left)
        return own

    return combine


async def slowly(items):
    for item in items:
        yield item
        await asyncio.sleep(0)


def queued(kind):
    waiting = queue.Queue()
    for item in refilled(kind):
        waiting.put(list(item) if kind == "two in turn" else [worth(item)])
    waiting.put(None)
    return Stream(waiting)


def same(stream):
    return stream.map(worth)


WAYS = {
    "map": lambda kind: same(Stream(refilled(kind))),
    "map_inline": lambda kind: same(Stream(refilled(kind)).map_inline(as_is)),
    "a step that refills": lambda kind: same(Stream(refilled(kind)).map_inline(refilling(kind))),
    "filter_inline": lambda kind: same(Stream(refilled(kind)).filter_inline(lambda item: worth(item) >= 0)),
    "flat_map_inline": lambda kind: same(Stream(refilled(kind)).flat_map_inline(refilling_many)),
    "flat_map_inline, a list": lambda kind: same(Stream(refilled(kind)).flat_map_inline(lambda item: [item])),
    "tee": lambda kind: same(Stream(refilled(kind)).tee(None)),
    "window": lambda kind: Stream(refilled(kind)).window(3, 3).map(worths).flat_map_inline(as_is),
    "window_by_time": lambda kind: (
        Stream(refilled(kind)).window_by_time(7, worth).map(lambda w: worths(w.items)).flat_map_inline(as_is)
    ),
    "window_inline": lambda kind: Stream(refilled(kind)).map_inline(as_is).window(4, 4).flat_map(worths),
    "merge": lambda kind: same(Stream.merge(Stream(refilled(kind)))),
    "merge_sorted": lambda kind: same(
        Stream.merge_sorted(Stream(refilled(kind)), Stream([]), key=worth)
    ),
    "multiplex": lambda kind: same(Stream.multiplex({"a": Stream(refilled(kind))})),
    "route": lambda kind: same(Stream(refilled(kind)).route({}, default="rest")["rest"]),
    "demultiplex": lambda kind: same(Stream(refilled(kind)).demultiplex(lambda _: "a", keys=["a"])["a"]),
    "in_step": lambda kind: same(Stream(refilled(kind)).in_step(Stream(range(ITEMS))).map_inline(lambda pair: pair[0])),
    "barrier": lambda kind: same(Stream(refilled(kind)).barrier()),
    "join": lambda kind: same(
        Stream(refilled(kind)).join(Stream(range(ITEMS)), worth, combine=lambda left, right: left)
    ),
    "a join that refills": lambda kind: same(
        Stream(refilled(kind)).join(Stream(range(ITEMS)), worth, combine=combining())
    ),
    "through": lambda kind: Stream(refilled(kind)).map_inline(as_is).through(Workflow().step("worth", worth)),
    "filter": lambda kind: same(Stream(refilled(kind)).map_inline(as_is).filter(lambda item: worth(item) >= 0)),
    "a thread": lambda kind: same(Stream(refilled(kind), blocking=True)),
    "async": lambda kind: same(Stream(slowly(refilled(kind)))),
    "a queue": lambda kind: same(queued(kind)),
    "no worker": lambda kind: Stream(refilled(kind)).map_inline(worth),
    "no worker, more steps": lambda kind: (
        Stream(refilled(kind)).filter_inline(lambda item: worth(item) >= 0).flat_map_inline(lambda item: [worth(item)])
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_each_item_arrives_as_it_was_when_it_was_handed_on(way, kind, pool):
    found = []
    run(WAYS[way](kind).to(found), pool=pool)
    assert sorted(found) == list(range(ITEMS))


def fails_in_the_first_attempt(item):
    import workers

    if workers.current().attempt == 1:
        raise ValueError
    return worth(item)


def fails(item):
    raise ValueError(worth(item))


@pytest.mark.parametrize("kind", KINDS)
def test_what_runs_again_or_is_kept_is_what_was_handed_on(kind, pool):
    def stream():
        return Stream(refilled(kind)).map_inline(as_is)

    found, kept, letters = [], [], []
    run(stream().map(fails_in_the_first_attempt, retries=1).to(found), pool=pool)
    run(stream().map(fails, on_error="return", dead_letters=letters.append).to(kept), pool=pool)
    assert found == list(range(ITEMS))
    assert [worth(failure.item) for failure in kept] == list(range(ITEMS))
    assert [worth(letter.item) for letter in letters] == list(range(ITEMS))


@pytest.mark.parametrize("kind", KINDS)
def test_branches_of_one_stream(kind, pool):
    first, second = Stream(refilled(kind)).broadcast(2)
    found, also = [], []
    run(same(first).to(found), same(second.window(2, 2).flat_map_inline(as_is)).to(also), pool=pool)
    assert found == also == list(range(ITEMS))


def test_a_stream_that_is_iterated_gives_each_item_before_the_next_is_read():
    assert [worth(item) for item in Stream(refilled("dict"))] == list(range(ITEMS))


def test_what_nobody_changes_and_runs_here_stays_the_same_object():
    objects = [object() for _ in range(5)]
    assert all(one is other for one, other in zip(Stream(iter(objects)), objects, strict=True))


def test_what_cannot_be_copied_goes_on_as_it_is(pool):
    numbers = [(n for n in range(3)) for _ in range(5)]  # generators
    assert Stream(iter(numbers)).map_inline(list).map(sum).collect() == [3] * 5
