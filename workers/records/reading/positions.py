"""Computes the places of a chunk's records in their file, only when one has failed.

Runs in the workers, and in the coordinator for chunks that a worker was lost with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.records.blocks import Block, Chunk, Paths, Place
from workers.records.ranges import Raw

if TYPE_CHECKING:
    from workers.records.formats.format import Format
    from workers.records.records import Records, Span, SplitError


class UnreadableError(Exception):
    """The coordinator could not read a file, or not to its end."""


class Located:
    """The records of one chunk, with their places."""

    def __init__(self, chunk: Chunk, raw: Raw, records: Records, record_format: Format) -> None:
        """Take what was read.

        Nothing is computed yet.
        """
        self.records = records
        self.raw = raw
        self._paths = chunk.paths if isinstance(chunk, Paths) else None
        self._format = record_format
        self._spans: list[Span] | None = None

    def place(self, index: int) -> Place:
        """Return where a record stands."""
        if self._paths is not None:
            return Place(self._paths[index])
        span = self.spans[index]
        return self._at(span.line, span.start, span.end)

    def line_place(self, error: SplitError) -> Place:
        """Return where a line stands that is not a record."""
        data = bytes(self.raw.data)
        start, end = self._format.line_ends.around(data, error.byte_index)
        return self._at(error.line_index, start, end)

    def record_bytes(self, place: Place) -> bytes:
        """Return the bytes of a record of this chunk."""
        if place.start is None or place.end is None:
            return b""
        return bytes(memoryview(self.raw.data)[place.start - self.raw.start : place.end - self.raw.start])

    @property
    def spans(self) -> list[Span]:
        """The spans of the records in the chunk's bytes."""
        if self._spans is None:
            self._spans = self.records.spans(self.raw.data)
        return self._spans

    def _at(self, line_index: int, start: int, end: int) -> Place:
        raw = self.raw
        line = raw.first_line + line_index if self._format.unit != "block" and raw.first_line is not None else None
        return Place(raw.path, raw.start + start, raw.start + end, line, self._format.unit)


def read(chunk: Chunk, record_format: Format) -> Raw:
    """Return what a chunk holds: nothing, if its records are paths.

    Raises:
        OSError: the file can't be read.
        UnreadableError: the coordinator could not read it.
    """
    if isinstance(chunk, Paths):
        return Raw(chunk.origin.path, b"", 0, None, last_of_file=True)
    if isinstance(chunk, Block) and chunk.unreadable is not None:
        raise UnreadableError(chunk.unreadable)
    return record_format.read(chunk)
