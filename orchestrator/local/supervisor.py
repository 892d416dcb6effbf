"""Starts, replaces, retires and kills workers.

    start -> STARTING -> READY -> (retired: no more credit, finishes what it has) -> STOPPING -> gone
                           |                                                                      ^
                           +---- killed, for a reason that is kept: a deadline, memory -----------+  or dies by itself

The next worker of a place is started when the one before it retires, so that its start costs nobody any time, but is
given nothing before that one has finished: `crew.py` decides who may begin anything. Sentinels tell of deaths in the
coordinator's one wait; deadlines and memory are looked at in a tick.

Owner of the state: the coordinator, under its lock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from time import monotonic, monotonic_ns
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.engine.core.blame import shares
from orchestrator.engine.core.crew import Crew, Standing
from orchestrator.engine.protocol.events import Ended, Lost
from orchestrator.errors import OrchestratorError, WorkerStartError, describe_exit
from orchestrator.local.deadlines import Deadlines
from orchestrator.local.memory_watch import MemoryWatch
from orchestrator.local.process_tree import end_group, end_with_children
from orchestrator.local.transport import worker_process
from orchestrator.local.transport.lane import Lane, LaneSettings, LaneState
from orchestrator.local.unbegun import Unbegun
from orchestrator.settings import PoolSettings
from workers.transport import watch
from workers.transport.wire import Kind, pack

if TYPE_CHECKING:
    from orchestrator.engine.core.credits import Credits
    from orchestrator.engine.core.ledger import Chunk
    from orchestrator.local.transport.in_flight import InFlight
    from orchestrator.local.transport.lane_io import LaneIO

_EARLY_DEATHS_MIN = 3
_LEAVING_S = 30.0
"""A worker that takes longer to leave is ended if the next one can't be started before it has gone."""


class Death(NamedTuple):
    """The outcome of the end of a worker."""

    lost: list[Lost]
    """The chunks that it held."""
    fatal: OrchestratorError | None
    """Why the pool can't continue; None: it can."""


