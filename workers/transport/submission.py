"""The item that `Pool.submit` sends: a call with its arguments."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Submission:
    """A function, or its pickle by value, and its arguments."""

    function: Callable[..., Any] | bytes
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle quickly, as the default of a frozen dataclass takes as long as the rest of `submit`."""
        return Submission, (self.function, self.args, self.kwargs)


def run_submission(submission: Submission) -> Any:
    """Make the call, in the worker."""
    function = submission.function
    if isinstance(function, bytes):
        function = pickle.loads(function)
    return function(*submission.args, **submission.kwargs)


def run_all(function: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    """Make several calls that travel together, in the worker."""
    return [function(*args) for args in calls]
