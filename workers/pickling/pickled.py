"""Calls a function that the present process only passes on: it is unpickled where it is called."""

from __future__ import annotations

import pickle
from typing import Any


class Pickled:
    """A function of the arguments that its pickle holds.

    Pickles to itself, so that processes in between need none of its modules.
    """

    def __init__(self, data: bytes, part: int) -> None:
        """Take the pickle of a tuple, of which one part is (function, its arguments) or None."""
        self._data = data
        self._part = part

    def __call__(self) -> Any:
        """Load and call it."""
        function, arguments = pickle.loads(self._data)[self._part]
        return function(*arguments)
