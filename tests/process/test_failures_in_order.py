"""`on_error="return"` through stages that are not fused: results and Failures come in the order of the items."""

import random
from functools import partial

import pytest

from orchestrator import Failure, Pool, Stream, run


def fail_at(remainder, x):
    if x % 7 == remainder:
        raise ValueError(x)
    return x


def keep_at(remainder, x):
    return fail_at(remainder, x) % 3


def repeat_at(remainder, x):
    return [fail_at(remainder, x)] * (x % 3)


STEPS = {"map": fail_at, "filter": keep_at, "flat_map": repeat_at}


def plain(kind, function, items):
    """What one step gives, item by item; a Failure goes on as it is."""
    for item in items:
        try:
            result = item if isinstance(item, str) else function(item)
        except ValueError:
            result = f"failed {item}"
        if isinstance(result, str):
            yield result
        elif kind == "flat_map":
            yield from result
        elif kind == "map" or result:
            yield item


@pytest.mark.parametrize("seed", range(12))
def test_a_failure_keeps_its_place_through_every_kind_of_stage(pool, seed):
    chance = random.Random(seed)
    stream, wanted = Stream(range(400)), range(400)
    for number in range(4):
        kind = chance.choice([*STEPS])
        function = partial(STEPS[kind], number)
        stream = getattr(stream, kind)(function, on_error="return", retries=number % 2, chunk=chance.randint(1, 40))
        wanted = list(plain(kind, function, wanted))
        if chance.random() < 0.3:
            stream = stream.barrier()
    out = []
    run(stream.to(out), pool=pool)
    assert [f"failed {each.item}" if isinstance(each, Failure) else each for each in out] == wanted


def test_a_stage_that_raises_passes_them_by_too_and_indexes_count_them(pool):
    stream = Stream(range(20)).map(partial(fail_at, 3), on_error="return")
    out = []
    run(stream.map(partial(fail_at, 99), retries=1).map(partial(fail_at, 5), on_error="return").to(out), pool=pool)
    assert [(each.index, each.item) for each in out if isinstance(each, Failure)] == [
        (k, k) for k in range(20) if k % 7 in {3, 5}
    ]
    assert [each for each in out if not isinstance(each, Failure)] == [k for k in range(20) if k % 7 not in {3, 5}]


def test_without_an_order_none_is_lost():
    with Pool(2) as pool:
        out = []
        stream = Stream(range(300)).map(partial(fail_at, 3), on_error="return").map(abs, ordered=False, chunk=2)
        run(stream.to(out), pool=pool)
    assert sorted(each.item if isinstance(each, Failure) else each for each in out) == list(range(300))
