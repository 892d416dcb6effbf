"""Read the records of one chunk of a file, as the first step of a stream's function. Runs in the workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers.chunks import Chunk, Paths, RecordError, RecordFailure
from workers.formats import SplitError, split
from workers.ranges import read_block, read_range

if TYPE_CHECKING:
    from workers.ranges import Raw


@dataclass(frozen=True, slots=True)
class RecordReader:
    """Gives the records of a chunk: `str` without its line end, `dict`, `bytes` or a path."""

    record_format: str
    errors: str = "strict"

    def __call__(self, chunk: Chunk) -> list[Any]:
        """Return the records.

        Raises:
            RecordError: a record can't be read; it names the file and the line or byte offset.
        """
        if isinstance(chunk, Paths):
            return list(chunk.paths)
        raw = self._raw(chunk)
        at = 0
        try:
            records = split(raw, self.record_format, self.errors, chunk.fieldnames, skip=False)
            if records.parse is None:
                return list(records.values)
            parsed: list[Any] = []
            for at, value in enumerate(records.values):  # noqa: B007 - it tells which one failed
                parsed.append(records.parse(value))
        except SplitError as error:
            raise RecordError(_failure(raw, error.line_index, error), chunk.origin) from None
        except ValueError as error:
            raise RecordError(_failure(raw, records.line_index(at), error), chunk.origin) from None
        return parsed

    def _raw(self, chunk: Any) -> Raw:
        text = self.record_format != "blocks"
        return read_block(chunk, text=text) if hasattr(chunk, "data") else read_range(chunk, text=text)


def _failure(raw: Raw, line_index: int, error: Exception) -> RecordFailure:
    """Name the line where its number is known, else the byte at which it begins."""
    name = "UnreadableRecord" if isinstance(error, SplitError) else type(error).__name__
    if raw.first_line is not None:
        return RecordFailure(raw.path, raw.first_line + line_index, None, name, str(error), "")
    before = bytes(raw.data).split(b"\n")[:line_index]
    return RecordFailure(raw.path, None, raw.start + sum(len(line) + 1 for line in before), name, str(error), "")
