"""Reads the records of one chunk of a file, as the first step of a stream's function.

Runs in the workers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workers.records.blocks import Chunk, Paths, RecordError
from workers.records.reading.positions import Located, read
from workers.records.record_errors import describe
from workers.records.records import Records, SplitError

if TYPE_CHECKING:
    from workers.records.blocks import Place
    from workers.records.formats.format import Format


class ReadRecords:
    """The records of one chunk in order, with the reason in place of those that can't be read."""

    def __init__(self, chunk: Chunk, located: Located) -> None:
        self._origin = chunk.origin
        self._located = located
        self.failed: dict[int, RecordError] = {}
        """By position in `values`; there stands None."""
        values, numbers = _parsed(located.records, self._unreadable)
        self.values = values
        self.numbers = numbers
        """Which of the chunk's records each value is; -1: a line that is not a record."""
        if located.records.bad:
            self._put_in_bad_lines()

    def place(self, position: int) -> Place:
        """Return where the record at a position stands."""
        number = self.numbers[position]
        return self._located.place(number) if number >= 0 else self._bad_places[position]

    def value(self, position: int) -> Any:
        """Return the record at a position, or the text or bytes of one that can't be read."""
        number = self.numbers[position]
        if number >= 0:
            return self._located.records.value(number)
        return self._located.record_bytes(self._bad_places[position])

    def _unreadable(self, number: int, error: BaseException) -> None:
        self.failed[number] = RecordError(describe(self._located.place(number), error), self._origin)

    def _put_in_bad_lines(self) -> None:
        """Insert the lines that can't be decoded among the others."""
        found: list[tuple[int, int, Any, RecordError | None, Place | None]] = []
        lines = [span.line for span in self._located.spans]
        for number, value in enumerate(self.values):
            found.append((lines[number], number, value, self.failed.get(number), None))
        for error in self._located.records.bad:
            place = self._located.line_place(error)
            failed = RecordError(describe(place, error), self._origin)
            found.append((error.line_index, -1, None, failed, place))
        found.sort(key=lambda entry: entry[0])
        self.values = [entry[2] for entry in found]
        self.numbers = [entry[1] for entry in found]
        self.failed = {position: entry[3] for position, entry in enumerate(found) if entry[3] is not None}
        self._bad_places = {position: entry[4] for position, entry in enumerate(found) if entry[4] is not None}


@dataclass(frozen=True, slots=True)
class RecordReader:
    """Gives the records of a chunk: `str` without its line end, `dict`, `bytes` or a path."""

    record_format: Format

    def __call__(self, chunk: Chunk) -> list[Any]:
        """Return the records.

        Raises:
            RecordError: a record can't be read; it names the file and the line or byte offset.
        """
        found = self.open(chunk)
        for error in found.failed.values():
            raise error
        return found.values

    def open(self, chunk: Chunk) -> ReadRecords:
        """Return the records, with those that can't be read and with their places.

        Raises:
            OSError: the file can't be read.
            RecordError: where its records begin can't be told.
        """
        try:
            return self._open(chunk)
        except MemoryError:
            raise MemoryError(f"there is not enough memory to read {chunk.origin.path}") from None

    def _open(self, chunk: Chunk) -> ReadRecords:
        raw = read(chunk, self.record_format)
        if isinstance(chunk, Paths):
            return ReadRecords(chunk, Located(chunk, raw, Records(list(chunk.paths)), self.record_format))
        try:
            records = self.record_format.split(raw, chunk.head, skip=True)
        except SplitError as error:
            place = Located(chunk, raw, Records([]), self.record_format).line_place(error)
            raise RecordError(replace(describe(place, error)), chunk.origin) from None
        return ReadRecords(chunk, Located(chunk, raw, records, self.record_format))


def _parsed(records: Records, on_failure: Any) -> tuple[list[Any], Any]:
    """Return the records as functions get them, None for one that can't be parsed, and the number of each."""
    values = records.values
    if records.parse is None:
        return values, range(len(values))
    parsed: list[Any] = []
    feed = map(records.parse, iter(values))
    while len(parsed) < len(values):
        try:
            parsed.extend(feed)
        except Exception as error:
            on_failure(len(parsed), error)
            parsed.append(None)
    return parsed, range(len(values))
