"""Enforces the deadlines of items: kills workers whose item takes too long, or that stand still.

What a worker is at, and since when, it writes into its slot (`workers/transport/watch.py`), so looking costs it
nothing.

Owner: the coordinator, under its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic_ns
from typing import TYPE_CHECKING

from orchestrator.engine.protocol.events import Ended
from orchestrator.local.transport.lane import Lane, LaneState
from workers.transport import watch

if TYPE_CHECKING:
    from orchestrator.engine.core.ledger import Ledger
    from orchestrator.local.transport.calls import Calls

_TICKS_A_TIMEOUT = 8
_SHORTEST_TICK_S = 0.01
_LONGEST_TICK_S = 0.5
_STILL_S = 2.0
"""A worker that holds a watched chunk and is at nothing is called stopped after so long, and the timeout."""
_BETWEEN_S = 30.0
"""How long reading a block of records, or joining its results, may take beyond a record's timeout."""
_LOADING_S = 300.0
"""The same, of one that loads a function: what its module imports may take its time."""
_PAUSES_KEPT = 16


class Deadlines:
    """Enforces the deadlines of the workers' items."""

    def __init__(self, ledger: Ledger, calls: Calls, end: Callable[[Lane, Ended], None]) -> None:
        self._ledger = ledger
        self._calls = calls
        self._end = end
        self._pauses: list[tuple[int, int]] = []
        """When this process and its workers were stopped (Ctrl-Z), and for how long, in nanoseconds."""
        self.missed = 0
        """Items that timed out so far."""

    @property
    def every_s(self) -> float | None:
        """How often to look, or None if no open call has a timeout."""
        timeout_s = self._calls.shortest_timeout_s
        if timeout_s is None:
            return None
        return min(max(timeout_s / _TICKS_A_TIMEOUT, _SHORTEST_TICK_S), _LONGEST_TICK_S)

    def suspended(self, began_ns: int, length_ns: int) -> None:
        """Don't count a time in which everything was stopped.

        Takes no lock.
        """
        self._pauses = [*self._pauses[-_PAUSES_KEPT:], (began_ns, length_ns)]

    def _run_ns(self, since_ns: int) -> int:
        """Return how long something that began at `since_ns` has run."""
        paused_ns = sum(length_ns for began_ns, length_ns in self._pauses if began_ns >= since_ns)
        return monotonic_ns() - since_ns - paused_ns

    def poll(self, lanes: Iterable[Lane]) -> None:
        """Kill the workers that take too long."""
        for lane in lanes:
            self._judge(lane)

    def _judge(self, lane: Lane) -> None:
        first = self._ledger.first_of(lane.key)
        if first is None or lane.state is LaneState.STARTING or lane.ended is not None:
            return
        reading = watch.read_slot(lane.slot)
        chunk = self._ledger.of(lane.key, reading.ident)
        if chunk is None:
            limit_s = self._calls.timeout_s(first.call)
            patience_s = _LOADING_S if reading.loads else _STILL_S
            still_ns = self._run_ns(max(lane.moved_ns, reading.since_ns))
            if limit_s is not None and still_ns > (limit_s + patience_s) * 1e9:
                self._end(lane, Ended("stopped", -1, None, limit_s))
            return
        limit_s = self._calls.timeout_s(chunk.call)
        patience_s = _BETWEEN_S if reading.between else 0.0
        if limit_s is None or self._run_ns(reading.since_ns) <= (limit_s + patience_s) * 1e9:
            return
        if watch.read_slot(lane.slot) == reading:
            self.missed += 1
            self._end(lane, Ended("timeout", chunk.ident, reading.position, limit_s, reading.record))
