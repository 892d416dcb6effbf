"""The thread that reacts, in one process, to what other processes do with a resource pool.

It wakes waiters whose turn was granted by another process, gives up idle resources that other processes wait for,
closes resources that were idle too long, and notices deaths. It sleeps in one `poll`: on its wake-up socket, on a pidfd
for each process that it watches, and until the next idle resource expires.

Owner of the state: this thread. It refers to the pool only while it works, so an unused pool can be collected.
"""

from __future__ import annotations

import os
import select
import threading
import weakref
from contextlib import suppress
from typing import NamedTuple, Protocol

from workers.resources.slot_table import SlotTable

POLL_S = 0.05
"""How often it polls for deaths where there is no pidfd (an old kernel, no descriptors left)."""
_POLL_FAILS_ABOVE_MS = 2**31 - 1


class NextWait(NamedTuple):
    """The next wait of the thread."""

    watched: dict[int, int]
    """Pid by party."""
    timeout_s: float | None


class Owner(Protocol):
    """The pool's interface for the thread."""

    def serve(self, *, deaths: bool) -> NextWait | None:
        """Do what is due, and return None once this process no longer uses the pool."""


class WakeupThread:
    """The wake-up thread of a process.

    Starts at once, and ends when `serve` returns None or the pool has been collected.
    """

    def __init__(self, owner: Owner, slots: SlotTable) -> None:
        self._owner = weakref.ref(owner)
        self._slots = slots
        self._wakeup = slots.wakeup()
        self._pidfds: dict[tuple[int, int], int] = {}
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for its end, but return at once when called by this thread itself."""
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def forget(self) -> None:
        """Close the descriptors that a forked child has inherited."""
        self._drop(list(self._pidfds))

    def _run(self) -> None:
        deaths = False
        try:
            while (owner := self._owner()) is not None:
                next_wait = owner.serve(deaths=deaths)
                del owner
                if next_wait is None:
                    break
                deaths = self._sleep(next_wait)
        finally:
            self._drop(list(self._pidfds))

    def _sleep(self, next_wait: NextWait) -> bool:
        """Sleep until there is something to do, and return whether a process may have died."""
        wanted = set(next_wait.watched.items())
        self._drop([watched for watched in self._pidfds if watched not in wanted])
        for party, pid in wanted - self._pidfds.keys():
            with suppress(OSError, AttributeError):
                self._pidfds[party, pid] = os.pidfd_open(pid)
        if not self._slots.still_alive(next_wait.watched):  # a pid may have been reused before its pidfd was opened
            return True
        blind = len(self._pidfds) < len(wanted)
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        for fd in self._pidfds.values():
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(_milliseconds(next_wait.timeout_s, blind=blind))}
        with suppress(BlockingIOError):
            while self._wakeup.recv(1):
                pass
        return blind or bool(ready & set(self._pidfds.values()))

    def _drop(self, watched: list[tuple[int, int]]) -> None:
        for one in watched:
            os.close(self._pidfds.pop(one))


def _milliseconds(timeout_s: float | None, *, blind: bool) -> int | None:
    if blind:
        timeout_s = POLL_S if timeout_s is None else min(timeout_s, POLL_S)
    return None if timeout_s is None else min(int(timeout_s * 1000) + 1, _POLL_FAILS_ABOVE_MS)
