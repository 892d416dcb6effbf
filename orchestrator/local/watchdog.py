"""Somebody looks after the workers while nobody waits for results: deadlines and memory limits hold then, too.

The loop runs in the thread of whoever waits for results, so a consumer that goes away for a minute would end nobody
meanwhile. For calls with something to be held there is a thread that wakes a few times a second and takes one turn of
the loop, without waiting in it, if nobody has taken one since it last looked. It starts when such a call opens and ends
by itself when there is none any more; no other pool has it.

Owner of the state: the coordinator, under its lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

_LEAVE_S = 5.0
"""It is in a turn for a moment at most; this may run in a garbage collection, which must not wait for ever."""


class Standby:
    """The thread of one coordinator, while it needs one."""

    def __init__(self, look: Callable[[], float | None]) -> None:
        """Take what is called again and again: it returns the seconds until the next time, None if that was the last.

        It takes the coordinator's lock itself, and calls `left` under it when it returns None.
        """
        self._look = look
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def need(self) -> None:
        """Have a thread from now on. Under the lock."""
        if self._thread is None and not self._ended.is_set():
            self._thread = threading.Thread(target=self._run, name="orchestrator-standby", daemon=True)
            self._thread.start()

    def left(self) -> None:
        """Have none any more: the next need starts another. Under the lock."""
        self._thread = None

    def end(self) -> None:
        """Have none for good. Not under the lock, which the thread may be waiting for."""
        self._ended.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_LEAVE_S)

    def _run(self) -> None:
        while (wait_s := self._look()) is not None:
            if self._ended.wait(wait_s):
                return
