"""Chunk sizes, whatever is measured."""

import copy

from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.engine.core.chunking import (
    COALESCED_S,
    LONG_S,
    MAX_CHUNK_BYTES,
    MAX_COALESCED,
    MAX_GROWTH,
    MAX_ITEMS,
    SHORTEST_S,
    TARGET_S,
    WORKERS_AT_TARGET,
    ChunkSizer,
)

seconds = st.floats(0, 1e3) | st.floats(0, 1e-5) | st.sampled_from([0.0, 5e-324, 1e-6])
sizes = st.integers(0, 1 << 30) | st.integers(0, 100)
measures = st.lists(st.tuples(st.integers(0, MAX_ITEMS), seconds, sizes), max_size=40)


@settings(max_examples=300, deadline=None)
@given(
    chunk=st.integers(1, 10**6) | st.just("auto"),
    workers=st.integers(1, 1000),
    total=st.none() | st.integers(0, 10**9),
    measured=measures,
    already_cut=st.integers(0, 2 * 10**9),
)
def test_a_size_is_a_whole_number_of_at_least_1(*, chunk, workers, total, measured, already_cut):
    sizer = ChunkSizer(chunk, workers, total)
    for items, run_s, size_bytes in measured:
        sizer.observe(items, run_s, size_bytes)
        size = sizer.next_size(already_cut)
        assert type(size) is int
        assert size >= 1
        if chunk == "auto":
            assert size <= MAX_ITEMS
        else:
            assert size % chunk == 0
            assert size <= chunk * MAX_COALESCED


@settings(max_examples=200, deadline=None)
@given(
    total=st.integers(0, 20_000),
    workers=st.integers(1, 32),
    known=st.booleans(),
    item_s=st.floats(1e-7, 0.1),
    item_bytes=st.integers(1, 100_000),
    delay=st.integers(0, 20),
)
def test_the_source_is_covered_and_its_tail_is_shared(*, total, workers, known, item_s, item_bytes, delay):
    """`delay`: how many chunks are out before the first comes back."""
    sizer = ChunkSizer("auto", workers, total if known else None)
    cut, out, largest = 0, [], 1
    while cut < total:
        size = sizer.next_size(cut)
        assert size <= largest * MAX_GROWTH
        if size > 1:
            assert size * item_s <= 1.0001 * TARGET_S * max(1, workers / WORKERS_AT_TARGET)
            assert size * item_bytes <= 1.0001 * MAX_CHUNK_BYTES
            if known:
                assert size <= max((total - cut) / (4 * workers), 1.0001 * SHORTEST_S / item_s)
        size = min(size, total - cut)
        cut += size
        out.append(size)
        if len(out) > delay:
            items = out.pop(0)
            largest = max(largest, items)
            sizer.observe(items, items * item_s, items * item_bytes)
    assert cut == total


@settings(max_examples=200, deadline=None)
@given(workers=st.integers(1, 64), item_s=st.floats(1e-6, 0.01), total=st.integers(1, 10**6), data=st.data())
def test_the_nearer_the_end_the_smaller_the_chunk(workers, item_s, total, data):
    sizer = ChunkSizer("auto", workers, total)
    for _ in range(10):
        size = sizer.next_size(0)
        sizer.observe(size, size * item_s, size)
    places = sorted(data.draw(st.lists(st.integers(0, total), min_size=2, max_size=10)))
    told = [sizer.next_size(place) for place in places]
    assert told == sorted(told, reverse=True)


@settings(max_examples=300, deadline=None)
@given(chunk=st.integers(1, 10_000), item_s=seconds, rounds=st.integers(1, 20), place=st.integers(0, 10**6))
def test_fixed_chunks_travel_together_only_when_they_are_short(chunk, item_s, rounds, place):
    sizer = ChunkSizer(chunk, 4, 10**6)
    assert sizer.next_size(place) == chunk
    for _ in range(rounds):
        sizer.observe(chunk, chunk * item_s, chunk)
    together = sizer.next_size(place) // chunk
    assert sizer.next_size(place) == together * chunk
    if together > 1:
        assert together * chunk * item_s <= 1.0001 * COALESCED_S
        assert together * chunk <= MAX_CHUNK_BYTES  # an item is a byte here
    share = (10**6 - place) // (4 * 4)  # of a worker: toward the end the rest is shared out evenly
    long = chunk * item_s >= LONG_S
    if together < MAX_COALESCED and (together + 1) * chunk <= min(MAX_CHUNK_BYTES, share) and not long:
        assert (together + 1) * chunk * item_s >= 0.9999 * COALESCED_S


OPERATIONS = st.one_of(
    st.tuples(st.just("observe"), st.integers(0, 100), st.floats(0, 1), st.integers(0, 10**7)),
    st.tuples(st.just("expect"), st.sampled_from([1e-7, 1e-4, 1.0])),
    st.tuples(st.just("pin")),
    st.tuples(st.just("keep_apart")),
    st.tuples(st.just("workers"), st.integers(1, 400)),
)


@example("auto", 10, [("expect", 1e-7)])
@given(st.sampled_from(["auto", 1, 7]), st.sampled_from([None, 10, 10**6]), st.lists(OPERATIONS, max_size=8))
def test_a_size_follows_all_that_changes_it(chunk, total, operations):
    """It is kept until something changes: the same as worked out anew."""
    sizer = ChunkSizer(chunk, 2, total)
    for name, *values in operations:
        sizer.next_size(0)
        if name == "workers":
            sizer.workers = values[0]
        else:
            getattr(sizer, name)(*values)
        anew = copy.copy(sizer)
        anew._most = 0
        assert sizer.next_size(0) == anew.next_size(0)
