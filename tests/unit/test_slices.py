"""A chunk is run slice by slice, each as large as the time of the last one tells."""

import pytest

from workers.functions.columns.slices import Slices


def run(of, items, clock, *, took_s=0.001, fails_at=None, abandoned=lambda: False, began=None):
    """The slices that were run, each as (position, items), where an item takes so long."""
    found = []

    def over(at, wanted):
        through = wanted if fails_at is None else min(wanted, fails_at - at)
        found.append((at, through))
        clock.now += through * took_s
        return through, through == wanted

    of.run(items, over, abandoned, began)
    return found


def test_slices_grow_up_to_five_milliseconds_and_the_next_chunk_knows(clock):
    of = Slices()
    assert run(of, range(13), clock) == [(0, 1), (1, 5), (6, 5), (11, 2)]
    assert run(of, range(6), clock) == [(0, 5), (5, 1)]


def test_slices_shrink_when_items_take_longer(clock):
    of = Slices()
    run(of, range(20), clock)
    assert run(of, range(10), clock, took_s=0.01) == [(0, 5), *((at, 1) for at in range(5, 10))]


def test_nobody_waits_any_more(clock):
    assert run(Slices(), range(20), clock, abandoned=lambda: True) == [(0, 1)]


def test_a_chunk_that_is_through_is_not_asked_for(clock):
    assert run(Slices(), range(1), clock, abandoned=lambda: pytest.fail("asked")) == [(0, 1)]


def test_what_fails_for_good_ends_it(clock):
    assert run(Slices(), range(20), clock, fails_at=3) == [(0, 1), (1, 2)]


def test_each_item_is_told_of_before_it_runs(clock):
    told = []
    assert run(Slices(), range(4), clock, began=told.append) == [(at, 1) for at in range(4)]
    assert told == [0, 1, 2, 3]


def test_items_may_be_taken_back_meanwhile(clock):
    items = list(range(20))

    def abandoned():
        del items[6:]

    assert run(Slices(), items, clock, abandoned=abandoned) == [(0, 1), (1, 5)]
