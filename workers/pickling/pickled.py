"""What a worker does first whose coordinator only passes on what the program has sent."""

from __future__ import annotations

import pickle
import sys
from typing import Any


class Pickled:
    """A function without arguments, which is unpickled where it is called.

    Pickles to itself, so that the process in between needs none of its modules.
    """

    def __init__(self, data: bytes | None, part: int, folder: str | None = None) -> None:
        """Take what to call.

        Args:
            data: the pickle of a tuple, of which one part is (function, its arguments) or None; None: call nothing.
            part: which part that is.
            folder: put on the path before; or a zip file.
        """
        self._data = data
        self._part = part
        self._folder = folder

    def __call__(self) -> Any:
        """Load and call it."""
        if self._folder is not None and self._folder not in sys.path:
            sys.path.insert(0, self._folder)
        call = None if self._data is None else pickle.loads(self._data)[self._part]
        return None if call is None else call[0](*call[1])
