"""Splits blocks that were lost with a worker, to find the record at fault, and joins the parts' outcomes.

    block, worker lost in record k  ->  records before k · record k · records behind it
    what came of the parts          ->  what came of the block

Runs in the coordinator, only for blocks that were lost or of which records failed: they are read here once more.
"""

from __future__ import annotations

from dataclasses import replace
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from orchestrator.sources.line_numbers import AT_A_TIME_BYTES, LineNumbers
from workers.records.blocks import Block, ByteRange, Chunk, FailedRecord, Paths, Place
from workers.records.reading.positions import Located, read
from workers.records.records import Records

if TYPE_CHECKING:
    from orchestrator.errors import ItemError
    from workers.records.formats.format import Format


class Parts(NamedTuple):
    """The parts that run in place of a block."""

    parts: list[Chunk]
    suspect: int | None
    """Which of them is the record that a worker was lost in; None: that is not known."""


class GivenUpBlock(NamedTuple):
    """A block that is given up."""

    place: Place
    value: Any
    """The record; None: the block is not a single record."""
    records: int
    """How many it has, as far as that is known."""
    raw: Any
    """The record before it was parsed."""


class Outcomes(Protocol):
    """Joins outcomes of blocks that aren't lists of the records' results."""

    def gave_up(self, block: Chunk, error: ItemError, given_up: GivenUpBlock) -> Any:
        """Return the outcome of a block that is given up: the error, or its replacement."""

    def join(self, block: Chunk, outcomes: list[Any]) -> Any:
        """Return the outcome of a block from those of its parts, which are results and `ItemError`s."""


class Divider:
    """Knows the records of one call's blocks."""

    def __init__(self, record_format: Format, *, skip: bool = True, outcomes: Outcomes | None = None) -> None:
        """Take how the blocks are read.

        Args:
            record_format: the format of the files.
            skip: whether lines that are no records are left out rather than make the block fail.
            outcomes: what comes of a block; None: a list of results.
        """
        self._format = record_format
        self._skip = skip
        self.outcomes = outcomes
        self._lines = LineNumbers(AT_A_TIME_BYTES)

    def divide(self, block: Chunk, at: int | None) -> Parts | None:
        """Return the parts of a block: around record `at`, or halves.

        None: it is one record, or can't be read.
        """
        try:
            located = self._located(block)
        except Exception:  # whatever the worker would make of it
            return None
        count = len(located.records.values)
        if count < 2 or (at is not None and at >= count):
            return None
        if at is None:
            half = count // 2
            return Parts([self._part(block, located, 0, half), self._part(block, located, half, count)], None)
        parts = [self._part(block, located, at, at + 1)]
        if at > 0:
            parts.insert(0, self._part(block, located, 0, at))
        if at + 1 < count:
            parts.append(self._part(block, located, at + 1, count))
        return Parts(parts, 1 if at else 0)

    def records(self, block: Chunk, failed: list[FailedRecord]) -> Chunk:
        """Return records of a block that stand together as a block of their own."""
        if isinstance(block, Paths):
            paths = tuple(each.place.path for each in failed)
            return replace(block, origin=replace(block.origin, divided=True), paths=paths)
        return _narrowed(block, replace(failed[0].place, end=failed[-1].place.end))

    def known(self, failed: FailedRecord) -> GivenUpBlock:
        """Describe a record that a worker has reported."""
        return GivenUpBlock(self.with_line(failed.place), failed.value, 1, failed.raw)

    def describe_block(self, block: Chunk) -> GivenUpBlock:
        """Describe a block that is given up.

        Nearly always it is one record.
        """
        try:
            located = self._located(block)
        except Exception:  # as above
            return GivenUpBlock(self.with_line(_whole(block)), None, 1, None)
        values, bad = located.records.values, located.records.bad
        if not values and len(bad) == 1:
            place = located.line_place(bad[0])
            data = located.record_bytes(place)
            return GivenUpBlock(self.with_line(place), data, 1, data)
        if len(values) != 1:
            return GivenUpBlock(self.with_line(_whole(block)), None, len(values), None)
        return GivenUpBlock(self.with_line(located.place(0)), located.records.value(0), 1, values[0])

    # ---- inside -----------------------------------------------------------------------------------------------

    def _located(self, block: Chunk) -> Located:
        raw = read(block, self._format)
        if isinstance(block, Paths):
            return Located(block, raw, Records(list(block.paths)), self._format)
        records = self._format.split(raw, block.head, skip=self._skip)
        return Located(block, raw, records, self._format)

    def with_line(self, place: Place) -> Place:
        """Add the number of the line, as workers know only the position in bytes."""
        if place.line is not None or place.start is None or self._format.unit != "line":
            return place
        try:
            return replace(place, line=self._lines.of(place.path, place.start, self._format.line_ends))
        except OSError:
            return place

    def _part(self, block: Chunk, located: Located, first: int, end: int) -> Chunk:
        """Return records `first` to `end` of a block.

        What is not a record stays with those before it, or the first.
        """
        if isinstance(block, Paths):
            return replace(block, origin=replace(block.origin, divided=True), paths=block.paths[first:end])
        raw, spans = located.raw, located.spans
        start = raw.start + (spans[first].start if first else 0)
        stop = raw.start + (spans[end].start if end < len(spans) else len(raw.data))
        line = None if raw.first_line is None else raw.first_line + (spans[first].line if first else 0)
        return _narrowed(block, Place(raw.path, start, stop, line))


def _narrowed(block: Chunk, place: Place) -> Chunk:
    """Return the bytes at a place of a block as a block."""
    start, end = place.start or 0, place.end or 0
    if isinstance(block, ByteRange):
        whole = end >= block.end
        origin = replace(block.origin, divided=True, last_of_file=block.origin.last_of_file and whole)
        return replace(block, origin=origin, start=start, end=end, on_boundaries=True)
    assert isinstance(block, Block)  # noqa: S101 - for the type checker: paths are no bytes
    data = memoryview(block.data)
    whole = end - block.start >= data.nbytes
    origin = replace(block.origin, divided=True, last_of_file=block.origin.last_of_file and whole)
    # A copy: a PickleBuffer of a view of a PickleBuffer can crash Python 3.11 in a garbage collection.
    part = PickleBuffer(bytes(data[start - block.start : end - block.start]))
    return replace(block, origin=origin, data=part, start=start, first_line=place.line or block.first_line)


def _whole(block: Chunk) -> Place:
    if isinstance(block, Paths):
        return Place(block.paths[0])
    if isinstance(block, ByteRange):
        return Place(block.origin.path, block.start, block.end)
    return Place(block.origin.path, block.start, block.start + memoryview(block.data).nbytes, block.first_line)
