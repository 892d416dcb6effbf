"""The records of one chunk, and the way back from a record to its place."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class SplitError(Exception):
    """A block can't be cut into records."""

    def __init__(self, text: str, line_index: int, byte_index: int, *, undecodable: bool = False) -> None:
        super().__init__(text)
        self.line_index = line_index
        self.byte_index = byte_index
        self.undecodable = undecodable
        """Bytes are not of the file's encoding."""


class Span(NamedTuple):
    """The span of a record in its chunk."""

    line: int
    """From 0."""
    start: int
    """In bytes, or in what else the format counts."""
    end: int
    """Behind its line end."""


class Records:
    """The records of one block, and the way back from a record to its line."""

    def __init__(
        self,
        values: list[Any],
        parse: Callable[[Any], Any] | None = None,
        line_index: Callable[[int], int] | None = None,
        bad: Iterable[SplitError] = (),
        find_rows: Callable[[bytes], list[Span]] | None = None,
        *,
        line_end: bytes = b"\n",
    ) -> None:
        """Keep the records.

        Args:
            values: what the function is called with, or what `parse` makes that of.
            parse: applied to each value first; None if the values are the records.
            line_index: from a value's index to the index of its first line in the block.
            bad: lines that are no records at all.
            find_rows: where the records stand in the block's bytes; None: each is a line.
            line_end: what ends a line.
        """
        self.values = values
        self.parse = parse
        self.line_index = line_index or (lambda index: index)
        self.bad = tuple(bad)
        self.line_end = line_end
        self._find = find_rows or self._find_lines

    def spans(self, data: Any) -> list[Span]:
        """Return where each record stands in the chunk, whose data are `data`."""
        return self._find(bytes(data))

    def value(self, index: int) -> Any:
        """Return a record as the function gets it, or as it was read if it can't be parsed."""
        found = self.values[index]
        if self.parse is None:
            return found
        try:
            return self.parse(found)
        except Exception:
            return found

    def _find_lines(self, data: bytes) -> list[Span]:
        ends = list(accumulate((len(line) + 1 for line in data.split(self.line_end)), initial=0))
        ends[-1] -= 1  # no line end stands behind the last piece
        lines = map(self.line_index, range(len(self.values)))
        return [Span(line, ends[line], ends[line + 1]) for line in lines]


class PlacedRecords(Records):
    """Records that are counted one by one, as the rows of a table are."""

    def __init__(self, values: list[Any], sizes: list[int] | None = None) -> None:
        """Keep the records, and how many rows each has.

        None: one.
        """
        super().__init__(values)
        self._sizes = sizes

    def spans(self, data: Any) -> list[Span]:  # noqa: ARG002 - they don't depend on it
        """Return where each record stands, counted in rows."""
        ends = list(accumulate(self._sizes or [1] * len(self.values), initial=0))
        return [Span(start, start, end) for start, end in pairwise(ends)]
