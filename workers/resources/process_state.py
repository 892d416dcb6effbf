"""One process's part of a resource pool: resources in use, idle resources, waiting threads.

Owner of the state: all threads of this process, under `_lock`. The mutex of the slot table, which all processes share,
is taken inside it, never the other way round. No user code runs here. A forked child gets a `ProcessState` of its own.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workers.resources.handles import CLOSED, NOTHING, Handle, Idle, ResourceStats, Waiter
from workers.resources.slot_table import DRAINED, HELD, IDLE, WAITING, SlotTable
from workers.sync.own_lock import OwnLock


class ProcessState:
    """The state and its transitions.

    Each transition is complete before another thread or process sees it.
    """

    def __init__(self, slots: SlotTable, idle_s: float | None) -> None:
        self.slots = slots
        self.pid = os.getpid()
        self._idle_s = idle_s
        self._lock = OwnLock()
        self.idle: list[Idle] = []
        """A stack: the resource returned last is reused first, so that the others can expire."""
        self.out: dict[int, Handle | None] = {}
        """By claim; None: its resource is being created, checked or closed."""
        self._waiters: dict[int, Waiter] = {}
        self._timer_set = False
        self._done: Counter[str] = Counter()

    @contextmanager
    def locked(self) -> Iterator[SlotTable]:
        """Hold both locks, then wake the threads of this process that were granted a slot meanwhile."""
        with self._lock, self.slots.locked():
            yield self.slots
            for claim in self.slots.granted():
                self._end_wait(claim, NOTHING)

    def count(self, what: str) -> None:
        """Count an event."""
        with self._lock:
            self._done[what] += 1

    def stats(self) -> ResourceStats:
        """Return the pool's present state."""
        with self.locked() as slots:
            return ResourceStats(
                limit=slots.limit,
                in_use=len(self.out),
                idle=len(self.idle),
                waiting=len(self._waiters),
                taken_everywhere=slots.taken(),
                waiting_everywhere=slots.waiting(),
                **{what: self._done[what] for what in ("created", "reused", "discarded", "timeouts")},
            )

    @property
    def busy(self) -> bool:
        """Whether a thread of this process has a resource or waits for one."""
        return bool(self.out or self._waiters)

    # -- acquire ------------------------------------------------------------------------------------------------------

    def reserve(self, *, may_wait: bool) -> tuple[int, Any] | Waiter | None:
        """Return a claim and its idle resource (or `NOTHING`), else a waiter, else None if it may not wait."""
        with self.locked() as slots:
            if slots.closed:
                waiter = Waiter(-1)
                waiter.tell(CLOSED)
                return waiter
            if self.idle and not slots.waiting():
                claim, resource, _ = self.idle.pop()
                slots.mark(claim, HELD)
                self.out[claim] = None
                return claim, resource
            taken = slots.take()
            if taken is not None:
                self.out[taken] = None
                return taken, NOTHING
            if not may_wait:
                self._done["timeouts"] += 1
                return None
            return self._enlist(slots.queue())

    def _enlist(self, claim: int) -> Waiter:
        waiter = self._waiters[claim] = Waiter(claim)
        return waiter

    def unqueue(self, waiter: Waiter) -> bool:
        """Remove a waiter from the queue, and return False if its wait has just ended."""
        claim = waiter.claim
        with self.locked() as slots:
            if claim not in self._waiters:
                return False
            if slots.state(claim) in {HELD, DRAINED}:  # granted by another process, not seen yet
                self._end_wait(claim, NOTHING)
                return False
            del self._waiters[claim]
            slots.leave(claim)
            self._done["timeouts"] += 1
            return True

    def hand_out(self, handle: Handle) -> None:
        """Enter a resource as in use."""
        with self._lock:
            self.out[handle.claim] = handle

    def handle_of(self, resource: Any) -> Handle | None:
        """Return the handle of a resource in use in this process."""
        with self._lock:
            return next((handle for handle in self.out.values() if handle and handle.resource is resource), None)

    def _end_wait(self, claim: int, outcome: Any) -> None:
        """End the wait of a thread of this process.

        Call it under both locks.
        """
        waiter = self._waiters.pop(claim, None)
        if waiter is not None:
            state = self.slots.state(claim)
            if state == HELD:
                self.out[claim] = None
            elif state == DRAINED:
                self.slots.leave(claim)
            waiter.tell(outcome)

    # -- release ------------------------------------------------------------------------------------------------------

    def take_in(self, claim: int, resource: Any) -> bool:
        """Pass the resource to the next waiter here, or keep it idle.

        Returns False if it must be closed instead.
        """
        with self.locked() as slots:
            first = slots.first()
            if slots.closed or (first is not None and first not in self._waiters):
                return False
            del self.out[claim]
            if first is not None:
                slots.hand_on(claim, first)
                self._end_wait(first, resource)
                return True
            slots.mark(claim, IDLE)
            self.idle.append(Idle(claim, resource, time.monotonic()))
            if self._idle_s is not None and not self._timer_set:
                slots.wake()
            return True

    def free(self, claim: int) -> None:
        """Free the slot of a resource that no longer exists."""
        with self.locked() as slots:
            self.out.pop(claim, None)
            slots.free(claim)
            if slots.closed:
                slots.wake()  # the wake-up thread ends with the last resource

    # -- closing ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the pool for all processes."""
        with self.locked() as slots:
            if not slots.closed:
                slots.close()

    def wait_for_end(self) -> Waiter:
        """Return a waiter that ends when the pool is closed and no slot is taken."""
        with self.locked() as slots:
            slots.reap()
            return self._enlist(slots.queue_for_end())

    # -- for the wake-up thread ---------------------------------------------------------------------------------------

    def take_news(self, *, deaths: bool) -> list[Idle]:
        """End waits that other processes have granted, and return the idle resources to close.

        These are all, if the pool is closed; those that others wait for; those too long idle.
        """
        with self.locked() as slots:
            if deaths:
                slots.reap()
            for claim in [claim for claim in self._waiters if slots.state(claim) in {HELD, DRAINED}]:
                self._end_wait(claim, NOTHING)
            if slots.closed:
                self._turn_away()
            surplus = self._surplus()
            for one in surplus:
                slots.mark(one.claim, HELD)
                self.out[one.claim] = None
            return surplus

    def _turn_away(self) -> None:
        """End all waits for a resource of a closed pool.

        Waits for its end continue.
        """
        for claim in [claim for claim in self._waiters if self.slots.state(claim) == WAITING]:
            self.slots.leave(claim)
            self._end_wait(claim, CLOSED)

    def _surplus(self) -> list[Idle]:
        slots = self.slots
        while self.idle and not slots.closed and (first := slots.first()) in self._waiters and first is not None:
            one = self.idle.pop()
            slots.hand_on(one.claim, first)
            self._end_wait(first, one.resource)
        count = len(self.idle) if slots.closed else min(len(self.idle), slots.waiting())
        if self._idle_s is not None:
            expired = time.monotonic() - self._idle_s
            count = max(count, sum(one.since_s <= expired for one in self.idle))
        surplus, self.idle = self.idle[:count], self.idle[count:]
        return surplus

    def next_expiry_s(self) -> float | None:
        """Return the seconds until the next idle resource expires, or None.

        Call it under both locks.
        """
        self._timer_set = bool(self.idle) and self._idle_s is not None
        if not self.idle or self._idle_s is None:
            return None
        return max(0.0, self.idle[0].since_s + self._idle_s - time.monotonic())
