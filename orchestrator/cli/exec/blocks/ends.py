"""Finds where records end in an open file.

Reads small windows around the places that are asked for, never the whole. Pure, but for that.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

_WINDOW_BYTES = 1 << 12
_SCANNED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RecordEnds:
    """What stands between two records: the end of one, and the beginning of the next."""

    end: bytes = b"\n"
    start: bytes = b""

    @property
    def separator(self) -> bytes:
        """The text that is looked for, or nothing where any byte may be the last of a record."""
        return self.end + self.start

    def last(self, fd: int, low: int, high: int) -> int | None:
        """Return the last place after `low` and up to `high` where a record ends, or None."""
        if not self.separator:
            return high
        window = _WINDOW_BYTES
        while True:
            at = max(low, high - window)
            data = _read(fd, at, high)
            found = data.rfind(self.separator, int(not self.end and at == low))
            if found >= 0:
                return at + found + len(self.end)
            if at == low:
                return None
            window *= 4

    def first(self, fd: int, at: int, high: int) -> int:
        """Return the first place where a record ends whose end begins at `at` or later, or `high`."""
        if not self.separator:
            return min(at, high)
        while at < high:
            data = _read(fd, at, min(high, at + _SCANNED_BYTES))
            found = data.find(self.separator)
            if found >= 0:
                return at + found + len(self.end)
            at += max(1, len(data) - len(self.separator) + 1)
        return high

    def after(self, fd: int, low: int, high: int, records: int) -> int | None:
        """Return where so many records from `low` on end, or None if fewer end before `high`."""
        if not self.separator:
            return low + records if low + records <= high else None
        data, at, cut = _read(fd, low, high), 0, 0
        for _ in range(records):
            found = data.find(self.separator, at or int(not self.end))  # a record begins at `low`
            if found < 0:
                return None
            cut = found + len(self.end)
            at = cut + (not self.end)
        return low + cut


def _read(fd: int, low: int, high: int) -> bytes:
    """Return what stands between two places, less if the file is shorter."""
    pieces, at = [], low
    while at < high and (piece := os.pread(fd, high - at, at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)
