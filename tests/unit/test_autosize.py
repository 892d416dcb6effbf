"""How many workers "auto" has: against any observations, and against a small model of a machine."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.pool.size.autosize import AutoSizer, Observation

GIB = 2**30
some = settings(max_examples=40, deadline=None)
WELL = Observation(
    size=4, working=True, busy=1.0, idle_cpus=0.4, own_cpus=None, others_cpus=0.0, memory_left=64 * GIB,
    reserve=GIB, worker_bytes=GIB // 10,
)  # fmt: skip
anything = st.builds(
    Observation,
    size=st.just(0),  # set by the run
    working=st.booleans() | st.just(True),
    busy=st.floats(0, 1) | st.just(1.0),
    idle_cpus=st.floats(0, 8),
    own_cpus=st.none() | st.floats(0, 8),
    others_cpus=st.floats(0, 8),
    memory_left=st.integers(0, 64 * GIB) | st.just(64 * GIB),
    reserve=st.just(GIB),
    worker_bytes=st.integers(0, 2 * GIB),
)


def sizes(looks, least=1, most=8, size=2):
    """What the pool's size becomes, look by look."""
    sizer = AutoSizer(least, most)
    found = [size]
    for seen in looks:
        found.append(sizer.judge(seen._replace(size=found[-1])))
    return found


def changes(found):
    """The directions of the changes, in order."""
    return [1 if b > a else -1 for a, b in zip(found, found[1:], strict=False) if a != b]


def reversals(found):
    ways = changes(found)
    return sum(a != b for a, b in zip(ways, ways[1:], strict=False))


@some
@given(st.lists(anything, max_size=60), st.integers(1, 8), st.integers(0, 12))
def test_it_stays_within_its_bounds_and_doubles_at_most(looks, least, size):
    found = sizes(looks, least, 8, size)[1:]
    assert all(least <= each <= 8 for each in found)
    assert all(after <= 2 * before for before, after in zip(found, found[1:], strict=False))


@some
@given(st.lists(st.tuples(anything, st.integers(1, 40)), max_size=60))
def test_whatever_comes_the_direction_changes_ever_more_rarely(runs):
    looks = [seen._replace(memory_left=64 * GIB) for seen, times in runs for _ in range(times)]
    assert reversals(sizes(looks)) <= 6 + len(looks) // 90


IDLE = WELL._replace(idle_cpus=4.0)
WANTED_BY_OTHERS = WELL._replace(idle_cpus=0.0, own_cpus=1.0, others_cpus=3.0)


def test_who_tries_to_make_it_flap_succeeds_ever_more_rarely():
    found = sizes(([IDLE] * 10 + [WANTED_BY_OTHERS] * 10) * 40)
    assert 1 < reversals(found) <= 8


def test_noise_makes_it_flap_seldom():
    for seed in range(10):
        chance = random.Random(seed)
        looks = [
            WELL._replace(idle_cpus=chance.uniform(0, 1.2), own_cpus=chance.uniform(0, 4), others_cpus=chance.random() * 2)
            for _ in range(3000)
        ]
        assert reversals(sizes(looks)) <= len(looks) // 300, seed  # once in two and a half minutes


@some
@given(st.lists(st.tuples(anything, st.integers(1, 8)), max_size=30))
def test_it_never_grows_while_the_source_is_the_bottleneck(runs):
    looks = [seen._replace(busy=min(seen.busy, 0.89)) for seen, times in runs for _ in range(times)]
    assert 1 not in changes(sizes(looks))
    assert sizes([IDLE._replace(busy=0.89)] * 50) == [2] * 51
    assert sizes([IDLE] * 50)[-1] == 8


@some
@given(st.lists(anything, max_size=100))
def test_while_nothing_is_in_flight_only_memory_counts(looks):
    found = sizes([seen._replace(working=False, memory_left=64 * GIB) for seen in looks])
    assert set(found) == {2}


@some
@given(st.lists(anything, min_size=50, max_size=50))
def test_memory_that_gets_short_shrinks_it_to_the_least(looks):
    assert sizes([seen._replace(memory_left=GIB - 1) for seen in looks], 1, 16, 16)[-1] == 1
    tight = [seen._replace(memory_left=2 * GIB + seen.worker_bytes - 1) for seen in looks]
    assert 1 not in changes(sizes(tight, 1, 16, 4))


def machine(looks, *, cpus, others, duty=1.0, most, size):
    """Sizes on a machine that shares its CPUs evenly; a worker computes for `duty` of the time, others always."""
    sizer, found = AutoSizer(1, most), [size]
    for wanted in (others(at) for at in range(looks)):
        want = found[-1] * duty + wanted
        share = min(1.0, cpus / want)
        idle = max(0.0, cpus - want)
        own = found[-1] * duty * share if idle < 0.2 else None
        rest = wanted * share if own is not None else cpus - idle
        seen = WELL._replace(size=found[-1], idle_cpus=idle, own_cpus=own, others_cpus=rest)
        found.append(sizer.judge(seen))
    return found


def test_it_uses_what_is_idle_and_yields_to_others_and_comes_back():
    found = machine(400, cpus=8, others=lambda at: 6 if 100 < at < 200 else 0, most=8, size=1)
    assert found[100] == 8
    assert found[200] == 2
    assert found[-1] == 8
    assert reversals(found) == 2


def test_two_cpus_are_shared_with_one_other():
    assert machine(100, cpus=2, others=lambda _: 1, most=2, size=2)[-1] == 1
    assert set(machine(300, cpus=2, others=lambda _: 0, most=2, size=2)) == {2}


def test_workers_that_wait_leave_room_for_more_of_them():
    found = machine(200, cpus=2, others=lambda _: 0, duty=0.1, most=16, size=2)
    assert found[-1] in range(13, 17)
    assert reversals(found) == 0
    assert machine(200, cpus=2, others=lambda _: 0, duty=0.1, most=2, size=2)[-1] == 2


def test_workers_without_anything_to_do_go_one_by_one():
    found = sizes([WELL._replace(busy=0.25)] * 30, 1, 8, 8)
    assert found[-1] == 7
