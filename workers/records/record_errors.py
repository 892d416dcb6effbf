"""Describes what a record raised, in the user's own frames, without ever raising.

Runs in the workers.
"""

from __future__ import annotations

import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workers.errors.capture import capture, users_part
from workers.errors.describe import MOST_TEXT, cut_middle, text_of, type_name
from workers.records.blocks import Place, RecordFailure
from workers.records.records import SplitError

if TYPE_CHECKING:
    from workers.errors.capture import ExceptionRecord


def describe(place: Place, error: BaseException, record: Any = None) -> RecordFailure:
    """Return the record of a failure, for the coordinator."""
    name, text = _name(error), text_of(error)
    if isinstance(error, SplitError):
        name = "UnicodeDecodeError" if error.undecodable else "CsvError"
    extent = None if place.start is None or place.end is None else (place.start, place.end)
    return RecordFailure(place.path, place.line, place.start, name, text, _trace(error), 1, extent, record)


def described(error: BaseException) -> ExceptionRecord:
    """Return an exception as data, with the user's frames only."""
    record = capture(error)
    trace = "" if users_part(error.__traceback__, parsed_by_us=True) is None else record.traceback
    return replace(record, type_name=_name(error), traceback=trace)


def _name(error: BaseException) -> str:
    return type_name(type(error)).rpartition(".")[2]


def _trace(error: BaseException) -> str:
    """Return the traceback from the user's first frame on, or "" if there is none."""
    trace = None if isinstance(error, SplitError) else users_part(error.__traceback__, parsed_by_us=True)
    if trace is None:
        return ""
    try:
        return cut_middle("".join(traceback.TracebackException(type(error), error, trace).format()), MOST_TEXT)
    except Exception:
        return "".join(traceback.format_tb(trace)) + _name(error) + "\n"
