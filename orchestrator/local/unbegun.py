"""Takes back what workers have not begun, so that others may run it.

    a lane holds:   running | not begun, not begun, ...      -- the worker skips these, the ledger has them again
                    of the running one: items not begun      -- the worker is asked to return them

A worker that is slow, leaves or is to stop must not keep what others could begin. What it has begun is never taken
away. Owner of the state: the coordinator, under its lock; each lane notes what was taken from it.
"""

from __future__ import annotations

import contextlib
import os
from itertools import takewhile
from time import monotonic_ns
from typing import TYPE_CHECKING

from orchestrator.local.transport.lane import Lane, LaneState
from workers.transport import watch
from workers.transport.lane import SIGNAL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.engine.core.credits import Credits
    from orchestrator.local.transport.in_flight import InFlight

LATE_S = 0.005
"""Chunks that wait behind an item that runs longer than this go to an idle worker."""


class Unbegun:
    """The chunks that lanes hold and workers have not begun."""

    def __init__(self, in_flight: InFlight, free: Credits) -> None:
        """Take the chunks that lanes hold, and the credits, of which a chunk that is taken back returns one."""
        self._in_flight = in_flight
        self._ledger = in_flight.ledger
        self._credits = free

    def take_back(self, lane: Lane) -> None:
        """Take from a worker what it has not begun, so that others may run it.

        Not its part of a step of all workers, nor what carries large buffers: these are in the memory of its lane only.
        """
        held = self._ledger.list_of(lane.key)
        last = watch.read_slot(lane.slot).last
        free = takewhile(lambda chunk: chunk.ident > last and not chunk.in_step and chunk.encoded, reversed(held))
        spare = list(reversed(list(free)))
        stays = held[: len(held) - len(spare)]
        if not spare or (lane.taken_back and stays and stays[-1].ident > last):  # it may still skip what is between
            return
        begun = watch.take_back(lane.slot, spare[0].ident, spare[-1].ident + 1)
        for chunk in spare:
            if chunk.ident > begun:
                lane.taken_back.add(chunk.ident)
                self._give_back(lane, chunk.ident)

    def returned(self, lane: Lane, ident: int) -> bool:
        """Handle a worker's report that it skipped a chunk, and return whether it was held until now."""
        if ident in lane.taken_back:
            lane.taken_back.discard(ident)
            return False
        self._give_back(lane, ident)
        return True

    def _give_back(self, lane: Lane, ident: int) -> None:
        self._in_flight.give_back(lane, ident)
        if lane.active:
            self._credits.give_back(lane.worker_id)

    def take_back_late(self, lanes: Iterable[Lane], *, splits: bool) -> float | None:
        """Take back what waits behind something long while a worker is idle.

        Args:
            lanes: of the workers that have a place.
            splits: whether also what is not begun of a chunk that runs: its consumer is there to send it again.

        Returns:
            The seconds until something may be late, 0 if something was, None: nothing will be, as things are.
        """
        if not self._credits.idle:
            return None
        soonest: float | None = None
        for lane in lanes:
            held = self._ledger.held_by(lane.key)
            if not held:
                continue
            splittable = splits and self._at_several(lane) is not None
            if held > 1 or splittable or lane.state is LaneState.STARTING:
                left_s = LATE_S - (monotonic_ns() - lane.moved_ns) / 1e9
                if left_s <= 0 and splittable:
                    self._ask_back(lane)
                if left_s <= 0 and self._relieve(lane):
                    return 0.0
                if left_s > 0:
                    soonest = left_s if soonest is None else min(soonest, left_s)
        return soonest

    def _at_several(self, lane: Lane) -> int | None:
        """Return the chunk of a worker that has items for others, or results to write.

        None if it was asked already.
        """
        glance = watch.read_slot(lane.slot)
        chunk = self._ledger.of(lane.key, glance.last) if glance.at_work else None
        if chunk is None or glance.last == lane.asked_at or chunk.in_step:
            return None
        first = self._ledger.first_of(lane.key)
        return glance.last if len(chunk.items) > 1 or first is not chunk else None

    def _ask_back(self, lane: Lane) -> None:
        """Ask a worker to write finished results, and return what it has not begun of its chunk."""
        ident = self._at_several(lane)
        if ident is not None:
            lane.asked_at = ident
            with contextlib.suppress(ProcessLookupError):
                os.kill(lane.pid, SIGNAL)

    def _relieve(self, lane: Lane) -> bool:
        """Take back what waits in a lane, keep it free, and return whether there was anything."""
        held = self._ledger.held_by(lane.key)
        self.take_back(lane)
        left = self._ledger.held_by(lane.key)
        if left:
            self._credits.reserve(lane.worker_id)
        return left < held
