"""Say of a record what it raised: in the user's own frames, and never by raising again. Runs in the workers."""

from __future__ import annotations

import os
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workers.errors.capture import capture
from workers.errors.describe import MOST_TEXT, cut_middle, text_of, type_name
from workers.records.blocks import Place, RecordFailure
from workers.records.formats import SplitError

if TYPE_CHECKING:
    from types import TracebackType

    from workers.errors.capture import ExceptionRecord

_OUR_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # noqa: PTH100, PTH120


def describe(place: Place, error: BaseException, record: Any = None) -> RecordFailure:
    """Return what is told about a record that failed."""
    name, text = _name(error), text_of(error)
    if isinstance(error, SplitError):
        name = "UnicodeDecodeError" if "UTF-8" in text else "CsvError"
    extent = None if place.start is None or place.end is None else (place.start, place.end)
    return RecordFailure(place.path, place.line, place.start, name, text, _trace(error), 1, extent, record)


def described(error: BaseException) -> ExceptionRecord:
    """Return an exception as data, with the user's frames only."""
    record = capture(error)
    trace = "" if _users_part(error.__traceback__) is None else record.traceback
    return replace(record, type_name=_name(error), traceback=trace)


def _name(error: BaseException) -> str:
    return type_name(type(error)).rpartition(".")[2]


def _trace(error: BaseException) -> str:
    """Return the traceback from the user's first frame on; empty if there is none."""
    trace = None if isinstance(error, SplitError) else _users_part(error.__traceback__)
    if trace is None:
        return ""
    try:
        return cut_middle("".join(traceback.TracebackException(type(error), error, trace).format()), MOST_TEXT)
    except Exception:
        return "".join(traceback.format_tb(trace)) + _name(error) + "\n"


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    """Leave out our own frames, and those of the JSON parser that we called."""
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if not filename.startswith(_OUR_FOLDER) and not _is_our_parser(trace):
            return trace
        trace = trace.tb_next
    return None


def _is_our_parser(trace: TracebackType) -> bool:
    return str(trace.tb_frame.f_globals.get("__name__")).startswith("json.")
