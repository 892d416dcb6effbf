"""Cuts bytes at record boundaries.

Pure: no file, no process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from orchestrator.sources.csv_rows import RowEnds
from workers.records.formats import read_header
from workers.records.line_ends import FORMATS, count_line_ends

if TYPE_CHECKING:
    from workers.records.formats import Header

_HEADER_BYTES = 64 * 1024
"""A header is looked for here first, before in all that there is."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """A record that is longer than is allowed, and was not kept."""

    size_bytes: int
    line_ends: int


Cut = bytes | TooLong


class Cutter(Protocol):
    """Takes pieces of any length and gives back blocks of whole records."""

    header: Header | None
    """The header row, which is not part of any block, as soon as it is known."""
    text: bool
    """Whether the bytes are text: what isn't may look compressed by chance."""

    def feed(self, piece: bytes) -> list[Cut]:
        """Add a piece, and return the blocks that are whole now, and placeholders of records that are too long."""

    def finish(self) -> Cut:
        """Return what is left when the input has ended."""


def cutter(record_format: str, block_bytes: int, max_record_bytes: int = 0) -> Cutter:
    """Return the cutter for a record format.

    A record longer than `max_record_bytes` is not kept (0: no limit).
    """
    if record_format == "blocks":
        return SizeCutter(block_bytes)
    return CsvCutter(max_record_bytes) if record_format == "csv" else LineCutter(max_record_bytes, record_format)


class Pending:
    """The beginning of a record whose end has not come yet.

    Of one that is too long only the length is kept.
    """

    def __init__(self, max_record_bytes: int, record_format: str) -> None:
        self._limit = max_record_bytes
        self._format = record_format
        self._pieces: list[bytes] = []
        self._size = 0
        self._line_ends = 0
        self._last = b""
        """The last byte of what was counted: a carriage return there and a line feed behind it are one line end."""
        self.too_long = False

    def __bool__(self) -> bool:
        """Whether a record has begun."""
        return self._size > 0

    def add(self, piece: bytes) -> None:
        """Add bytes in which the record doesn't end."""
        if not piece:
            return
        self._size += len(piece)
        if not self.too_long:
            self._pieces.append(piece)
        if self._limit and self._size > self._limit:
            self.too_long = True
            for kept in self._pieces or [piece]:
                self._count(kept)
            self._pieces = []

    def take(self, rest: bytes | memoryview) -> Cut:
        """Return the record that `rest` ends, with the records behind it, and start again.

        Those behind are left out if it is too long.
        """
        if self.too_long:
            self._count(bytes(rest))
            found: Cut = TooLong(self._size + len(rest), self._line_ends)
        else:
            found = b"".join((*self._pieces, rest))
        self._pieces, self._size, self._line_ends, self._last, self.too_long = [], 0, 0, b"", False
        return found

    def _count(self, piece: bytes) -> None:
        self._line_ends += count_line_ends(piece, self._format, self._last)
        self._last = piece[-1:] or self._last


class LineCutter:
    """Cuts behind the last line end of each piece, whatever byte that is."""

    header: Header | None = None
    text = True

    def __init__(self, max_record_bytes: int, record_format: str = "lines") -> None:
        self._end = FORMATS[record_format].end
        self._pending = Pending(max_record_bytes, record_format)

    def feed(self, piece: bytes) -> list[Cut]:
        """Add a piece, and return the lines that are whole now, as one block."""
        found: list[Cut] = []
        if self._pending.too_long and (end := piece.find(self._end) + 1):
            found.append(self._pending.take(piece[:end]))
            piece = piece[end:]
        cut = piece.rfind(self._end) + 1
        if cut:
            found.append(self._pending.take(memoryview(piece)[:cut]))
        self._pending.add(piece[cut:])
        return found

    def finish(self) -> Cut:
        """Return the last line, if it has no line end."""
        return self._pending.take(b"")


class SizeCutter:
    """Cuts blocks of exactly one size, except the last."""

    header: Header | None = None
    text = False

    def __init__(self, block_bytes: int) -> None:
        self._size = block_bytes
        self._pending = bytearray()

    def feed(self, piece: bytes) -> list[Cut]:
        """Add a piece, and return the full blocks."""
        self._pending += piece
        whole = len(self._pending) // self._size * self._size
        blocks: list[Cut] = [bytes(self._pending[at : at + self._size]) for at in range(0, whole, self._size)]
        del self._pending[:whole]
        return blocks

    def finish(self) -> bytes:
        """Return the rest."""
        return bytes(self._pending)


class CsvCutter:
    """Takes the header row off and cuts behind rows."""

    text = True

    def __init__(self, max_record_bytes: int) -> None:
        self.header: Header | None = None
        self._head: list[bytes] = []
        self._pending = Pending(max_record_bytes, "csv")
        self._rows = RowEnds()
        self._wanted = 1
        """Bytes with which it is worth looking for the end of the header again: it may have a long quoted field."""

    def feed(self, piece: bytes) -> list[Cut]:
        """Add a piece, and return the rows that are whole now, as one block."""
        if self.header is None:
            self._head.append(piece)
            piece = self._behind_header(ended=False)
            if self.header is None:
                return []
        found: list[Cut] = []
        if self._rows.ended_before(piece) and self._pending:
            found.append(self._pending.take(b""))
        if self._pending.too_long and (end := self._rows.copy().first_in(piece)):
            self._rows.last_in(piece[:end])
            found.append(self._pending.take(piece[:end]))
            piece = piece[end:]
        cut = self._rows.last_in(piece)
        if cut:
            found.append(self._pending.take(memoryview(piece)[:cut]))
        self._pending.add(piece[cut:])
        return found

    def finish(self) -> Cut:
        """Return what is left when the input has ended."""
        if self.header:
            return self._pending.take(b"")
        return self._behind_header(ended=True)

    def _behind_header(self, *, ended: bool) -> bytes:
        """Look for the header in what is pending, and return what stands behind it."""
        if not ended and sum(map(len, self._head)) < self._wanted:
            return b""
        data = b"".join(self._head)
        self.header = read_header(data[:_HEADER_BYTES], ended=False) or read_header(data, ended=ended)
        self._head, self._wanted = ([], 0) if self.header else ([data], 2 * len(data))
        return data[self.header.size_bytes :] if self.header else b""
