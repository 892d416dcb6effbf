"""The watchdog: looks after the workers while nobody waits for results, so that deadlines and memory limits hold then.

The loop runs in the thread of whoever waits for results, so a consumer that goes away for a minute would end nobody
meanwhile. For calls with something to be held there is a thread that wakes a few times a second and takes one turn of
the loop, without waiting in it, if nobody has taken one since it last looked. It starts when such a call opens and ends
by itself when there is none any more; no other pool has it.

Owner of the state: this class, under the loop's lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from orchestrator.local.loop import Loop

_LEAVE_S = 5.0
"""It is in a turn for a moment at most; this may run in a garbage collection, which must not wait forever."""
_MOMENT_S = 0.1
"""Nobody has to look after the workers for so long."""
_AHEAD_TICK_S = 0.005
"""The same, while chunks that are encoded ahead wait for credits, each of which takes longer than this."""


class Watched(NamedTuple):
    """What is to be held."""

    every_s: float | None
    """How often deadlines and memory are to be looked at; None: there are none."""
    ahead: bool
    """Whether chunks that are encoded ahead wait for credits."""


class Watchdog:
    """The thread of one loop, while it needs one."""

    def __init__(self, loop: Loop, watched: Callable[[], Watched | None]) -> None:
        """Take the loop, and what tells, under its lock, what is to be held; None: nothing any more."""
        self._loop = loop
        self._watched = watched
        self._turns_seen, self._seen_at = 0, 0.0
        """What it saw last, and when."""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def need(self) -> None:
        """Have a thread from now on. Under the lock."""
        if self._thread is None and not self._ended.is_set():
            self._thread = threading.Thread(target=self._run, name="orchestrator-standby", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Have none for good. Not under the lock, which the thread may be waiting for."""
        self._ended.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_LEAVE_S)

    def _run(self) -> None:
        while (wait_s := self._poll()) is not None:
            if self._ended.wait(wait_s):
                return

    def _poll(self) -> float | None:
        """Take a turn if nobody has for a while; return when to look again, None: there is nothing to be held."""
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
            away = ahead and stands and not loop.is_driven
            still = every_s is not None and now - self._seen_at >= max(every_s, _MOMENT_S)
            if away or still:  # a driver, if there is one, stands still
                loop.take_turn()
                if still:
                    self._seen_at = now
            self._turns_seen = loop.turns
            watched = self._watched()
            wait_s = _AHEAD_TICK_S if watched and watched.ahead else _MOMENT_S
            return wait_s if every_s is None or (watched and watched.ahead) else max(every_s, _MOMENT_S)
