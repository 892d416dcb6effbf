"""Signals that steer a run: SIGUSR1 prints its status, SIGHUP rereads `-j FILE`.

A run is never disturbed by them. The status is written by a thread that lives as long as that takes, since the run may
be waiting in a write to a pipe that nobody reads, and straight to the descriptor, since the signal may have come in the
middle of a write to `sys.stderr`.

Owner of the state: the coordinator's main thread, where signal handlers run.
"""

from __future__ import annotations

import _thread
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from orchestrator.engine.protocol.status import describe_item
from orchestrator.machine.terminal import visible
from orchestrator.pool.internals import internals_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.pool.size.sizing import Sizing

_CLEAR_BELOW = "\r\x1b[J"
"""The bars' rows: the cursor is at their beginning between two pictures, and the next picture draws all of them."""


class Steering:
    """Handles the two signals for one run.

    Until a pool is there, it says that it is starting.
    """

    def __init__(
        self,
        sizing: Sizing,
        *,
        describe: Callable[[Any], str | None] | None = None,
        counts: Callable[[], str] = lambda: "",
    ) -> None:
        """Take what is known before the pool starts.

        Args:
            sizing: what `-j` said; SIGHUP keeps its usual meaning unless that was a file.
            describe: gives an item in words; None: as `Pool.status` does.
            counts: gives what is done so far, in words.
        """
        self.sizing = sizing
        self.describe = describe
        self.counts = counts
        self.pool: Any = None
        """Set as soon as there is one."""
        self._old: dict[int, Any] = {}
        self._started_s = time.monotonic()

    def __enter__(self) -> Self:
        self._hear(signal.SIGUSR1, self._tell)
        if self.sizing.file is not None:
            self._hear(signal.SIGHUP, self._reread)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _hear(self, number: int, handler: Callable[[int, Any], None]) -> None:
        with suppress(ValueError):  # not in the main thread
            self._old[number] = signal.signal(number, handler)

    def _reread(self, _number: int, _frame: object) -> None:
        if self.pool is not None:
            self.pool.reread_size()

    def _tell(self, _number: int, _frame: object) -> None:
        # Not threading.Thread: its start waits for a lock that this very thread may hold, being interrupted.
        with suppress(RuntimeError):
            _thread.start_new_thread(self._write, ())

    def _write(self) -> None:
        clear = _CLEAR_BELOW if os.isatty(2) else ""
        with suppress(Exception):  # a pool that is being closed, a stderr that is: then there is nothing to tell
            data = f"{clear}orchestrator: {visible(self.text())}\n".encode(errors="replace")
            while data:
                data = data[os.write(2, data) :]

    def text(self) -> str:
        """Describe the state of the run."""
        after = f"after {time.monotonic() - self._started_s:.1f} s"
        if self.pool is None:
            return f"{after} starting; no worker is ready yet"
        ask = internals_of(self.pool).engine.status  # which takes no turn of the loop: that is the main thread's
        status = ask(self.describe or describe_item)
        done = self.counts()
        return f"{after}{f', {done}' if done else ''}; {status}"
