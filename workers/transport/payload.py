"""Objects to frames and back: pickle protocol 5, large buffers out of band through the arena.

    header | table: one entry for each large buffer | pickle | buffers that found no room in the arena

A pickle that is itself large goes into the arena as the first entry (Flag.BODY_IN_ARENA).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

from workers.errors.signal_handlers import is_of_a_handler
from workers.transport.arena import ENTRY, Arena, ArenaReader, Extent
from workers.transport.wire import HEADER, Flag

THRESHOLD_BYTES = 64 << 10
"""From this size on a payload goes through shared memory: below it, the pipe is as quick."""

MAX_BUFFERS = 60_000
"""As many as a header can count; further ones go inside the pickle."""


class Encoded(NamedTuple):
    """An object, pickled, not yet placed anywhere."""

    pickle: bytes
    buffers: tuple[pickle.PickleBuffer, ...]
    """Only the large ones; small ones are inside the pickle."""
    size: int
    """Bytes in all."""

    def kept(self) -> Encoded:
        """Return a copy with large buffers of its own, as those it views may be changed before they are sent."""
        return self._replace(buffers=tuple(pickle.PickleBuffer(bytes(buffer.raw())) for buffer in self.buffers))


def by_value(obj: Any, keep: Callable[[pickle.PickleBuffer], bool]) -> bytes:
    """Pickle what plain pickle can't: lambdas, closures, local classes."""
    import cloudpickle  # noqa: PLC0415 - slow to import, and rarely needed

    data: bytes = cloudpickle.dumps(obj, pickle.HIGHEST_PROTOCOL, buffer_callback=keep)
    return data


Dumps = Callable[[Any, Callable[[pickle.PickleBuffer], bool]], bytes]


def encode(
    obj: Any, by_value: Dumps = by_value, threshold_bytes: int = THRESHOLD_BYTES, *, plain: Dumps | None = None
) -> Encoded:
    """Pickle `obj`: with `plain` (pickle) if possible, with `by_value` (cloudpickle) otherwise.

    Raises:
        Exception: whatever says best why it can't be pickled.
    """
    large: list[pickle.PickleBuffer] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        try:
            if buffer.raw().nbytes < threshold_bytes or len(large) == MAX_BUFFERS:
                return True
        except BufferError:  # not contiguous
            return True
        large.append(buffer)
        return False

    try:
        data = plain(obj, keep_in_band) if plain else pickle.dumps(obj, 5, buffer_callback=keep_in_band)
    except Exception as error:
        if is_of_a_handler(error):
            raise
        large.clear()
        data = by_value(obj, keep_in_band)
    if not large:
        return Encoded(data, (), len(data))
    return Encoded(data, tuple(large), len(data) + sum(b.raw().nbytes for b in large))


def frame(  # noqa: PLR0917 - a header's fields, in its order
    kind: int, encoded: Encoded, arena: Arena, number: int, ident: int, flags: int = 0
) -> list[Any]:
    """Return the bytes-like parts of the frame that carries `encoded`, its large parts placed in `arena`."""
    body, buffers = encoded.pickle, encoded.buffers
    if not buffers and len(body) < THRESHOLD_BYTES:
        return [HEADER.pack(kind, flags, 0, number, ident, len(body)), body]
    table, inline = bytearray(), []
    placed = arena.place(memoryview(body)) if len(body) >= THRESHOLD_BYTES else None
    if placed is not None:
        table += ENTRY.pack(*placed)
        flags |= Flag.BODY_IN_ARENA
        body = b""
    for buffer in buffers:
        data = buffer.raw()
        extent = arena.place(data)
        if extent is None:
            inline.append(data)
            extent = Extent(0, 0, 0, data.nbytes)
        table += ENTRY.pack(*extent)
    length = len(table) + len(body) + sum(data.nbytes for data in inline)
    head = HEADER.pack(kind, flags, len(table) // ENTRY.size, number, ident, length)
    return [head, table, body, *inline]


def _table(body: bytes, buffers: int) -> list[Extent]:
    return [Extent(*ENTRY.unpack_from(body, i * ENTRY.size)) for i in range(buffers)]


def decode(flags: int, buffers: int, body: bytes, reader: ArenaReader) -> Any:
    """Return the object of a frame.

    Its large buffers are views of shared memory where they came so.
    """
    if not buffers:
        return pickle.loads(body)
    extents = _table(body, buffers)
    at_end = len(body) - sum(e.size for e in extents if not e.segment_bytes)
    data = memoryview(body)[buffers * ENTRY.size : at_end]
    parent = extents.pop(0) if flags & Flag.BODY_IN_ARENA else None
    views: list[Any] = []
    for extent in extents:
        if extent.segment_bytes:
            views.append(reader.view(extent))
        else:
            views.append(bytearray(body[at_end : at_end + extent.size]))
            at_end += extent.size
    if parent is None:
        return pickle.loads(data, buffers=views)
    return reader.load(parent, lambda whole: pickle.loads(whole, buffers=views))


def taken(flags: int, buffers: int, body: bytes, reader: ArenaReader) -> tuple[bytes, list[bytes]]:
    """Return the pickle of a frame and copies of its large buffers, for another machine.

    Nothing is unpickled.
    """
    if not buffers:
        return body, []
    extents = _table(body, buffers)
    at_end = len(body) - sum(e.size for e in extents if not e.segment_bytes)
    data = body[buffers * ENTRY.size : at_end]
    if flags & Flag.BODY_IN_ARENA:
        data = reader.load(extents.pop(0), bytes)
    copies: list[bytes] = []
    for extent in extents:
        if extent.segment_bytes:
            copies.append(reader.load(extent, bytes))
        else:
            copies.append(body[at_end : at_end + extent.size])
            at_end += extent.size
    return data, copies


def discard(buffers: int, body: bytes, reader: ArenaReader) -> None:
    """Free the shared memory of a frame that nobody will decode."""
    for extent in _table(body, buffers):
        if extent.segment_bytes:
            reader.discard(extent)


def size_of(buffers: int, body: bytes) -> int:
    """Return the bytes that a frame's object takes, in the frame and in shared memory."""
    return len(body) + sum(e.size for e in _table(body, buffers) if e.segment_bytes)
