"""What `Pool.submit` sends: a call with its arguments, run as an item like any other."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Submission:
    """A function, or its pickle by value, and what it is called with."""

    function: Callable[..., Any] | bytes
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle quickly: what a frozen dataclass does by itself takes as long as the rest of `submit`."""
        return Submission, (self.function, self.args, self.kwargs)


def run_submission(submission: Submission) -> Any:
    """Make the call; runs in the worker."""
    function = submission.function
    if isinstance(function, bytes):
        function = pickle.loads(function)
    return function(*submission.args, **submission.kwargs)
