"""Takes in what lanes bring: results, workers' messages, and the deaths that sentinels tell of.

    result, refused          -> in_flight, a credit          ready, returned -> supervisor
    prints, needs, farewells -> worker_messages              a sentinel      -> what it held is read, then supervisor

The other half of `sender`. Owns no state: called under the coordinator's lock, in the thread that drives.
"""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING

from orchestrator.local.transport.lane import Lane, LaneState
from workers.transport.wire import Frame, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.core.credits import Credits
    from orchestrator.errors import OrchestratorError
    from orchestrator.local.supervisor import Supervisor
    from orchestrator.local.transport.in_flight import InFlight
    from orchestrator.local.transport.lane_io import LaneIO, Occurred
    from orchestrator.local.transport.worker_messages import WorkerMessages


class Receiver:
    """Reads the lanes of one pool."""

    def __init__(  # noqa: PLR0917 - all that a frame may be for
        self,
        io: LaneIO,
        in_flight: InFlight,
        credit: Credits,
        supervisor: Supervisor,
        messages: WorkerMessages,
        broke: Callable[[OrchestratorError], None],
    ) -> None:
        """Take the receivers of what comes.

        Args:
            io: reads.
            in_flight: gets results, and what is lost.
            credit: gets a credit back for each result.
            supervisor: is told of workers that are ready, have skipped something, or are dead.
            messages: gets every other frame.
            broke: told why nothing can continue.
        """
        self._io = io
        self._in_flight = in_flight
        self._credits = credit
        self._supervisor = supervisor
        self._messages = messages
        self._broke = broke

    def receive(self, occurred: Occurred, *, drains: bool) -> None:
        """Handle what a wait told about.

        `drains`: whether the wake-up is this driver's to empty.
        """
        gone: list[Lane] = []
        for key, mask in occurred:
            lane: Lane | None = key.data
            if lane is None:
                if drains:
                    self._io.wakeup.drain()
            elif lane.state is LaneState.DEAD:
                continue
            elif key.fd == lane.sentinel:
                gone.append(lane)
            elif mask & selectors.EVENT_WRITE:
                self._io.flush(lane)
            else:
                self._collect(lane)
        for lane in gone:
            if lane.state is not LaneState.DEAD:
                self._bury(lane)

    def _collect(self, lane: Lane) -> None:
        """Read one batch of frames, and handle them."""
        for frame in self._io.read(lane):
            if frame[0] == Kind.RESULT or frame[0] == Kind.REFUSED:
                self._in_flight.finish(lane, frame)
                if lane.active:
                    self._credits.give_back(lane.worker_id)
                if not self._supervisor.crew.settled:
                    self._supervisor.finished(lane)
            else:
                self._handle_message(lane, frame)

    def _bury(self, lane: Lane) -> None:
        """Handle a sentinel that fired: keep what the worker had finished, and report what is lost."""
        self._collect(lane)
        while not lane.drained:
            self._collect(lane)
        death = self._supervisor.settle_death(lane)
        self._in_flight.lose(death.lost)
        self._break_if(death.fatal)

    def _handle_message(self, lane: Lane, frame: Frame) -> None:
        """Handle a frame that is not a result."""
        if frame[0] == Kind.READY:
            self._break_if(self._supervisor.ready(lane))
            return
        if frame[0] == Kind.RETURNED:
            self._supervisor.returned(lane, frame[4])
            return
        if frame[0] == Kind.SPLIT:
            self._in_flight.split(lane, frame[4], frame[3])
            return
        error = self._messages.take_in(lane, frame)
        self._break_if(error)
        if error is None and frame[0] in {Kind.NEED, Kind.SPILL}:
            self._io.flush(lane)

    def _break_if(self, error: OrchestratorError | None) -> None:
        if error is not None:
            self._broke(error)
