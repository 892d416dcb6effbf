"""Finds where CSV rows end, exactly as the csv module reads them.

A quotation mark opens a quoted field only at the field's start; inside an unquoted field it is a character like any
other. So counting marks is not enough: whether one counts depends on all that stands before it. One regular expression
runs over all fields up to the first mark that is out of place. In these, a line end is a row's end if an even number of
marks stands before it.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from functools import lru_cache
from typing import TYPE_CHECKING

from workers.records.formats.format import FormatError
from workers.records.ranges import read_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.records.formats.format import PlainFile


class _Marks:
    """The bytes that matter in one dialect."""

    def __init__(self, delimiter: str, quote: str | None) -> None:
        self.mark = (quote or "").encode()
        self.delimiters = delimiter.encode() + b"\r\n"
        mark, behind = re.escape(self.mark), b"[" + re.escape(self.delimiters) + b"]"
        other = b"[^" + mark + b"]*+"
        quoted = other + b"(?:" + mark * 2 + other + b")*+"
        if self.mark:
            self.opens = re.compile(behind + mark)
            self.quoted = re.compile(quoted)
            self.in_place = re.compile(b"(?:" + other + b"(?<=" + behind + b")" + mark + quoted + mark + b")*+")

    def behind(self, data: bytes) -> _At:
        """Return what stands before the next byte, outside of quoted fields."""
        return _At.START if data[-1] in self.delimiters else _At.UNQUOTED

    def behind_quoted(self, data: bytes, at: int) -> int:
        """Return where the rest of a quoted field, from `at` on, ends.

        More than there is: not in this piece.
        """
        found = self.quoted.match(data, at)
        return len(data) + 1 if found is None else found.end() + 1

    def last_outside(self, data: bytes, start: int, end: int) -> int:
        """Return the offset behind the last line end that has an even number of marks before it, or 0."""
        at = last_line_end(data, start, end)
        odd = data.count(self.mark, start, at) % 2
        while odd and at:
            mark = data.rfind(self.mark, start, at)  # all line ends behind it are quoted, too
            earlier = last_line_end(data, start, mark)
            odd ^= data.count(self.mark, max(earlier, start), at) % 2
            at = earlier
        return at


class _At(Enum):
    """The state of the parser before the next byte."""

    START = auto()
    """The start of a field."""
    UNQUOTED = auto()
    """Inside a field without quotation marks, or behind the quoted part of one."""
    QUOTED = auto()
    QUOTE = auto()
    """A mark inside a quoted field: its end, or the first of two."""


_AFTER_MARK = {_At.START: _At.QUOTED, _At.UNQUOTED: _At.UNQUOTED, _At.QUOTED: _At.QUOTE, _At.QUOTE: _At.QUOTED}


_marks = lru_cache(maxsize=16)(_Marks)


class RowEnds:
    """Finds the ends of a file's rows, a piece of any length at a time, from the first row on."""

    def __init__(self, delimiter: str = ",", quote: str | None = '"') -> None:
        """Take the dialect.

        Without `quote`, every line end is a row's end.
        """
        self._marks = _marks(delimiter, quote)
        self._at = _At.START
        self._behind_bare_return = False
        """Whether the last piece ended with a carriage return that ends a row, unless a line feed follows."""

    def copy(self) -> RowEnds:
        """Return a copy that continues from here on its own."""
        other = RowEnds()
        other._marks, other._at, other._behind_bare_return = self._marks, self._at, self._behind_bare_return
        return other

    def ended_before(self, piece: bytes) -> bool:
        """Return whether a row has ended where the next piece begins, which `last_in` could not tell before."""
        return self._behind_bare_return and piece[:1] not in {b"", b"\n"}

    def first_in(self, piece: bytes) -> int:
        """Return the offset behind the first row that ends in the next piece, or 0.

        Slow. This object can't be used afterwards.
        """
        taken = 0
        while taken < len(piece):
            end = _next_line_end(piece, taken)
            if cut := self.last_in(piece[taken:end]):
                return taken + cut
            taken = end
        return 0

    def last_in(self, piece: bytes) -> int:
        """Return the offset behind the last row that ends in the next piece, or 0 if none does.

        A carriage return at the end of the piece is not a row's end yet: a line feed may follow; see `ended_before`.
        """
        cut = self._take(piece)
        if piece:
            self._behind_bare_return = self._at is _At.START and piece.endswith(b"\r")
        return cut

    def _take(self, piece: bytes) -> int:
        start, marks = 0, self._marks
        if not marks.mark:
            return self._without_marks(piece, start)
        if self._at is _At.QUOTE:
            if piece[:1] == marks.mark:
                start, self._at = 1, _At.QUOTED
            elif piece:
                self._at = _At.UNQUOTED
        if piece.find(marks.mark, start) < 0:
            return self._without_marks(piece, start)
        core = piece.rstrip(marks.mark)  # marks at the end may continue in the next piece
        cut = self._last_in(core, start) if start < len(core) else 0
        if start < len(core) < len(piece) and self._at is _At.START and core.endswith(b"\r"):
            cut = len(core)  # a mark follows, and no line feed
        for _ in range(len(piece) - max(start, len(core))):
            self._at = _AFTER_MARK[self._at]
        return cut

    def _without_marks(self, piece: bytes, start: int) -> int:
        if self._at is _At.QUOTED or start == len(piece):
            return 0
        self._at = self._marks.behind(piece)
        return last_line_end(piece, start, len(piece))

    def _last_in(self, data: bytes, at: int) -> int:
        """Do `last_in` for a piece that doesn't end with a mark, from `at` on."""
        marks = self._marks
        if self._at is _At.QUOTED or (self._at is _At.START and data[at] == marks.mark[0]):
            at = marks.behind_quoted(data, at + (self._at is _At.START))
            self._at = _At.QUOTED
        parts: list[tuple[int, int, int]] = []
        """From where marks are in place, to the first that is not, to where they are again."""
        while at < len(data):
            self._at = marks.behind(data)
            found = marks.in_place.match(data, at)
            mark = data.find(marks.mark, at if found is None else found.end())
            if mark < 0 or (mark and data[mark - 1] in marks.delimiters):
                parts.append((at, len(data) if mark < 0 else mark, 0))
                if mark >= 0:
                    self._at = _At.QUOTED  # it opens a field that continues in the next piece
                break
            opens = marks.opens.search(data, mark)
            again = len(data) if opens is None else opens.end() - 1
            parts.append((at, mark, again))
            at = again
        for start, mark, again in reversed(parts):
            cut = (last_line_end(data, mark, again) if again else 0) or marks.last_outside(data, start, mark)
            if cut:
                return cut
        return 0


