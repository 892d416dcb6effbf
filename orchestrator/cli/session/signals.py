"""Handles SIGINT, SIGTERM and SIGHUP in a run, step by step.

    the run has a way to stop gracefully (`listen`): the first signal asks it to
    the next one raises KeyboardInterrupt or Terminated, wherever the run is, and the run is cleaned up
    one that comes during the clean-up ends the process at once

A signal that was ignored when the command started stays ignored: `nohup`, and `&` in a script.
Owner of the state: the coordinator's main thread, where signal handlers run.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived.

    Not an Exception, so that nothing on the way takes it for a failure.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


class Signals:
    """Handles the signals of one run, from `__enter__` to `__exit__`.

    Outside the main thread there are none.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        """The signal that asked the run to stop gracefully."""
        self._ask: Callable[[], object] | None = None
        self._raised: BaseException | None = None
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self.handle(number, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def listen(self, ask: Callable[[], object]) -> None:
        """Make the first signal call `ask`, in the signal handler, instead of raising."""
        self._ask = ask

    def raise_from_now_on(self) -> None:
        """Make the next signal raise, as the run can't be asked any more."""
        self._ask = None

    def raise_lost(self) -> None:
        """Raise again what a signal has raised, as it did not arrive.

        A module that is imported may catch everything, and the import system has callbacks that ignore what is raised.
        """
        if self._raised is not None:
            raise self._raised

    def end_at_once(self) -> None:
        """Make the next signal end the process, as the run is being cleaned up."""
        for number in self._old.keys() & _ENDING:
            signal.signal(number, _leave)

    def handle(self, number: int, handler: Callable[[int, Any], object]) -> None:
        """Handle a signal until `__exit__`."""
        with suppress(ValueError):  # not in the main thread
            self._old.setdefault(number, signal.signal(number, handler))

    def _arrived(self, number: int, _frame: object) -> None:
        if self._ask is None or self.asked is not None:
            self._raised = KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)
            raise self._raised
        self.asked = signal.Signals(number)
        self._ask()


def _leave(number: int, _frame: object) -> NoReturn:
    os._exit(128 + number)
