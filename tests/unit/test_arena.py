"""Shared memory is handed out once, given back once, and never under anybody's eyes."""

import errno
import gc
import os
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest

from workers.transport import arena as module
from workers.transport.arena import (
    FIRST_SEGMENT_BYTES,
    LARGEST_SHARED_SEGMENT_BYTES,
    PAGE,
    Arena,
    ArenaReader,
    create_fd,
)

KIB, MIB = 1 << 10, 1 << 20
LARGE = LARGEST_SHARED_SEGMENT_BYTES // 4 + 1  # gets a segment of its own


@pytest.fixture
def fd():
    fd = create_fd("test")
    yield fd
    os.close(fd)


@pytest.fixture
def arena(fd):
    arena = Arena(fd, 64 * MIB)
    yield arena
    arena.__dict__.clear()  # its mappings hold a descriptor each


@pytest.fixture
def reader(fd):
    reader = ArenaReader(fd, 64 * MIB)
    yield reader
    reader.__dict__.clear()


def place(arena, size, fill=b"x"):
    return arena.place(memoryview(fill * size))


def settle(arena, reader):
    """What the lane does: report the leases that ended."""
    while reader.released:
        arena.release(reader.released.popleft())


def test_what_is_placed_is_seen(arena, reader):
    data = os.urandom(100_000)
    extent = arena.place(memoryview(data))
    assert extent.size == 100_000
    assert reader.view(extent) == data
    assert arena.placed_bytes_total == 100_000


def test_an_arena_takes_no_memory_before_it_is_needed(arena, fd):
    assert arena.reserved_bytes == os.fstat(fd).st_size == 0
    place(arena, 1)
    assert arena.reserved_bytes == os.fstat(fd).st_size == FIRST_SEGMENT_BYTES


def test_extents_are_aligned_and_do_not_overlap(arena):
    extents = [place(arena, size) for size in (1, 64, 65, 100_000, 7)]
    assert all(e.offset % 64 == 0 for e in extents)
    extents.sort(key=lambda e: e.offset)
    assert all(a.offset + a.size <= b.offset for a, b in pairwise(extents))


def test_space_is_used_again_after_its_release_and_not_before(arena, reader):
    first = place(arena, 100_000)
    view = reader.view(first)
    assert place(arena, 100_000).offset != first.offset
    settle(arena, reader)
    assert place(arena, 100_000).offset != first.offset
    del view
    settle(arena, reader)
    assert place(arena, 100_000).offset == first.offset


def test_neighbours_that_are_free_become_one(arena):
    size = FIRST_SEGMENT_BYTES // 4
    extents = [place(arena, size) for _ in range(4)]
    for i in (2, 0, 1, 3):
        arena.release(extents[i].offset)
    assert place(arena, FIRST_SEGMENT_BYTES).offset == 0
    assert arena.reserved_bytes == FIRST_SEGMENT_BYTES


def test_a_release_is_taken_only_once(arena):
    extent = place(arena, 1000)
    arena.release(extent.offset)
    with pytest.raises(KeyError):
        arena.release(extent.offset)


def test_segments_grow(fd):
    arena = Arena(fd, 10**9)
    sizes = []
    while len(sizes) < 4:
        place(arena, MIB)
        if not sizes or arena.reserved_bytes != sum(sizes):
            sizes.append(arena.reserved_bytes - sum(sizes))
    assert sizes == [FIRST_SEGMENT_BYTES << i for i in range(4)]


def test_a_view_outlives_its_extents_segment_and_the_arena(fd):
    arena, reader = Arena(fd, 64 * MIB), ArenaReader(fd, 64 * MIB)
    view = reader.view(place(arena, 1000, b"a"))
    del arena, reader
    assert view == b"a" * 1000


@pytest.mark.parametrize("derive", [lambda v: v[5:10], np.asarray, memoryview, lambda v: np.asarray(v)[3:].view("u1")])
def test_whatever_is_made_of_a_view_keeps_the_lease(arena, reader, derive):
    view = reader.view(place(arena, 1000))
    kept = derive(view)
    del view
    gc.collect()
    assert not reader.released
    assert bytes(kept).strip(b"x") == b""
    del kept
    assert list(reader.released) == [0]


def test_views_can_be_written_without_touching_others(arena, reader):
    a, b = (reader.view(place(arena, 128, fill)) for fill in (b"a", b"b"))
    a[:] = b"c" * 128
    assert b == b"b" * 128


def test_a_lease_that_ends_in_another_thread_is_reported(arena, reader):
    held = [reader.view(place(arena, 1000))]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert list(reader.released) == [0]