class Supervisor:
    """Keeps as many workers as are wanted.

    What may find that the pool can't continue returns why, or None.
    """

    def __init__(
        self,
        settings: PoolSettings,
        lane_settings: LaneSettings,
        in_flight: InFlight,
        free: Credits,
        io: LaneIO,
        *,
        may_start: Callable[[], bool] | None = None,
    ) -> None:
        """Start without a worker.

        Args:
            settings: of the pool.
            lane_settings: what every lane begins with.
            in_flight: the chunks that lanes hold.
            free: the credits, in which lanes are entered.
            io: reads and writes lanes.
            may_start: tells whether the present thread may start a worker; None: any may.
        """
        self._settings = settings
        self._lane_settings = lane_settings
        self._in_flight = in_flight
        self._ledger = in_flight.ledger
        self._credits = free
        self._unbegun = Unbegun(in_flight, free)
        self._io = io
        self._may_start = may_start
        self._owes = False
        """Whether workers are wanted that the thread which noticed it may not start."""
        self.crew = Crew(settings.workers, self._holds, self._steps)
        """Which workers may begin something."""
        self.lanes: dict[int, Lane] = {}
        """The workers that have a place, by id: that take chunks, or will when one that leaves has finished."""
        self.leaving: set[Lane] = set()
        """Those that finish what they have, and go."""
        self.deaths = 0
        self._early_deaths = 0
        self._last_words = ""
        """The stderr of the last worker that died early; it is kept only after the first ones."""
        self._next_key = 0
        self._of_key: dict[int, Lane] = {}
        self._deadlines = Deadlines(self._ledger, in_flight.calls, self._kill)
        self._memory = MemoryWatch(settings, self._ledger, retire=self.replace, end=self._kill, broke=self._is_hopeless)
        self._tick_at = 0.0
        self.closing = False
        self._fatal: OrchestratorError | None = None

    # ---- coming ---------------------------------------------------------------------------------------------------

    def fill(self) -> None:
        """Start workers until there are as many as are wanted.

        Raises:
            WorkerStartError: one can't be started.
        """
        try:
            for worker_id in self.crew.wanted():
                if self._may_start is not None and not self._may_start():
                    self._owes = True
                    break
                self._start(worker_id)
        except WorkerStartError:
            self.balance()
            raise
        self.balance()

    def start_owed(self) -> OrchestratorError | None:
        """Start the workers that another thread might not start.

        Returns why the pool can't continue, if it can't.
        """
        if not self._owes:
            return None
        self._owes = False
        return self._fill_or_break()

    def _start(self, worker_id: int) -> None:
        key = self._next_key
        slot = self._in_flight.calls.slot(key % watch.SLOTS)
        for word in range(watch.WORDS):
            slot[word] = 0
        try:
            worker_process.look_for_room()
            lane = Lane(worker_id, key, slot, self._lane_settings, hears_stderr=self._early_deaths > 0)
        except (OSError, EOFError) as error:
            slot.release()
            raise worker_process.cannot_start(worker_id, error) from error
        except BaseException:  # Ctrl-C in the middle of it
            slot.release()
            raise
        self._next_key += 1
        self.crew.joined(key, worker_id)
        self.lanes[worker_id] = lane
        self._of_key[key] = lane
        self._ledger.open_lane(key)
        self._add_credits(lane)
        self._io.add(lane)

    def ready(self, lane: Lane) -> OrchestratorError | None:
        """Handle a worker's READY."""
        if lane.state is LaneState.STARTING:
            lane.state = LaneState.READY
            self._memory.is_ready(lane)
        self._early_deaths = 0
        return self._fatal

    # ---- going ----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many workers are wanted."""
        return self.crew.size

    def resize(self, size: int) -> OrchestratorError | None:
        """Set the wanted number of workers: start missing ones, retire those with the highest ids."""
        for key in self.crew.resize(size):
            self._retire(self._of_key[key])
        for lane in list(self.leaving):
            self._unbegun.take_back(lane)
            self.let_go_if_done(lane)
        for lane in list(self.leaving):
            if not lane.spent and self.crew.take_back(lane.key):
                self._keep(lane)
        return self._fill_or_break()

    def _keep(self, lane: Lane) -> None:
        """Keep a worker that was to leave."""
        self.leaving.discard(lane)
        self.lanes[lane.worker_id] = lane
        lane.active = True
        self._add_credits(lane)

    def _add_credits(self, lane: Lane) -> None:
        """Add a lane to the rotation, as soon as it may begin anything."""
        held = self._ledger.list_of(lane.key)
        self._credits.add_lane(lane.worker_id, len(held), alone=any(chunk.alone for chunk in held))
        self._credits.suspend(lane.worker_id)

    def replace(self, lane: Lane) -> OrchestratorError | None:
        """Retire a worker: it finishes what it has, leaves, and is replaced."""
        if lane.active:
            lane.spent = True
            self._retire(lane)
            self._fill_or_break()
        return self._fatal

    def _retire(self, lane: Lane) -> None:
        del self.lanes[lane.worker_id]
        lane.active = False
        self.crew.retire(lane.key)
        self._credits.remove_lane(lane.worker_id)
        self.leaving.add(lane)
        if lane.gated:  # what it holds, if anything, is its part of a step of all workers, who wait for it
            lane.gated = False
            self._io.flush(lane)
        self.let_go_if_done(lane)

    def let_go_if_done(self, lane: Lane) -> None:
        """Tell a retiring worker to leave, once it holds nothing.

        One in which nothing has run is killed.
        """
        if lane.state in {LaneState.STOPPING, LaneState.DEAD} or self._ledger.held_by(lane.key):
            return
        untouched = lane.state is LaneState.STARTING and self._settings.initializer is None
        self.crew.leaves(lane.key)
        lane.stopping_s = monotonic()
        lane.state = LaneState.STOPPING
        if untouched:  # sizes that come and go would else cost a whole start each
            with contextlib.suppress(ProcessLookupError):
                lane.process.kill()
        else:
            lane.put([pack(Kind.STOP)])
            self._io.flush(lane)

    def finished(self, lane: Lane) -> None:
        """Let a worker leave, or others begin, as it has finished a chunk."""
        if not lane.active:
            self.let_go_if_done(lane)
        self.balance()

    def balance(self) -> None:
        """Allow as many workers to begin as may."""
        for key, standing in self.crew.balance():
            lane = self._of_key[key]
            if standing is Standing.ACTIVE:
                lane.gated = False
                self._credits.resume(lane.worker_id)
                self._io.flush(lane)
            else:
                lane.gated = standing is Standing.WAITING
                self._credits.suspend(lane.worker_id)
                self._unbegun.take_back(lane)

    def _holds(self, key: int) -> bool:
        return self._ledger.held_by(key) > 0

    def _steps(self, key: int) -> bool:
        first = self._ledger.first_of(key)
        return first is not None and first.in_step

    def count_sent(self, lane: Lane, items: int) -> OrchestratorError | None:
        """Count items given to a worker, and retire it if it has had its share."""
        lane.items_sent += items
        return self.replace(lane) if lane.items_sent >= (self._settings.items_per_worker or 0) else None

    def stop_all(self) -> None:
        """Make every worker finish what it has, run its finalizer and leave."""
        self.closing = True
        for lane in [*self.lanes.values(), *self.leaving]:
            if lane.state is not LaneState.STOPPING:
                lane.gated = False
                lane.state = LaneState.STOPPING
                lane.put([pack(Kind.STOP)])
                self._io.flush(lane)

    def end_all(self) -> None:
        """Kill every worker now."""
        self.closing = True
        end_with_children([lane.pid for lane in self.all])
        for lane in self.all:
            self._ledger.close_lane(lane.key)
            self._remove(lane)

    @property
    def all(self) -> list[Lane]:
        """All workers that still exist."""
        return [*self.lanes.values(), *self.leaving]

    # ---- deaths ---------------------------------------------------------------------------------------------------

    def settle_death(self, lane: Lane) -> Death:
        """Replace a worker whose sentinel fired, and whose lane is read to the end."""
        was_ready = lane.state is not LaneState.STARTING
        expected = lane.state is LaneState.STOPPING or lane.ended is not None
        reading = watch.read_slot(lane.slot)
        exitcode = self._remove(lane)
        chunks = self._ledger.close_lane(lane.key)
        if not expected and not self.closing:
            self.deaths += 1
            if not was_ready:
                self._died_early(lane, exitcode)
        lost = _lost(lane, chunks, exitcode, reading)
        return Death(lost, self._fill_or_break())

    def _died_early(self, lane: Lane, exitcode: int | None) -> None:
        self._early_deaths += 1
        self._last_words = said = lane.last_words() or self._last_words
        if self._early_deaths < max(_EARLY_DEATHS_MIN, self.size):
            return
        self._is_hopeless(
            WorkerStartError(
                f"{self._early_deaths} workers in a row died before they could run anything; the last one "
                f"(pid {lane.pid}) {describe_exit(exitcode)}. Check the initializer, the imports at startup and the "
                "free memory"
                + (f". The last stderr output of one of them:\n{said}" if said else "")
            )
        )

    def _is_hopeless(self, error: WorkerStartError) -> None:
        """Stop starting workers, as none could do any work."""
        self.crew.resize(0)
        self._fatal = self._fatal or error

    # ---- taking back ----------------------------------------------------------------------------------------------

    def holds(self, number: int) -> bool:
        """Whether workers hold chunks of a call."""
        return any(chunk.call == number for lane in self.all for chunk in self._ledger.list_of(lane.key))

    def call_off(self, number: int, item: object = None) -> None:
        """Take back a call's chunks, or the one of this item, and kill the workers that run one."""
        for lane in self.all:
            for chunk in self._ledger.list_of(lane.key):
                if chunk.call != number or lane.ended is not None or (item is not None and chunk.items[0] is not item):
                    continue
                reading = watch.read_slot(lane.slot)
                if reading.last < chunk.ident:
                    self._unbegun.take_back(lane)
                elif reading.last == chunk.ident and reading.at_work:
                    self._kill(lane, Ended("cancelled", chunk.ident, 0, 0.0))

    def returned(self, lane: Lane, ident: int) -> None:
        """Handle a worker's report that it skipped a chunk."""
        if self._unbegun.returned(lane, ident) and not self.crew.settled:
            self.finished(lane)

    def take_back_late(self, *, splits: bool) -> float | None:
        """Take back what waits behind something long while a worker is idle, as `Unbegun.take_back_late` does."""
        return None if self.closing else self._unbegun.take_back_late(self.lanes.values(), splits=splits)

    def _remove(self, lane: Lane) -> int | None:
        self._io.remove(lane)
        if self.lanes.get(lane.worker_id) is lane:
            self._credits.remove_lane(lane.worker_id)
            del self.lanes[lane.worker_id]
        self.leaving.discard(lane)
        self.crew.gone(lane.key)
        self._of_key.pop(lane.key, None)
        exitcode = lane.end()
        end_group(lane.pid)  # children that user code left behind
        return exitcode

    def _fill_or_break(self) -> OrchestratorError | None:
        if not self.closing:
            try:
                self.fill()
            except WorkerStartError as error:
                self.crew.resize(len(self.lanes))
                self._fatal = self._fatal or error
        return self._fatal

    def suspended(self, began_ns: int, length_ns: int) -> None:
        """Extend deadlines by a time in which the workers were stopped with this process.

        Takes no lock.
        """
        self._deadlines.suspended(began_ns, length_ns)

    # ---- deadlines and memory -------------------------------------------------------------------------------------

    @property
    def every_s(self) -> float | None:
        """How often to check deadlines and memory, or None if there are none."""
        deadlines_s, memory_s = self._deadlines.every_s, self._memory.every_s
        if deadlines_s is None or memory_s is None:
            return memory_s if deadlines_s is None else deadlines_s
        return min(deadlines_s, memory_s)

    @property
    def holds_back(self) -> bool:
        """Whether memory is so short that nothing may be sent while anything runs."""
        return self._memory.short

    def tick_s(self) -> float | None:
        """Return the seconds until the next check of deadlines and memory, or None."""
        every_s = self.every_s
        if every_s is None:
            return _LEAVING_S if self.crew.lacks and self.leaving else None
        return max(0.0, min(self._tick_at - monotonic(), every_s))

    def tick(self) -> OrchestratorError | None:
        """Check deadlines and memory, if it is time to."""
        every_s = self.every_s
        if self.closing:
            return self._fatal
        if self.crew.lacks:
            self._end_stragglers()
        now = monotonic()
        if every_s is None or now < self._tick_at:
            return self._fatal
        self._tick_at = now + every_s
        self._deadlines.poll(self.all)
        self._memory.poll(self.all)
        return self._fill_or_break()

    def _end_stragglers(self) -> None:
        """Kill workers that were told to leave long ago and block the next ones."""
        end_with_children([lane.pid for lane in self.leaving if monotonic() - lane.stopping_s > _LEAVING_S])

    @staticmethod
    def _kill(lane: Lane, why: Ended) -> None:
        lane.ended = why
        end_with_children([lane.pid])


def _lost(lane: Lane, chunks: list[Chunk], exitcode: int | None, reading: watch.SlotReading) -> list[Lost]:
    """Return the fate of the chunks that a worker died with.

    `reading`: what it said it was running.
    """
    held_s = (monotonic_ns() - lane.moved_ns) / 1e9
    seen = reading if reading.ident >= 0 or reading.loads is not None else None
    shared = shares(
        chunks,
        last=reading.last,
        loads=reading.loads,
        ident=reading.ident,
        position=reading.position,
        decoding=reading.decoding,
    )
    who = (lane.worker_id, lane.pid, exitcode)
    return [
        Lost(chunk, *who, to_blame, lane.ended, begun, seen, held_s)
        for chunk, (to_blame, begun) in zip(chunks, shared, strict=True)
    ]
