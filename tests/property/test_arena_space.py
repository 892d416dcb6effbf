"""Random use of an arena: extents never overlap, freed space is used again, what is seen never changes.

The segments are made small, so that growth, limits and segments of a single payload all come up.
"""

import os
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from workers.transport import arena as module
from workers.transport.arena import PAGE, Arena, ArenaReader, create_fd

FIRST, LARGEST = 4 * PAGE, 32 * PAGE
LIMIT = 96 * PAGE
sizes = st.integers(1, 300) | st.integers(1, 3 * PAGE) | st.integers(6 * PAGE, 12 * PAGE)
pick = st.integers(0, 10**6)


class Space(RuleBasedStateMachine):
    """Sender and receiver, and what each must believe."""

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(module, "FIRST_SEGMENT_BYTES", FIRST)
        self.patch.setattr(module, "LARGEST_SHARED_SEGMENT_BYTES", LARGEST)
        self.fd = create_fd("test")
        self.arena = Arena(self.fd, LIMIT)
        self.extents = {}  # offset -> extent: not yet released
        self.waiting = []  # placed, with what was written; on the way to the receiver
        self.views = []  # what somebody looks at, and what must be there
        self.counter = 0

    @initialize(share=st.sampled_from([1, PAGE, 20 * PAGE]))
    def start(self, share):
        self.reader = ArenaReader(self.fd, share)

    @rule(size=sizes)
    def place(self, size):
        self.counter += 1
        data = (self.counter.to_bytes(4, "little") * (size // 4 + 1))[:size]
        before = self.arena.reserved_bytes
        extent = self.arena.place(memoryview(data))
        if extent is None:
            assert self.arena.reserved_bytes == before
            assert self.arena.failure is None
            assert before > 0  # an empty arena has room for anything here
            return
        assert extent.size == size
        assert extent.segment_offset <= extent.offset
        assert extent.offset + size <= extent.segment_offset + extent.segment_bytes
        for other in self.extents.values():
            assert extent.offset + size <= other.offset or other.offset + other.size <= extent.offset
        self.extents[extent.offset] = extent
        self.waiting.append((extent, data))

    @rule(which=pick)
    @precondition(lambda self: self.waiting)
    def look(self, which):
        extent, data = self.waiting.pop(which % len(self.waiting))
        self.views.append((self.reader.view(extent), data))

    @rule(which=pick)
    @precondition(lambda self: self.waiting)
    def load(self, which):
        extent, data = self.waiting.pop(which % len(self.waiting))
        assert self.reader.load(extent, bytes) == data

    @rule(which=pick)
    @precondition(lambda self: self.waiting)
    def discard(self, which):
        self.reader.discard(self.waiting.pop(which % len(self.waiting))[0])

    @rule(which=pick)
    @precondition(lambda self: self.views)
    def drop(self, which):
        del self.views[which % len(self.views)]

    @rule(which=pick, start=st.integers(0, 100))
    @precondition(lambda self: self.views)
    def look_at_a_part(self, which, start):
        place = which % len(self.views)
        view, data = self.views[place]
        self.views[place] = (view[start:], data[start:])

    @rule()
    def release(self):
        while self.reader.released:
            offset = self.reader.released.popleft()
            assert offset in self.extents
            del self.extents[offset]
            self.arena.release(offset)

    @invariant()
    def nothing_that_is_seen_changes(self):
        assert all(view == data for view, data in self.views)

    @invariant()
    def every_byte_is_used_or_free(self):
        for segment in self.arena._segments:
            taken = [(start, size) for s, start, size in self.arena._placed.values() if s is segment]
            assert segment.used == sum(size for _, size in taken)
            end = 0
            for start, size in sorted([*segment.gaps, *taken]):
                assert start == end
                end += size
            assert end == segment.bytes
            gaps = segment.gaps
            assert gaps == sorted(gaps)
            assert all(a[0] + a[1] < b[0] for a, b in pairwise(gaps))
        assert set(self.arena._placed) == set(self.extents)
        assert self.arena.reserved_bytes == sum(segment.bytes for segment in self.arena._segments)
        assert self.arena.reserved_bytes <= LIMIT

    def teardown(self):
        try:
            if hasattr(self, "reader"):
                self.end()
        finally:
            self.views.clear()
            self.arena.__dict__.clear()  # its mappings hold a descriptor each
            if hasattr(self, "reader"):
                self.reader.__dict__.clear()
            os.close(self.fd)
            self.patch.undo()

    def end(self):
        """With all of it given back, all of it is free, and is used again before more is reserved."""
        while self.waiting:
            self.discard(0)
        self.views.clear()
        self.release()
        assert not self.extents
        assert all(segment.gaps == [(0, segment.bytes)] for segment in self.arena._segments)
        assert not any(segment.own for segment in self.arena._segments)
        reserved = self.arena.reserved_bytes
        for segment in list(self.arena._segments):
            assert self.arena.place(memoryview(bytes(segment.bytes // 8))) is not None
        assert self.arena.reserved_bytes == reserved


TestSpace = Space.TestCase
TestSpace.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
