"""Who has what of a resource pool in this process: resources that are out, that lie idle, threads that wait.

Owner of the state: all threads of this process, under `_lock`; the mutex of the places, which all processes share, is
taken inside it, never the other way round. No code of the user runs here. A forked child gets a desk of its own.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workers.resources.handles import CLOSED, NOTHING, Idle, Loan, ResourceStats, Waiter
from workers.resources.slot_table import DRAINED, HELD, IDLE, WAITING, Places


class Desk:
    """The state, and the steps that change it; each is done whole before another thread or process sees it."""

    def __init__(self, places: Places, idle_s: float | None) -> None:
        self.places = places
        self.pid = os.getpid()
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self.idle: list[Idle] = []
        """The one that was given back last is at the end, and is taken first; so the others age."""
        self.out: dict[int, Loan | None] = {}
        """By claim; None: its resource is being created, checked or closed."""
        self._waiters: dict[int, Waiter] = {}
        self._timer_set = False
        self._done: Counter[str] = Counter()

    @contextmanager
    def settled(self) -> Iterator[Places]:
        """Hold both locks; those of this process who were given a place meanwhile are woken."""
        with self._lock, self.places.settled():
            yield self.places
            for claim in self.places.granted():
                self._end_wait(claim, NOTHING)

    def count(self, what: str) -> None:
        """Note that something was done."""
        with self._lock:
            self._done[what] += 1

    def stats(self) -> ResourceStats:
        """Return what there is."""
        with self.settled() as places:
            return ResourceStats(
                limit=places.limit,
                in_use=len(self.out),
                idle=len(self.idle),
                waiting=len(self._waiters),
                taken_everywhere=places.taken(),
                waiting_everywhere=places.waiting(),
                **{what: self._done[what] for what in ("created", "reused", "discarded", "timeouts")},
            )

    @property
    def busy(self) -> bool:
        """Whether anybody here has a resource, or waits."""
        return bool(self.out or self._waiters)

    # -- getting one ---------------------------------------------------------------------------------------------

    def reserve(self, *, may_wait: bool) -> tuple[int, Any] | Waiter | None:
        """Return a claim to a place with an idle resource or `NOTHING` in it, or else a waiter, or None."""
        with self.settled() as places:
            if places.closed:
                waiter = Waiter(-1)
                waiter.tell(CLOSED)
                return waiter
            if self.idle and not places.waiting():
                claim, resource, _ = self.idle.pop()
                places.mark(claim, HELD)
                self.out[claim] = None
                return claim, resource
            taken = places.take()
            if taken is not None:
                self.out[taken] = None
                return taken, NOTHING
            if not may_wait:
                self._done["timeouts"] += 1
                return None
            return self._enlist(places.queue())

    def _enlist(self, claim: int) -> Waiter:
        waiter = self._waiters[claim] = Waiter(claim)
        return waiter

    def unqueue(self, waiter: Waiter) -> bool:
        """Take a waiter out of the queue, unless its wait has ended a moment ago."""
        claim = waiter.claim
        with self.settled() as places:
            if claim not in self._waiters:
                return False
            if places.state(claim) in {HELD, DRAINED}:  # granted elsewhere, and the porter has not told yet
                self._end_wait(claim, NOTHING)
                return False
            del self._waiters[claim]
            places.leave(claim)
            self._done["timeouts"] += 1
            return True

    def lend(self, loan: Loan) -> None:
        """Note that a resource is out."""
        with self._lock:
            self.out[loan.claim] = loan

    def loan_of(self, resource: Any) -> Loan | None:
        """Return the loan of a resource that is out here."""
        with self._lock:
            return next((loan for loan in self.out.values() if loan and loan.resource is resource), None)

    def _end_wait(self, claim: int, outcome: Any) -> None:
        """Tell a thread of this process; under both locks."""
        waiter = self._waiters.pop(claim, None)
        if waiter is not None:
            state = self.places.state(claim)
            if state == HELD:
                self.out[claim] = None
            elif state == DRAINED:
                self.places.leave(claim)
            waiter.tell(outcome)

    # -- giving it back ------------------------------------------------------------------------------------------

    def take_in(self, claim: int, resource: Any) -> bool:
        """Hand a resource to the next one, or keep it; False: it has to be closed, and the place freed then."""
        with self.settled() as places:
            first = places.first()
            if places.closed or (first is not None and first not in self._waiters):
                return False
            del self.out[claim]
            if first is not None:
                places.hand_on(claim, first)
                self._end_wait(first, resource)
                return True
            places.mark(claim, IDLE)
            self.idle.append(Idle(claim, resource, time.monotonic()))
            if self._idle_s is not None and not self._timer_set:
                places.wake()
            return True

    def free(self, claim: int) -> None:
        """Give a place back whose resource exists no more."""
        with self.settled() as places:
            self.out.pop(claim, None)
            places.free(claim)
            if places.closed:
                places.wake()  # the porter goes when the last is back

    # -- the end -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the pool for all processes."""
        with self.settled() as places:
            if not places.closed:
                places.close()

    def wait_for_end(self) -> Waiter:
        """Return a waiter that is told when no place is taken any more in a closed pool."""
        with self.settled() as places:
            places.bury()
            return self._enlist(places.queue_for_end())

    # -- for the porter ------------------------------------------------------------------------------------------

    def hear(self, *, deaths: bool) -> list[Idle]:
        """End the waits that ended elsewhere; return the idle resources that have to be closed, and their places freed.

        These are all, if the pool is closed; those that others wait for; those too long idle.
        """
        with self.settled() as places:
            if deaths:
                places.bury()
            for claim in [claim for claim in self._waiters if places.state(claim) in {HELD, DRAINED}]:
                self._end_wait(claim, NOTHING)
            if places.closed:
                self._turn_away()
            surplus = self._surplus()
            for one in surplus:
                places.mark(one.claim, HELD)
                self.out[one.claim] = None
            return surplus

    def _turn_away(self) -> None:
        """End the wait of all, the pool being closed; those who wait for just that go on waiting."""
        for claim in [claim for claim in self._waiters if self.places.state(claim) == WAITING]:
            self.places.leave(claim)
            self._end_wait(claim, CLOSED)

    def _surplus(self) -> list[Idle]:
        places = self.places
        while self.idle and not places.closed and (first := places.first()) in self._waiters and first is not None:
            one = self.idle.pop()
            places.hand_on(one.claim, first)
            self._end_wait(first, one.resource)
        count = len(self.idle) if places.closed else min(len(self.idle), places.waiting())
        if self._idle_s is not None:
            expired = time.monotonic() - self._idle_s
            count = max(count, sum(one.since_s <= expired for one in self.idle))
        surplus, self.idle = self.idle[:count], self.idle[count:]
        return surplus

    def next_look_s(self) -> float | None:
        """Return in how many seconds an idle resource will have been so for too long; under both locks."""
        self._timer_set = bool(self.idle) and self._idle_s is not None
        if not self.idle or self._idle_s is None:
            return None
        return max(0.0, self.idle[0].since_s + self._idle_s - time.monotonic())
