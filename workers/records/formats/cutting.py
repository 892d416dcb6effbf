"""Cuts the bytes of a stream at record boundaries.

Pure: no file, no process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from workers.records.line_ends import LineEnds

if TYPE_CHECKING:
    from workers.records.blocks import Head


@dataclass(frozen=True, slots=True)
class TooLong:
    """A record that is longer than is allowed, and was not kept."""

    size_bytes: int
    line_ends: int


Cut = bytes | TooLong


class Cutter(Protocol):
    """Takes pieces of any length and gives back blocks of whole records."""

    head: Head | None
    """The header row, which is not part of any block, as soon as it is known."""
    text: bool
    """Whether the bytes are text: what isn't may look compressed by chance."""

    def feed(self, piece: bytes) -> list[Cut]:
        """Add a piece, and return the blocks that are whole now, and placeholders of records that are too long."""

    def finish(self) -> Cut:
        """Return what is left when the input has ended."""


class Pending:
    """The beginning of a record whose end has not come yet.

    Of one that is too long only the length is kept.
    """

    def __init__(self, max_record_bytes: int, line_ends: LineEnds) -> None:
        self._limit = max_record_bytes
        self._ends = line_ends
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
        self._line_ends += self._ends.number_in(piece, self._last)
        self._last = piece[-1:] or self._last


class LineCutter:
    """Cuts behind the last line end of each piece, whatever byte that is."""

    head: Head | None = None
    text = True

    def __init__(self, max_record_bytes: int, line_ends: LineEnds = LineEnds()) -> None:  # noqa: B008 - a constant
        self._end = line_ends.end
        self._pending = Pending(max_record_bytes, line_ends)

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

    head: Head | None = None
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
