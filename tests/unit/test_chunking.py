"""Chunk sizes: they start small, grow to a duration, stay below a size in bytes, and shrink at the end."""

import pytest

from orchestrator.engine.core.chunking import (
    COALESCED_S,
    MAX_CHUNK_BYTES,
    MAX_COALESCED,
    MAX_GROWTH,
    MAX_ITEMS,
    SHORTEST_S,
    TARGET_S,
    ChunkSizer,
)
from orchestrator.engine.core.known_times import KnownTimes


def grown(sizer, seconds_per_item, bytes_per_item=1, rounds=30, already_cut=0):
    for _ in range(rounds):
        size = sizer.next_size(already_cut)
        sizer.observe(size, size * seconds_per_item, size * bytes_per_item)
    return sizer.next_size(already_cut)


def test_the_first_chunk_has_one_item():
    assert ChunkSizer("auto", 4, None).next_size(0) == 1
    assert ChunkSizer("auto", 4, 10**9).next_size(0) == 1


@pytest.mark.parametrize(
    ("total", "seconds", "first"),
    [(10, 1e-6, 10), (64, 1e-6, 64), (65, 1e-6, 1), (10, SHORTEST_S / 10, 10), (10, SHORTEST_S / 9, 1), (None, 1e-6, 1)],
)
def test_few_items_that_were_short_before_go_at_once(total, seconds, first):
    sizer = ChunkSizer("auto", 4, total)
    sizer.expect(seconds)
    assert sizer.next_size(0) == first


def test_a_fixed_size_expects_nothing():
    sizer = ChunkSizer(1, 4, 10)
    sizer.expect(1e-6)
    assert sizer.next_size(0) == 1


def test_times_of_the_functions_that_ran_last_are_known():
    known = KnownTimes()
    for number in range(300):
        known.note(b"%d" % number, number)
    known.note(b"x" * 2000, 1.0)
    assert known.of(b"x" * 2000) is None
    assert [known.of(b"%d" % number) for number in (43, 44, 299)] == [None, 44, 299]


def test_chunks_grow_to_the_target_duration():
    assert grown(ChunkSizer("auto", 4, None), TARGET_S / 100) == pytest.approx(100, abs=1)


def test_chunks_are_longer_where_there_are_many_workers():
    assert grown(ChunkSizer("auto", 8, None), TARGET_S / 100) == pytest.approx(100, abs=1)
    assert grown(ChunkSizer("auto", 32, None), TARGET_S / 100) == pytest.approx(400, abs=1)


def test_long_items_travel_one_by_one():
    assert grown(ChunkSizer("auto", 4, None), TARGET_S * 0.6) == 1
    assert grown(ChunkSizer("auto", 4, None), 10.0) == 1


def test_growth_goes_in_steps_however_quick_an_item_seems():
    sizer = ChunkSizer("auto", 4, None)
    sizes = []
    for _ in range(7):
        sizes.append(sizer.next_size(0))
        sizer.observe(sizes[-1], 0.0, 1)
    assert sizes == [1, 8, 64, 512, 4096, 32768, MAX_ITEMS]
    assert MAX_GROWTH == 8


def test_a_single_quick_item_after_large_chunks_does_not_cost_the_growth_at_once():
    sizer = ChunkSizer("auto", 4, None)
    size = grown(sizer, TARGET_S / 1000)
    sizer.observe(size // 4, size // 4 * TARGET_S / 1000, 1)
    assert sizer.next_size(0) == size


def test_chunks_stay_below_the_size_that_takes_the_other_way():
    assert grown(ChunkSizer("auto", 4, None), 1e-7, bytes_per_item=1000) == MAX_CHUNK_BYTES // 1000
    assert grown(ChunkSizer("auto", 4, None), 1e-7, bytes_per_item=10 * MAX_CHUNK_BYTES) == 1


def test_one_large_item_shrinks_the_next_chunk_at_once():
    sizer = ChunkSizer("auto", 4, None)
    assert grown(sizer, 1e-6, bytes_per_item=10) > 1000
    sizer.observe(10, 1e-5, 10 * 6000)
    assert sizer.next_size(0) <= MAX_CHUNK_BYTES // 6000


def test_chunks_shrink_toward_a_known_end():
    total, workers, seconds = 10_000, 4, TARGET_S / 100
    sizer = ChunkSizer("auto", workers, total)
    assert grown(sizer, seconds) == pytest.approx(100, abs=1)
    assert sizer.next_size(total - 800) == 800 // (4 * workers)
    floor = SHORTEST_S / seconds
    assert sizer.next_size(total - 10) == pytest.approx(floor, abs=1)
    assert sizer.next_size(total) >= 1
    assert sizer.next_size(total + 50) >= 1  # a length that lied


def test_chunks_of_an_unknown_length_do_not_shrink():
    sizer = ChunkSizer("auto", 4, None)
    size = grown(sizer, TARGET_S / 100)
    assert sizer.next_size(10**9) == size


def test_an_empty_chunk_measures_nothing():
    sizer = ChunkSizer("auto", 4, None)
    sizer.observe(0, 1.0, 100)
    assert sizer.next_size(0) == 1


def test_measurements_are_smoothed():
    sizer = ChunkSizer("auto", 4, None)
    size = grown(sizer, TARGET_S / 100)
    sizer.observe(size, size * TARGET_S / 10, size)  # ten times as slow, once
    assert size / 10 < sizer.next_size(0) < size


@pytest.mark.parametrize("already_cut", [0, 95, 100])
def test_a_fixed_size_is_kept(already_cut):
    sizer = ChunkSizer(7, 4, 100)
    assert sizer.next_size(already_cut) == 7
    sizer.observe(7, 7 * COALESCED_S, 10**9)
    assert sizer.next_size(already_cut) == 7


def test_fixed_chunks_that_run_shorter_than_sending_takes_travel_together():
    sizer = ChunkSizer(5, 4, None)
    sizer.observe(5, COALESCED_S / 3.5, 1)
    assert sizer.next_size(0) == 15
    for _ in range(50):
        sizer.observe(15, 0.0, 1)
    assert sizer.next_size(0) == 5 * MAX_COALESCED


@pytest.mark.parametrize("chunk", ["auto", 1, 1000])
@pytest.mark.parametrize("encoded_bytes", [0, 1])
def test_a_clock_that_never_ticks_breaks_nothing(chunk, encoded_bytes):
    sizer = ChunkSizer(chunk, 4, 10**9)
    sizer.observe(1, 1e-6, 5)
    for _ in range(10_000):  # the mean falls to the smallest number that is not 0
        size = sizer.next_size(0)
        assert size >= 1
        sizer.observe(1, 0.0, encoded_bytes)


def test_where_a_chunk_was_ever_long_none_travels_together_with_others():
    sizer = ChunkSizer(2, 2, None)
    sizer.observe(2, 1e-6, 10)
    assert sizer.next_size(0) > 2
    sizer.observe(2, 0.01, 10)
    for _ in range(100):
        sizer.observe(2, 1e-6, 10)
    assert sizer.next_size(0) == 2
