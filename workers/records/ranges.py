"""Reads in the worker the whole records that begin inside a byte range.

A record belongs to the range in which its first byte lies, so ranges can be cut anywhere without reading.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers.records.remote import RemoteFile, is_url

if TYPE_CHECKING:
    from workers.records.blocks import Block, ByteRange
    from workers.records.identity import Identity
    from workers.records.remote import RemoteIdentity

Handle = int | RemoteFile
"""What an open file is read through: a descriptor, or a file behind a URL."""
BOM = b"\xef\xbb\xbf"
TAIL_BYTES = 64 * 1024
"""First step when a record reaches past the range; doubled for as long as no line end is found."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Whole records as bytes, and where they stand in their file."""

    path: str
    data: Any
    """Bytes; or a table, whose length is its rows."""
    start: int
    first_line: int | None
    last_of_file: bool
    max_record_bytes: int = 0
    """The most that a record may have; 0: there is no limit."""
    too_long: bool = False
    """One more record stands behind `data`, and was left out, as it is longer than that."""

    @property
    def size_bytes(self) -> int:
        """How much was read."""
        return getattr(self.data, "nbytes", len(self.data))


def opened(path: str, file: Identity | RemoteIdentity | None) -> Handle:
    """Open what a path or URL meant when the run began.

    Raises:
        OSError: it can't be opened.
    """
    if file is not None:
        return file.open(path)
    return RemoteFile(path, (), sys.maxsize) if is_url(path) else os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def pread(fd: Handle, size: int, offset: int) -> bytes:
    """Read at most `size` bytes."""
    return os.pread(fd, size, offset) if isinstance(fd, int) else fd.pread(size, offset)


def close(fd: Handle) -> None:
    """Close an open file."""
    if isinstance(fd, int):
        os.close(fd)


def read_range(chunk: ByteRange, *, text: bool, line_end: bytes = b"\n") -> Raw:
    """Read the records of a byte range of a plain file.

    `text` drops a byte order mark. `line_end` is the one byte that ends a record, where the range is cut anywhere.

    Raises:
        OSError: the file can't be read, or has changed since the run began.
    """
    path, start, end, file = chunk.origin.path, chunk.start, chunk.end, chunk.file
    most = chunk.max_record_bytes
    if chunk.too_long:
        return Raw(path, b"", start, None, chunk.origin.last_of_file, most, too_long=True)
    fd = opened(path, file)
    size = sys.maxsize if file is None else file.size_bytes
    try:
        if chunk.on_boundaries or start >= end:
            data, begin, whole = read_at(fd, start, end - start), start, True
        else:
            data, begin, whole = _read_lines(fd, start, end, size, most, line_end=line_end)
        if file is not None:
            file.check(path, fd)
    finally:
        close(fd)
    last = chunk.origin.last_of_file
    if text and begin == 0 and data[:3] == BOM:
        return Raw(path, memoryview(data)[3:], 3, 1, last, most, not whole)
    return Raw(path, data, begin, 1 if begin == 0 else None, last, most, not whole)


def read_block(block: Block, *, text: bool) -> Raw:
    """Take the bytes that came with a block, without copying them from shared memory."""
    data = memoryview(b"" if block.too_long else block.data)
    start = block.start
    if text and start == 0 and data[:3] == BOM:
        data, start = data[3:], 3
    last = block.origin.last_of_file
    return Raw(block.origin.path, data, start, block.first_line, last, block.max_record_bytes, block.too_long)


def _read_lines(
    fd: Handle, start: int, end: int, size: int, most: int, *, line_end: bytes
) -> tuple[bytes, int, bool]:
    """Return the lines whose first byte lies in [start, end), the offset of the first, and whether these are all.

    The file ends at `size`. A last line of more than `most` bytes is left out (0: there is no limit).
    """
    first = max(start - 1, 0)
    data = read_at(fd, first, end - first)
    skip = 0
    if start:
        # A line begins at `start` only if the byte before ends one; else it belongs to an earlier range.
        skip = data.find(line_end) + 1
        if skip == 0 or first + skip >= end:
            return b"", end, True
    tail: bytes | None = b""
    if not data.endswith(line_end) and len(data) == end - first:
        last = max(data.rfind(line_end) + 1, skip)
        tail = _read_to_line_end(fd, end, size, most - (len(data) - last) if most else size, line_end)
    if tail is None:
        return data[skip:last], first + skip, False
    if skip or tail:
        data = b"".join((memoryview(data)[skip:], tail))
    return data, first + skip, True


def _read_to_line_end(fd: Handle, offset: int, end: int, most: int, line_end: bytes) -> bytes | None:
    """Read from `offset` through the next line end, or to the end of the file.

    None: that is too far.
    """
    pieces, size, limit = [], TAIL_BYTES, offset + most
    while piece := pread(fd, min(size, end - offset), offset):
        if found := piece.find(line_end) + 1:
            pieces.append(piece[:found])
            offset += found
            break
        pieces.append(piece)
        offset += len(piece)
        if offset > limit:
            return None
        size = min(size * 2, 2**24)
    return b"".join(pieces) if offset <= limit else None


def read_at(fd: Handle, offset: int, size: int) -> bytes:
    """Read `size` bytes, or fewer where the file ends."""
    data = pread(fd, size, offset)
    while len(data) < size:
        more = pread(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
