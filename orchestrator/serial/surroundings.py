"""Sets up the surroundings of a worker in this process while a function runs.

Holds no state.
"""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from orchestrator.engine.protocol.engine import OutputCallback


class _PassedOn(io.TextIOBase):
    """Replaces stdout or stderr, and passes on what is written at once, so that a prompt is seen."""

    def __init__(self, callback: OutputCallback, name: str) -> None:
        self._callback = callback
        self._name = name
        self._outer = sys.stdout, sys.stderr

    def writable(self) -> bool:
        """Return True, as text can be written."""
        return True

    def write(self, text: str) -> int:
        """Pass the text on."""
        with redirect_stdout(self._outer[0]), redirect_stderr(self._outer[1]):  # the callback may print itself
            self._callback(0, self._name, text)
        return len(text)


@contextmanager
def prints_shown_by(callback: OutputCallback) -> Iterator[None]:
    """Pass what is printed within it to a callback."""
    out, err = _PassedOn(callback, "stdout"), _PassedOn(callback, "stderr")
    with redirect_stdout(out), redirect_stderr(err):
        yield


def random_state() -> Any:
    """Return the state of the generators of `random` and, if it is loaded, numpy."""
    numpy: Any = sys.modules.get("numpy.random")
    return random.getstate(), None if numpy is None else numpy.get_state()


def set_random_state(state: Any) -> None:
    """Set the generators to a state that `random_state` gave."""
    random.setstate(state[0])
    if state[1] is not None:
        sys.modules["numpy.random"].set_state(state[1])
