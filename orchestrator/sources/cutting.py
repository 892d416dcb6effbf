"""Cut bytes at record boundaries. Pure: no file, no process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orchestrator.sources.csv_rows import RowEnds
from workers.formats import read_header

if TYPE_CHECKING:
    from workers.formats import Header

_HEADER_BYTES = 64 * 1024
"""A header is looked for here first, before in all that there is."""


class Cutter(Protocol):
    """Takes pieces of any length and gives back blocks of whole records."""

    header: Header | None
    """The header row, which is no part of any block, as soon as it is known."""
    text: bool
    """Whether the bytes are text: what isn't may look compressed by chance."""

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

    header: Header | None = None
    text = True

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

    header: Header | None = None
    text = False

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
    """Takes the header row off and cuts behind rows."""

    text = True

    def __init__(self) -> None:
        self.header: Header | None = None
        self._pending: list[bytes] = []
        self._rows = RowEnds()
        self._wanted = 1
        """Bytes with which it is worth looking for the end of the header again: it may have a long quoted field."""

    def feed(self, piece: bytes) -> list[bytes]:
        """Add a piece; return the rows that are whole now, as one block."""
        if self.header is None:
            self._pending.append(piece)
            piece = self._behind_header(ended=False)
            if self.header is None:
                return []
        cut = self._rows.last_in(piece)
        if not cut:
            self._pending.append(piece)
            return []
        block = b"".join((*self._pending, memoryview(piece)[:cut]))
        self._pending = [piece[cut:]] if cut < len(piece) else []
        return [block]

    def finish(self) -> bytes:
        """Return what is left when the input has ended."""
        return b"".join(self._pending) if self.header else self._behind_header(ended=True)

    def _behind_header(self, *, ended: bool) -> bytes:
        """Look for the header in what is pending; return what stands behind it."""
        if not ended and sum(map(len, self._pending)) < self._wanted:
            return b""
        data = b"".join(self._pending)
        self.header = read_header(data[:_HEADER_BYTES], ended=False) or read_header(data, ended=ended)
        self._pending, self._wanted = ([], 0) if self.header else ([data], 2 * len(data))
        return data[self.header.size_bytes :] if self.header else b""
