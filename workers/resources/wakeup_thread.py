"""The thread that answers the bell for a resource pool in one process.

It wakes those whose turn has come from elsewhere, gives idle resources up when other processes wait, closes those that
were idle too long, and notices deaths. It sleeps in one `poll`: its bell, a pidfd for each process that it watches, and
the time of the next idle resource to be closed.

Owner of the state: this thread. It holds the pool only while it works, so that a pool nobody has any more can go.
"""

from __future__ import annotations

import os
import select
import threading
import weakref
from contextlib import suppress
from typing import NamedTuple, Protocol

from workers.resources.slot_table import Places

LOOK_S = 0.05
"""How often it looks for deaths where the kernel can't tell of them (no pidfd: an old kernel, no descriptors left)."""
_POLL_FAILS_ABOVE_MS = 2**31 - 1


class Errand(NamedTuple):
    """What to wait for next."""

    watched: dict[int, int]
    """Pid by party."""
    timeout_s: float | None


class House(Protocol):
    """What the porter knows of its pool."""

    def attend(self, *, deaths: bool) -> Errand | None:
        """Do all that there is to be done; None: this process has nothing to do with the pool any more."""


class Porter:
    """The thread; it starts at once and ends when the pool says so, or is gone."""

    def __init__(self, house: House, places: Places) -> None:
        self._house = weakref.ref(house)
        self._places = places
        self._bell = places.bell()
        self._pidfds: dict[tuple[int, int], int] = {}
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for its end, unless it is the porter that asks."""
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def forget(self) -> None:
        """Drop what a forked child has of its parent's porter."""
        self._drop(list(self._pidfds))

    def _run(self) -> None:
        deaths = False
        try:
            while (house := self._house()) is not None:
                errand = house.attend(deaths=deaths)
                del house
                if errand is None:
                    break
                deaths = self._sleep(errand)
        finally:
            self._drop(list(self._pidfds))

    def _sleep(self, errand: Errand) -> bool:
        """Return when there is something to do; whether somebody died, or may have."""
        wanted = set(errand.watched.items())
        self._drop([watched for watched in self._pidfds if watched not in wanted])
        for party, pid in wanted - self._pidfds.keys():
            with suppress(OSError, AttributeError):
                self._pidfds[party, pid] = os.pidfd_open(pid)
        if not self._places.are_still(errand.watched):  # only now is it sure that each pidfd is the right process's
            return True
        blind = len(self._pidfds) < len(wanted)
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        for fd in self._pidfds.values():
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(_milliseconds(errand.timeout_s, blind=blind))}
        with suppress(BlockingIOError):
            while self._bell.recv(1):
                pass
        return blind or bool(ready & set(self._pidfds.values()))

    def _drop(self, watched: list[tuple[int, int]]) -> None:
        for one in watched:
            os.close(self._pidfds.pop(one))


def _milliseconds(timeout_s: float | None, *, blind: bool) -> int | None:
    if blind:
        timeout_s = LOOK_S if timeout_s is None else min(timeout_s, LOOK_S)
    return None if timeout_s is None else min(int(timeout_s * 1000) + 1, _POLL_FAILS_ABOVE_MS)
