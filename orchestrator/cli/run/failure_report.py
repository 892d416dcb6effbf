"""Describe a failed record by file, line and the user's own traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.sources.line_numbers import LineNumbers
from workers.records.blocks import RecordError

if TYPE_CHECKING:
    from workers.records.blocks import RecordFailure
    from workers.records.formats.format import Format

_lines = LineNumbers()


def place(failure: RecordFailure, record_format: Format) -> str:
    """Return the record's place, as "a.txt, line 3".

    A worker that reads from the middle of a file knows only its byte offset; lines are counted here, when it
    is told.
    """
    name = "standard input" if failure.path == "-" else failure.path.replace("\n", "\\n")
    if failure.line is not None:
        return f"{name}, {record_format.unit if record_format.unit == 'row' else 'line'} {failure.line}"
    if failure.byte_offset is None:
        return name
    if record_format.unit == "block":
        return f"{name}, the block at byte {failure.byte_offset}"
    try:
        return f"{name}, line {_lines.of(failure.path, failure.byte_offset, record_format.line_ends)}"
    except OSError:
        return f"{name}, byte {failure.byte_offset}"


def headline(failure: RecordFailure, record_format: Format) -> str:
    """Return the failure in one line."""
    text = " ".join(failure.text.split())
    said = f"{failure.error}: {text}" if text else failure.error
    return f"{place(failure, record_format)}: {said}"


def report(error: BaseException, record_format: Format) -> str:
    """Return the message about the failure that stopped the run."""
    cause = error.__cause__
    if isinstance(cause, RecordError):
        trace = cause.failure.traceback.rstrip()
        return headline(cause.failure, record_format) + (f"\n{trace}" if trace else "")
    if cause is not None and type(error).__name__ == "ItemError":
        return " ".join(str(cause).split()) or type(cause).__name__
    return str(error)
