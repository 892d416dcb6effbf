"""Results that can't be pickled: which one it is, and why."""

from __future__ import annotations

from typing import Any

from workers.errors.describe import text_of, type_name
from workers.transport import payload


class UnpicklableResultError(TypeError):
    """The function's result can't be sent back; the text says why."""


def unsendable(result: Any, *, grouped: bool) -> UnpicklableResultError | None:
    """Return why a result, or the first of a group that is at fault, can't be pickled; None: it can."""
    for each in result if grouped else (result,):
        try:
            payload.encode(each)
        except BaseException as error:
            name = type_name(type(each))
            failed = UnpicklableResultError(f"the result ({name}) can't be pickled: {text_of(error)}")
            failed.__cause__ = error
            return failed
    return None
