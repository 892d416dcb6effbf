"""Frames: the messages on a lane's two pipes.

A frame is a 24-byte header and `length` bytes behind it:

    kind u8 · flags u8 · buffers u16 · number u32 · ident u64 · length u64

`ident` names a chunk (unique in its pool); `number` is the call that the chunk belongs to or, in a result, how many
microseconds it ran. Behind the header of a frame that carries an object stand `buffers` table entries (see
`workers.transport.payload`), the pickle, and the buffers that found no room in shared memory.
"""

from __future__ import annotations

import struct
from typing import Final

HEADER = struct.Struct("<BBHIQQ")
HEADER_BYTES = HEADER.size
READ_BYTES = 1 << 18
FEW_BYTES = 1 << 16
"""The allocator keeps a buffer of this size; a larger one is mapped and unmapped for each read."""
MAX_NUMBER = 0xFFFF_FFFF

Frame = tuple[int, int, int, int, int, bytes]
"""(kind, flags, buffers, number, ident, body)"""


class Kind:
    """The kinds of frames, to the worker first, then from it.

    Plain numbers, as an enum would cost more than a frame.
    """

    FUNCTION: Final = 1  # number: call; a pickled `CallSpec`; comes before the first chunk of that call
    CHUNK: Final = 2  # number: call, ident: chunk; a list of items
    FORGET: Final = 3  # number: call; its function is not needed any more
    DEFINE: Final = 4  # the answer to NEED: a list of `Definition`
    REBIND: Final = 5  # names of `__main__` that were rebound: a list of `Definition`
    FILE: Final = 8  # the answer to SPILL: (path, why there is none)
    STOP: Final = 6  # finish what came before, say goodbye, leave
    UNSHARE: Final = 7  # the token of a shared object that was dropped
    READY: Final = 16  # the initializer is through
    RESULT: Final = 17  # number: microseconds, ident: chunk; a list of results, or with FAILED (results, failures)
    REFUSED: Final = 18  # ident: chunk; it could not be read here: an ExceptionRecord
    NEED: Final = 19  # what do names of `__main__` mean? A pickled `Wanted`
    OUTPUT: Final = 20  # what user code printed: (stream, text)
    BROKEN: Final = 21  # the initializer raised: an ExceptionRecord
    GOODBYE: Final = 22  # (CPU seconds, peak RSS in bytes, what the finalizer gave)
    RETURNED: Final = 23  # ident: chunk; it was taken back, and was skipped
    SPILL: Final = 25  # a file is needed for results that are too many for memory
    SPLIT: Final = 26  # number: items of the chunk that have begun, ident: chunk; the others are given back
    RELEASE: Final = 32  # both ways: offsets of extents whose leases ended, u64 each


class Flag:
    """The flags of a frame."""

    BODY_IN_ARENA: Final = 1  # the first table entry is the pickle itself
    FAILED: Final = 2  # a result of which some items failed
    ABANDONED: Final = 4  # a result that nobody waits for; its items were not all run
    SPILLED: Final = 16  # a result, by item, of which some are an `Extent` of the file that was made last
    FORKED: Final = 32  # a result of a function that a forked child has returned from, too
    WATCHED: Final = 8  # a chunk: the coordinator has to know, should the worker die, where in it that was


def pack(kind: int, body: bytes = b"", number: int = 0, ident: int = 0, flags: int = 0) -> bytes:
    """Return a small frame, ready to be written."""
    return HEADER.pack(kind, flags, 0, number, ident, len(body)) + body


class FrameReader:
    """Cuts what arrives on a pipe into frames.

    Owns the bytes of the frame that is not whole yet.
    """

    __slots__ = ("_needed", "_rest", "read_bytes")

    def __init__(self) -> None:
        self._rest = bytearray()
        self.read_bytes = FEW_BYTES
        """How much to read next: more than a few small frames only where more is on its way."""
        self._needed = HEADER_BYTES  # fewer bytes than this can't complete the frame at the head of _rest

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes, in order."""
        self.read_bytes = READ_BYTES if len(data) >= FEW_BYTES else FEW_BYTES
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return []
            data = bytes(self._rest)
            self._rest = bytearray()
        frames: list[Frame] = []
        add, unpack, head = frames.append, HEADER.unpack_from, HEADER_BYTES
        start, end, needed = 0, len(data), HEADER_BYTES
        while end - start >= head:
            kind, flags, buffers, number, ident, length = unpack(data, start)
            stop = start + head + length
            if stop > end:
                needed = head + length
                break
            add((kind, flags, buffers, number, ident, data[start + head : stop]))
            start = stop
        if start < end:
            self._rest = bytearray(data[start:] if start else data)
            self._needed = needed
        return frames
