"""Turns a failed call into what the function raised, as the standard library's pools tell it."""

from __future__ import annotations

from concurrent.futures.process import _RemoteTraceback
from typing import Any

from orchestrator.errors import ItemError
from workers.errors.capture import ExceptionRecord
from workers.transport.unsendable import UnpicklableResultError


def as_raised_there(error: ItemError, traceback: Any = _RemoteTraceback) -> BaseException:
    """Return the function's own exception, whose cause is the worker's traceback as text.

    A result or an argument that can't be pickled gives what pickling raised, a timeout the error itself.

    Args:
        error: what the pool says of the call.
        traceback: the exception that shows a text as a traceback.
    """
    raised = error.__cause__
    if isinstance(raised, UnpicklableResultError) and raised.__cause__ is not None:
        raised = raised.__cause__
    if raised is None:
        return error
    if error.record is not None:
        show_traceback(raised, error.record, traceback)
    return raised


def show_traceback(raised: BaseException, record: ExceptionRecord, traceback: Any = _RemoteTraceback) -> None:
    """Give an exception that a worker raised the worker's traceback as its cause."""
    text: Any = f'\n"""\n{record.traceback}"""'
    # Not by assignment, which some exceptions refuse (frozen dataclasses).
    BaseException.__setattr__(raised, "__cause__", traceback(text))
    BaseException.__setattr__(raised, "__notes__", list(record.notes))
