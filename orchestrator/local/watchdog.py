"""The watchdog: feeds the workers and holds deadlines and memory limits while nobody waits for results.

The loop runs in the thread of whoever waits for results. While that one is away, chunks that are encoded already would
lie here and workers would idle, and no deadline would be held. A call that has such chunks, a timeout or a memory limit
therefore has this thread, which looks a few times a second (200 times while chunks wait) whether anybody has taken a
turn of the loop since. If not, it drives the loop while chunks wait, or takes one turn where only limits matter. It
ends by itself when there is nothing to look after; no other pool has it.

Owner of the state: this class, under the loop's lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from orchestrator.local.loop import Loop
from orchestrator.settings import WATCHDOG

_LEAVE_S = 5.0
"""It is in a turn for a moment at most; this may run in a garbage collection, which must not wait forever."""
_MOMENT_S = 0.1
"""How long the workers may go without a turn of the loop."""
_AHEAD_TICK_S = 0.005
"""The same, while chunks that are encoded ahead wait for credits."""


class Watched(NamedTuple):
    """The limits to enforce."""

    every_s: float | None
    """How often deadlines and memory are to be looked at; None: there are none."""
    ahead: bool
    """Whether chunks that are encoded ahead wait for credits."""


class Watchdog:
    """The thread of one loop, while it needs one."""

    def __init__(self, loop: Loop, watched: Callable[[], Watched | None]) -> None:
        """Take the loop, and a function that tells, under its lock, what to enforce.

        None: nothing any more.
        """
        self._loop = loop
        self._watched = watched
        self._turns_seen, self._seen_at = 0, 0.0
        """What it saw last, and when."""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def need(self) -> None:
        """Start the thread.

        Under the lock.
        """
        if self._thread is None and not self._ended.is_set():
            self._thread = threading.Thread(target=self._run, name=WATCHDOG, daemon=True)
            self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether it is the present thread."""
        return self._thread is threading.current_thread()

    def end(self) -> None:
        """End the thread for good.

        Not under the lock, which the thread may be waiting for.
        """
        self._ended.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and thread.is_alive():
            thread.join(_LEAVE_S)  # one that is not started yet finds nothing to do

    def _run(self) -> None:
        while (wait_s := self._poll()) is not None:
            if self._ended.wait(wait_s):
                return

    def _poll(self) -> float | None:
        """Drive, or take a turn, if nobody has for a while.

        Returns when to look again, or None if there is nothing to do.
        """
        loop = self._loop
        with loop.lock:
            watched = self._watched()
            if watched is None:
                self._thread = None  # the next need starts another
                return None
            every_s, ahead = watched
            now = time.monotonic()
            stands = loop.turns == self._turns_seen
            if not stands:
                self._seen_at = now
            if every_s is not None and now - self._seen_at >= max(every_s, _MOMENT_S):
                loop.take_turn()  # a driver, if there is one, stands still
                self._seen_at = now
        if ahead and stands:
            loop.stand_in(self._is_ahead)
        self._turns_seen = loop.turns
        if ahead:
            return _AHEAD_TICK_S
        return _MOMENT_S if every_s is None else max(every_s, _MOMENT_S)

    def _is_ahead(self) -> bool:
        watched = self._watched()
        return watched is not None and watched.ahead
