"""Finds which result can't be pickled, and why."""

from __future__ import annotations

from typing import Any

from workers.errors.describe import text_of, type_name
from workers.transport import payload


class UnpicklableResultError(TypeError):
    """The function's result can't be sent back.

    The text says why.
    """


def unsendable(result: Any, *, grouped: bool) -> UnpicklableResultError | None:
    """Return why a result, or the first bad one of a group, can't be pickled, or None if it can."""
    for each in result if grouped else (result,):
        try:
            payload.encode(each)
        except BaseException as error:
            name = type_name(type(each))
            failed = UnpicklableResultError(f"the result ({name}) can't be pickled: {text_of(error)}")
            failed.__cause__ = error
            return failed
    return None