def last_line_end(data: bytes, start: int, end: int) -> int:
    """Return the offset behind the last line end in data[start:end], or 0 if there is none.

    A carriage return at the end of `data` is none: a line feed may follow.
    """
    feed = data.rfind(b"\n", start, end)
    bare = data.rfind(b"\r", max(feed, start), end)
    if bare == len(data) - 1:
        bare = data.rfind(b"\r", max(feed, start), bare)
    return max(feed, bare) + 1


def _next_line_end(data: bytes, start: int) -> int:
    """Return the offset behind the next line end, or of the end.

    Behind a carriage return it is one more: at the end of a piece it would be no line end yet.
    """
    feed, bare = data.find(b"\n", start), data.find(b"\r", start)
    if feed >= 0 and not 0 <= bare < feed:
        return feed + 1
    return len(data) if bare < 0 else min(bare + 2, len(data))


def row_spans_of(
    file: PlainFile, rows: RowEnds, begin: int, block_bytes: int, most: int
) -> Iterator[tuple[int, int, bool]]:
    """Cut a file from `begin` on between rows into spans, at least one.

    A span is (start, end, whether it is one row that is too long).
    """
    size = file.size_bytes
    at, start, row = begin, begin, begin  # the row that begins at `row` has not ended before `at`

    def spans_to(end: int) -> list[tuple[int, int, bool]]:
        if most and end - row > most:
            return [(start, row, False)] * (start < row) + [(row, end, True)]
        return []

    for piece in _pieces(file, begin, block_bytes):
        if rows.ended_before(piece):
            if spans := spans_to(at):
                yield from spans
                start = at
            row = at
        if spans_to(at) and (first := rows.copy().first_in(piece)):
            yield from spans_to(at + first)
            start = row = at + first
        if (ends := rows.last_in(piece)) and at + ends > row:
            row = at + ends
            if at + len(piece) < size:
                yield start, row, False
                start = row
        at += len(piece)
    if start < size or size == begin:
        yield from spans_to(size) or [(start, size, False)]


def _pieces(file: PlainFile, begin: int, block_bytes: int) -> Iterator[bytes]:
    """Read a file from `begin` on, at most a block at a time."""
    while begin < file.size_bytes:
        piece = read_at(file.fd, begin, min(block_bytes, file.size_bytes - begin))
        if not piece:
            raise FormatError(f"{file.path} was truncated to {begin:,} bytes while it was read")
        yield piece
        begin += len(piece)
