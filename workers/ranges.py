"""Read a chunk's bytes in the worker: the records that begin inside a byte range, whole.

A record belongs to the range in which its first byte lies, so ranges can be cut anywhere without reading.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.chunks import Block, ByteRange

BOM = b"\xef\xbb\xbf"
TAIL_BYTES = 64 * 1024
"""First step when a record reaches past the range; doubled for as long as no line end is found."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Whole records as bytes, and where they stand in their file."""

    path: str
    data: bytes | memoryview
    start: int
    first_line: int | None
    last_of_file: bool


def read_range(chunk: ByteRange, *, text: bool) -> Raw:
    """Read the records of a byte range of a plain file; `text` drops a byte order mark.

    Raises:
        OSError: the file can't be read, or has changed since the run began.
    """
    path, start, end, file = chunk.origin.path, chunk.start, chunk.end, chunk.file
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if file is None else file.open(path)
    size = sys.maxsize if file is None else file.size_bytes
    try:
        if chunk.on_boundaries or start >= end:
            data, begin = read_at(fd, start, end - start), start
        else:
            data, begin = _read_lines(fd, start, end, size)
        if file is not None:
            file.check(path, fd)
    finally:
        os.close(fd)
    if text and begin == 0 and data[:3] == BOM:
        return Raw(path, memoryview(data)[3:], 3, 1, chunk.origin.last_of_file)
    return Raw(path, data, begin, 1 if begin == 0 else None, chunk.origin.last_of_file)


def read_block(block: Block, *, text: bool) -> Raw:
    """Take the bytes that came with a block; they may lie in shared memory and are not copied."""
    data = memoryview(block.data)
    start = block.start
    if text and start == 0 and data[:3] == BOM:
        data, start = data[3:], 3
    return Raw(block.origin.path, data, start, block.first_line, block.origin.last_of_file)


def _read_lines(fd: int, start: int, end: int, size: int) -> tuple[bytes, int]:
    """Return the lines whose first byte lies in [start, end), and the offset of the first; the file ends at `size`."""
    first = max(start - 1, 0)
    data = read_at(fd, first, end - first)
    skip = 0
    if start:
        # A line begins at `start` only if the byte before ends one; else it belongs to an earlier range.
        skip = data.find(b"\n") + 1
        if skip == 0 or first + skip >= end:
            return b"", end
    tail = b"" if data.endswith(b"\n") or len(data) < end - first else _read_to_line_end(fd, end, size)
    if skip or tail:
        data = b"".join((memoryview(data)[skip:], tail))
    return data, first + skip


def _read_to_line_end(fd: int, offset: int, end: int) -> bytes:
    """Read from `offset` up to and with the next line end, or the end of the file."""
    pieces, size = [], TAIL_BYTES
    while piece := os.pread(fd, min(size, end - offset), offset):
        line_end = piece.find(b"\n")
        if line_end >= 0:
            pieces.append(piece[: line_end + 1])
            break
        pieces.append(piece)
        offset += len(piece)
        size = min(size * 2, 2**24)
    return b"".join(pieces)


def read_at(fd: int, offset: int, size: int) -> bytes:
    """Read `size` bytes; fewer only where the file ends."""
    data = os.pread(fd, size, offset)
    while len(data) < size:
        more = os.pread(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
