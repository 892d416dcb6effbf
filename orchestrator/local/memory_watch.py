"""Watches the memory of the workers and the machine, and does what the policy says.

A look reads one small file a worker, and takes at most a hundredth of the time: the more workers, the rarer.

Owner: the coordinator, under its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING

from orchestrator.engine.core.memory_policy import MemoryAction, MemoryJudge, WorkerMemory
from orchestrator.engine.protocol.events import Ended
from orchestrator.errors import WorkerStartError
from orchestrator.local.transport.lane import Lane, LaneState
from orchestrator.machine.memory import SystemMemory, own_bytes

if TYPE_CHECKING:
    from orchestrator.engine.core.ledger import Ledger
    from orchestrator.settings import PoolSettings

_TICK_S = 0.25
_SHARE = 100
"""After a look that took a second, the next comes 100 s later."""


class MemoryWatch:
    """Enforces the memory limits of one pool."""

    def __init__(
        self,
        settings: PoolSettings,
        ledger: Ledger,
        *,
        retire: Callable[[Lane], object],
        end: Callable[[Lane, Ended], None],
        broke: Callable[[WorkerStartError], None],
    ) -> None:
        """Take the limits, and who enforces them."""
        self._limit = settings.memory_limit
        self._judge = MemoryJudge(self._limit, settings.memfree)
        self._memory = (settings.memory or SystemMemory()) if settings.memfree is not None else None
        self._ledger = ledger
        self._retire, self._end, self._broke = retire, end, broke
        self._at = 0.0
        self.every_s = None if self._limit is None and self._memory is None else _TICK_S
        """How often to look; None: there are no limits."""

    @property
    def short(self) -> bool:
        """Whether memory is so short that nothing may be sent while anything runs."""
        return self._judge.short

    def poll(self, lanes: Iterable[Lane]) -> None:
        """Do what is needed, if it is time to look."""
        started = monotonic()
        if self.every_s is None or started < self._at:
            return
        of_key = {lane.key: lane for lane in lanes}
        available = None if self._memory is None else self._memory.available_bytes()
        workers = [self._memory_of(lane) for lane in of_key.values()]
        held = {each.key: each.own_bytes for each in workers}
        for key, action in self._judge.judge(workers, available):
            self._do(of_key[key], action, held[key], available or 0)
        ended = monotonic()
        self._at = max(started + 0.8 * _TICK_S, ended + _SHARE * (ended - started))

    def is_ready(self, lane: Lane) -> None:
        """Check a worker that is ready: if it is above its limit already, no worker could do better."""
        if self._limit is not None and (own := own_bytes(lane.pid)) > self._limit:
            self._do(lane, MemoryAction.GIVE_UP_POOL, own, 0)

    def _memory_of(self, lane: Lane) -> WorkerMemory:
        first = self._ledger.first_of(lane.key)
        own = 0 if self._limit is None else own_bytes(lane.pid)
        starting = lane.state is LaneState.STARTING
        going, in_step = lane.ended is not None, first is not None and first.in_step
        return WorkerMemory(lane.key, own, None if first is None else first.ident, starting, going, in_step)

    def _do(self, lane: Lane, action: MemoryAction, own: int, available: int) -> None:
        if action is MemoryAction.RETIRE:
            self._retire(lane)
        elif action is MemoryAction.END:
            self._end(lane, Ended("memory", -1, None, own, allowed=self._limit or 0))
        elif action is MemoryAction.END_LATER_AGAIN:
            self._end(lane, Ended("pressure", -1, None, available))
        else:
            self._broke(
                WorkerStartError(
                    f"a worker (pid {lane.pid}) uses {own / 2**20:,.0f} MiB before it has run anything, more than "
                    f"memory_limit allows ({(self._limit or 0) / 2**20:,.0f} MiB), so no worker could run. Raise the "
                    "limit, or check what the initializer and the imports at startup load"
                )
            )
