"""Sets up the surroundings of a worker in this process while a function runs.

Owner of the state: whoever is in `Surroundings.entered`, one thread at a time.
"""

from __future__ import annotations

import io
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from orchestrator.engine.protocol.engine import OutputCallback
from orchestrator.engine.protocol.prints import Prints
from workers.process import context, randomness


class Surroundings:
    """What functions find around them: the context, the random numbers and the prints of worker 0."""

    def __init__(self, seed: int | None, prints: Prints) -> None:
        """Begin as a worker does.

        `seed` is the pool's; `prints` has the callback that shows what is printed, as it is printed.
        """
        self.running = threading.RLock()
        """Held while a function runs."""
        self.cpu_s = 0.0
        """CPU seconds of what has run."""
        self._prints = prints
        self._context = context.WorkerContext(0, 1)
        self._seed = seed
        self._random_state: Any = None

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Set up the surroundings for what runs, and restore the program's afterwards."""
        started = time.process_time()
        with self.running, ExitStack() as stack:
            stack.enter_context(context.entered(self._context))
            if self._seed is not None:
                stack.enter_context(self._own_random_numbers(self._seed))
            if self._prints.callback is not None:
                stack.enter_context(_prints_shown_by(self._prints.callback))
            try:
                yield
            finally:
                self.cpu_s += time.process_time() - started

    @contextmanager
    def _own_random_numbers(self, seed: int) -> Iterator[None]:
        """Restore the random generators of this pool's functions, and the program's afterwards."""
        before = _random_state()
        if self._random_state is None:
            randomness.begin(seed, 0)
        else:
            _set_random_state(self._random_state)
        try:
            yield
        finally:
            self._random_state = _random_state()
            _set_random_state(before)


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
def _prints_shown_by(callback: OutputCallback) -> Iterator[None]:
    """Pass what is printed within it to a callback."""
    out, err = _PassedOn(callback, "stdout"), _PassedOn(callback, "stderr")
    with redirect_stdout(out), redirect_stderr(err):
        yield


def _random_state() -> Any:
    """Return the state of the generators of `random` and, if it is loaded, numpy."""
    numpy: Any = sys.modules.get("numpy.random")
    return random.getstate(), None if numpy is None else numpy.get_state()


def _set_random_state(state: Any) -> None:
    """Set the generators to a state that `_random_state` gave."""
    random.setstate(state[0])
    if state[1] is not None:
        sys.modules["numpy.random"].set_state(state[1])