def test_views_beyond_their_share_are_copies_and_free_their_space_at_once(arena, fd):
    reader = ArenaReader(fd, 250_000)
    kept = [reader.view(place(arena, 100_000, bytes([i]))) for i in range(5)]
    assert len(reader.released) == 3
    settle(arena, reader)
    place(arena, 100_000, b"z")
    assert [view == bytes([i]) * 100_000 for i, view in enumerate(kept)] == [True] * 5
    del kept[:2]
    assert len(reader.released) == 2
    settle(arena, reader)
    again = reader.view(place(arena, 100_000))
    assert not reader.released  # a lease again: the share is free
    del again


def test_one_view_larger_than_the_share_is_leased(arena, fd):
    reader = ArenaReader(fd, 1000)
    view = reader.view(place(arena, 5000))
    assert not reader.released
    assert len(view) == 5000


def test_load_frees_even_where_it_fails(arena, reader):
    assert reader.load(place(arena, 10, b"q"), bytes) == b"q" * 10
    with pytest.raises(ZeroDivisionError):
        reader.load(place(arena, 10), lambda _: 1 / 0)
    assert len(reader.released) == 2
    settle(arena, reader)
    assert not arena._placed


def test_what_nobody_looks_at_is_given_back(arena, reader):
    extent = place(arena, 1000)
    reader.discard(extent)
    settle(arena, reader)
    assert place(arena, 1000) == extent


def test_a_large_payload_gives_its_memory_back_to_the_system(arena, reader, fd):
    place(arena, 1)
    view = reader.view(place(arena, LARGE))
    reserved = arena.reserved_bytes
    assert reserved > FIRST_SEGMENT_BYTES + LARGE
    blocks = os.fstat(fd).st_blocks
    del view
    settle(arena, reader)
    assert arena.reserved_bytes == FIRST_SEGMENT_BYTES
    assert (blocks - os.fstat(fd).st_blocks) * 512 >= LARGE
    assert len(reader._mappings) == 0


def test_small_payloads_never_enter_the_segment_of_a_large_one(arena):
    large = place(arena, LARGE)
    assert place(arena, 64).segment_offset != large.segment_offset


@pytest.mark.parametrize("size", [LARGE - 65, LARGE - 64, LARGE - 2, LARGE - 1, LARGE, LARGE + 1])
def test_both_sides_agree_on_what_is_large(fd, size):
    arena, reader = Arena(fd, 10**9), ArenaReader(fd, 10**9)
    extent = place(arena, size)
    reader.view(extent)
    assert (extent.segment_offset in reader._mappings) is not arena._segments[0].own


def test_beyond_the_limit_there_is_no_room_until_space_is_free(fd):
    arena = Arena(fd, FIRST_SEGMENT_BYTES)
    first = place(arena, FIRST_SEGMENT_BYTES // 4)
    rest = [place(arena, FIRST_SEGMENT_BYTES // 4) for _ in range(3)]
    assert all(rest)
    assert place(arena, 64) is None
    assert arena.reserved_bytes == FIRST_SEGMENT_BYTES
    assert arena.failure is None
    arena.release(first.offset)
    assert place(arena, 64).offset == first.offset


def test_one_payload_beyond_the_limit_is_taken_while_there_is_no_other(fd):
    arena = Arena(fd, MIB)
    alone = place(arena, LARGE)
    assert alone is not None
    assert place(arena, LARGE) is None
    arena.release(alone.offset)
    assert arena.reserved_bytes == 0
    assert place(arena, LARGE) is not None


def test_memory_that_can_not_be_reserved_is_no_error_here_and_is_not_asked_for_again(arena, monkeypatch):
    asked = []

    def full(*_):
        asked.append(1)
        raise OSError(errno.ENOSPC, "full")

    extent = place(arena, 1000)
    monkeypatch.setattr(module.os, "posix_fallocate", full)
    assert place(arena, FIRST_SEGMENT_BYTES) is None
    assert arena.failure.errno == errno.ENOSPC
    assert place(arena, FIRST_SEGMENT_BYTES) is None
    assert len(asked) == 1
    assert place(arena, 1000) is not None  # what was reserved before still serves
    arena.release(extent.offset)


def test_a_file_never_has_a_name_and_is_closed_on_exec(fd):
    assert os.fstat(fd).st_nlink == 0
    assert not os.get_inheritable(fd)


def test_nothing_of_a_lease_is_left_once_it_ended(arena, reader):
    for _ in range(100):
        view = reader.view(place(arena, 10 * KIB))
        del view
        settle(arena, reader)
    assert (reader._leases, len(arena._placed)) == ({}, 0)
    assert [s.gaps for s in arena._segments] == [[(0, FIRST_SEGMENT_BYTES)]]
    assert FIRST_SEGMENT_BYTES % PAGE == 0
    assert sys.getrefcount(reader._mappings[0]) < 10
