"""Cut bytes at record boundaries. Pure: no file, no process.

CSV: a line end is a row's end if the number of quotation marks before it is even, as quoting comes in pairs
    and a doubled quotation mark is two (RFC 4180). Counting is a memory scan, so a cut costs next to nothing;
    the worker checks that its block doesn't end inside quotes, which is how a stray mark in an unquoted field
    is found out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from workers.formats import parse_header
from workers.ranges import BOM

if TYPE_CHECKING:
    from mmap import mmap


class Cutter(Protocol):
    """Takes pieces of any length and gives back blocks of whole records."""

    fieldnames: tuple[str, ...] | None
    header: bytes
    """The bytes of the header row, which are no part of any block."""

    def feed(self, piece: bytes) -> list[bytes]:
        """Add a piece; return the blocks that are whole now."""

    def finish(self) -> bytes:
        """Return what is left when the input has ended."""


def cutter(record_format: str, block_bytes: int) -> Cutter:
    """Return the cutter for a record format."""
    if record_format == "blocks":
        return SizeCutter(block_bytes)
    return CsvCutter() if record_format == "csv" else LineCutter()


class LineCutter:
    """Cuts behind the last line end of each piece."""

    fieldnames: tuple[str, ...] | None = None
    header = b""

    def __init__(self) -> None:
        self._pending: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """Add a piece; return the lines that are whole now, as one block."""
        cut = piece.rfind(b"\n") + 1
        if not cut:
            self._pending.append(piece)
            return []
        block = b"".join((*self._pending, memoryview(piece)[:cut]))
        self._pending = [piece[cut:]] if cut < len(piece) else []
        return [block]

    def finish(self) -> bytes:
        """Return the last line, if it has no line end."""
        return b"".join(self._pending)


class SizeCutter:
    """Cuts blocks of exactly one size, whatever is in them; the last may be shorter."""

    fieldnames: tuple[str, ...] | None = None
    header = b""

    def __init__(self, block_bytes: int) -> None:
        self._size = block_bytes
        self._pending = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """Add a piece; return the full blocks."""
        self._pending += piece
        whole = len(self._pending) // self._size * self._size
        blocks = [bytes(self._pending[at : at + self._size]) for at in range(0, whole, self._size)]
        del self._pending[:whole]
        return blocks

    def finish(self) -> bytes:
        """Return the rest."""
        return bytes(self._pending)


class CsvCutter:
    """Takes the header row off and cuts behind line ends that are not inside quotes."""

    def __init__(self) -> None:
        self.fieldnames: tuple[str, ...] | None = None
        self.header = b""
        self._pending: list[bytes] = []
        self._quotes = 0
        """Quotation marks in what is pending."""

    def feed(self, piece: bytes) -> list[bytes]:
        """Add a piece; return the rows that are whole now, as one block."""
        if self.fieldnames is None:
            data = b"".join((*self._pending, piece))
            end = csv_boundary(data, 0)
            if end < 0:
                self._pending = [data]
                return []
            self._take_header(data[:end])
            piece, self._pending = data[end:], []
        cut = last_csv_boundary(piece, self._quotes)
        if not cut:
            self._pending.append(piece)
            self._quotes += piece.count(b'"')
            return []
        block = b"".join((*self._pending, memoryview(piece)[:cut]))
        rest = piece[cut:]
        self._pending, self._quotes = [rest], rest.count(b'"')
        return [block]

    def finish(self) -> bytes:
        """Return the last row, if it has no line end."""
        rest = b"".join(self._pending)
        if self.fieldnames is None:
            self._take_header(rest)
            return b""
        return rest

    def _take_header(self, header: bytes) -> None:
        self.header = header
        self.fieldnames = fields_of(header)


def fields_of(header: bytes) -> tuple[str, ...]:
    """Return the columns that a header row names, without a byte order mark before it."""
    return parse_header(header.removeprefix(BOM).decode("utf-8", "replace"))


def csv_boundary(data: bytes | mmap, start: int, target: int | None = None) -> int:
    """Return the first row boundary at or behind `target`, counting quotes from `start`; -1: none.

    Args:
        data: the bytes, or a mapped file.
        start: a row boundary.
        target: where to begin to look; `start` by default, which gives the end of the first row.
    """
    at = start if target is None else max(target - 1, start)
    odd = _quotes(data, start, at) & 1
    while True:
        line_end = data.find(b"\n", at)
        if line_end < 0:
            return -1
        odd ^= _quotes(data, at, line_end) & 1
        if not odd:
            return line_end + 1
        quote = data.find(b'"', line_end)
        if quote < 0:
            return -1
        at, odd = quote + 1, 0


def last_csv_boundary(data: bytes, quotes_before: int) -> int:
    """Return the last row boundary in `data`; 0: there is none. `quotes_before` stand before it."""
    at = data.rfind(b"\n")
    odd = (quotes_before + data.count(b'"', 0, max(at, 0))) & 1
    while at >= 0:
        if not odd:
            return at + 1
        quote = data.rfind(b'"', 0, at)  # the one that opened what this line end stands in
        if quote < 0:
            return 0
        at, before = data.rfind(b"\n", 0, quote), quote
        odd = data.count(b'"', max(at, 0), before) & 1
    return 0


def _quotes(data: bytes | mmap, start: int, end: int) -> int:
    """Count quotation marks; a mapped file has no `count`, so it is looked at a megabyte at a time."""
    if isinstance(data, bytes):
        return data.count(b'"', start, end)
    return sum(data[at : min(at + 2**20, end)].count(b'"') for at in range(start, end, 2**20))
