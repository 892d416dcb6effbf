"""Arenas: shared memory for large payloads, one for each direction of a lane.

An arena is an anonymous file in memory (`memfd_create`). It never has a name, so nothing can be left in /dev/shm,
whoever is killed and whenever; a size limit on /dev/shm does not touch it either. The process that sends owns the
`Arena` and allocates extents; the one that receives owns the `ArenaReader`, which hands out views and reports through
`released` when the last view of an extent is gone. No word is written by both sides.

Invariants: an extent is handed out again only after its release came back; a view keeps its mapping alive; space is
reserved (`posix_fallocate`) before it is written, so that a full memory is an error here and not a SIGBUS there.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import tempfile
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

ENTRY = struct.Struct("<QQQQ")
"""An extent in a frame: segment offset, segment bytes, extent offset, extent bytes (segment bytes 0: in the frame)."""

PAGE = mmap.PAGESIZE
FIRST_SEGMENT_BYTES = 4 << 20
LARGEST_SHARED_SEGMENT_BYTES = 64 << 20
_ALIGN = 64


class Extent(NamedTuple):
    """A range of bytes in an arena, and its segment.

    Offsets count from the arena's start.
    """

    segment_offset: int
    segment_bytes: int
    offset: int
    size: int


def create_fd(name: str) -> int:
    """Return a new anonymous memory file, closed on exec.

    Where the system refuses those (a seccomp filter), a temporary file without a name serves, in /dev/shm or else in
    the folder for temporary files; such a folder may be small.
    """
    try:
        return os.memfd_create(name)
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EPERM, errno.EACCES}:
            raise
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - no name is made there
    with tempfile.TemporaryFile(buffering=0, prefix=name, dir=folder) as file:
        return os.dup(file.fileno())


def _round_up(size: int, to: int) -> int:
    return -(-size // to) * to


class _Segment:
    """One mapping of the arena, with the gaps that are free in it, sorted by offset."""

    __slots__ = ("bytes", "gaps", "memory", "offset", "own", "used")

    def __init__(self, fd: int, offset: int, size: int, *, own: bool) -> None:
        self.memory = mmap.mmap(fd, size, offset=offset)
        self.offset, self.bytes, self.own = offset, size, own
        self.gaps: list[tuple[int, int]] = [(0, size)]
        self.used = 0

    def take(self, size: int) -> int | None:
        """Return the offset of the first gap that fits, lowest first, to reuse warm pages."""
        for i, (start, room) in enumerate(self.gaps):
            if room >= size:
                if room == size:
                    del self.gaps[i]
                else:
                    self.gaps[i] = (start + size, room - size)
                self.used += size
                return start
        return None

    def give_back(self, start: int, size: int) -> None:
        """Free a run, joining it with the gaps beside it."""
        self.used -= size
        merged: list[tuple[int, int]] = []
        for gap in sorted([*self.gaps, (start, size)]):
            if merged and merged[-1][0] + merged[-1][1] == gap[0]:
                merged[-1] = (merged[-1][0], merged[-1][1] + gap[1])
            else:
                merged.append(gap)
        self.gaps = merged


class Arena:
    """The sending side: reserves segments at first need and places payloads in them."""

    def __init__(self, fd: int, limit_bytes: int) -> None:
        self._fd = fd
        self._limit_bytes = limit_bytes
        self._segments: list[_Segment] = []
        self._end = 0  # where the next segment starts in the file; never goes back
        self._placed: dict[int, tuple[_Segment, int, int]] = {}  # extent offset -> where and how much
        self.reserved_bytes = 0
        self.placed_bytes_total = 0
        self.failure: OSError | None = None
        """Why memory could not be reserved, once that happened; nothing is reserved from then on."""

    def place(self, data: memoryview) -> Extent | None:
        """Copy `data` (flat, bytes) into the arena.

        Returns None if there is no room: it must travel by the pipe.
        """
        size = _round_up(data.nbytes, _ALIGN)
        for segment in self._segments:
            if not segment.own and (start := segment.take(size)) is not None:
                break
        else:
            segment_or_none = self._grow(size)
            if segment_or_none is None:
                return None
            segment = segment_or_none
            start = segment.take(size) or 0
        segment.memory[start : start + data.nbytes] = data
        offset = segment.offset + start
        self._placed[offset] = (segment, start, size)
        self.placed_bytes_total += data.nbytes
        return Extent(segment.offset, segment.bytes, offset, data.nbytes)

    def release(self, offset: int) -> None:
        """Take back the extent at `offset`, as its last view is gone."""
        segment, start, size = self._placed.pop(offset)
        segment.give_back(start, size)
        if segment.own:
            self._drop(segment)

    def _grow(self, size: int) -> _Segment | None:
        if self.failure is not None:
            return None
        own = size * 4 > LARGEST_SHARED_SEGMENT_BYTES
        if own:
            want = _round_up(size, PAGE)
        else:
            doubled = FIRST_SEGMENT_BYTES << min(len(self._segments), 4)
            want = _round_up(max(size * 4, doubled), PAGE)
        # One payload above the limit may still have a segment of its own while the arena holds nothing else.
        if self.reserved_bytes + want > self._limit_bytes and not (own and not self._placed):
            return None
        try:
            os.posix_fallocate(self._fd, self._end, want)
            segment = _Segment(self._fd, self._end, want, own=own)
        except OSError as error:
            self.failure = error
            return None
        self._end += want
        self.reserved_bytes += want
        self._segments.append(segment)
        return segment

    def _drop(self, segment: _Segment) -> None:
        """Return the pages of a segment to the system."""
        self._segments.remove(segment)
        self.reserved_bytes -= segment.bytes
        segment.memory.madvise(mmap.MADV_REMOVE)
        segment.memory.close()


class _LeaseRef(weakref.ref["ctypes.Array[Any]"]):
    __slots__ = ("offset", "size")
    offset: int
    size: int


class ArenaReader:
    """The receiving side: views of the sender's extents, each leased until its last view is gone.

    The view is exported by a `ctypes` array: it stays alive as long as any export does (numpy takes its own), so its
    weak reference fires exactly when the memory is free. A weak reference to a memoryview fires too early.
    """

    def __init__(self, fd: int, share_bytes: int) -> None:
        self._fd = fd
        self._share_bytes = share_bytes
        self._mappings: dict[int, mmap.mmap] = {}
        self._leases: dict[int, _LeaseRef] = {}
        self._leased_bytes = 0
        self.released: deque[int] = deque()
        """Offsets to report to the sender; filled wherever the last view dies, drained by the lane's owner."""
        self._ended: deque[int] = deque()  # bytes of leases that ended, not yet taken off _leased_bytes

    def view(self, extent: Extent) -> memoryview:
        """Return the extent's bytes, leased, or copied once views hold all that they may."""
        while self._ended:
            self._leased_bytes -= self._ended.popleft()
        lease = self._lease(extent)
        if self._leased_bytes and self._leased_bytes + extent.size > self._share_bytes:
            copied = memoryview(bytearray(memoryview(lease).cast("B")))
            del lease
            self.released.append(extent.offset)
            return copied
        ref = _LeaseRef(lease, self._end_lease())
        ref.offset, ref.size = extent.offset, extent.size
        self._leases[extent.offset] = ref
        self._leased_bytes += extent.size
        return memoryview(lease).cast("B")

    def discard(self, extent: Extent) -> None:
        """Report an extent that nobody will look at."""
        self.released.append(extent.offset)

    def load(self, extent: Extent, use: Callable[[memoryview], Any]) -> Any:
        """Return `use(bytes of the extent)`, which must not keep them.

        The extent is free afterwards.
        """
        lease = self._lease(extent)
        try:
            with memoryview(lease) as whole, whole.cast("B") as data:
                return use(data)
        finally:
            self.released.append(extent.offset)

    def _lease(self, extent: Extent) -> ctypes.Array[Any]:
        own = extent.size * 4 > LARGEST_SHARED_SEGMENT_BYTES
        memory = self._mappings.get(extent.segment_offset)
        if memory is None:
            memory = mmap.mmap(self._fd, extent.segment_bytes, offset=extent.segment_offset)
            if not own:  # a segment of one payload is not used again
                self._mappings[extent.segment_offset] = memory
        return (ctypes.c_char * extent.size).from_buffer(memory, extent.offset - extent.segment_offset)

    def _end_lease(self) -> Callable[[weakref.ref[ctypes.Array[Any]]], None]:
        # Runs wherever the last view is dropped: in any thread, within a garbage collection. It takes no lock.
        leases, ended, released = self._leases, self._ended, self.released

        def end(ref: weakref.ref[ctypes.Array[Any]]) -> None:
            lease = ref
            assert isinstance(lease, _LeaseRef)  # noqa: S101 - for the type checker
            if leases.get(lease.offset) is lease:
                del leases[lease.offset]
            ended.append(lease.size)
            released.append(lease.offset)

        return end
