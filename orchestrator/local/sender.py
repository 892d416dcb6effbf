"""Sends chunks to the lanes that have credit, fairly among all who wait for one.

    dispatch -> credit -> ledger, lane           put_ahead -> kept -> (a credit comes free) -> ledger, lane

A thread that lacks only a credit stands in line while it waits; a call whose chunks were put ahead stands there too.

Owner of the line, of what was put ahead and of what workers are to forget: this class. Called under the coordinator's
lock, but for `count_ahead` and `drop_shared`.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any

from orchestrator.engine.core.ahead import Ahead
from orchestrator.engine.core.credits import Credits
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.core.waiting_line import WaitingLine
from orchestrator.engine.protocol.engine import Sendable
from orchestrator.errors import OrchestratorError
from orchestrator.local.supervisor import Supervisor
from orchestrator.local.transport.in_flight import InFlight
from orchestrator.local.transport.lane import Lane
from orchestrator.local.transport.lane_io import LaneIO
from workers.transport import payload
from workers.transport.wire import Kind, pack

_SMALL_FUNCTION_BYTES = 512
"""A function that a module has: a worker is not woken in order to forget it, but told with what comes next."""


class Sender:
    """Spends the credits of one pool's lanes."""

    def __init__(
        self,
        in_flight: InFlight,
        credit: Credits,
        supervisor: Supervisor,
        io: LaneIO,
        *,
        counts_items: bool,
        broke: Callable[[OrchestratorError], None],
        freed: Callable[[], None],
    ) -> None:
        """Start with nobody waiting.

        Args:
            in_flight: takes what is sent.
            credit: what lanes may still hold.
            supervisor: has the lanes.
            io: writes.
            counts_items: whether the supervisor is to know how many items a worker got.
            broke: told why nothing can continue.
            freed: told that those who still wait may find room.
        """
        self._in_flight, self._ledger = in_flight, in_flight.ledger
        self._credits = credit
        self._supervisor = supervisor
        self._io = io
        self._counts_items = counts_items
        self._broke, self._freed = broke, freed
        self._line = WaitingLine()
        self._ahead = Ahead(self._line)
        self._asked: int | None = None
        """The least depth for which there was no room, while a thread that waits is asked whether it can continue."""
        self._warned = False
        self._dropped: deque[bytes] = deque()  # tokens of shared objects that no handle refers to any more

    # ---- now --------------------------------------------------------------------------------------------------

    def room(self, depth: int) -> int:
        """Return how many chunks could be sent now, `depth` being how many a lane may hold."""
        room = self._room(depth)
        if not room and (self._asked is None or depth < self._asked):
            self._asked = depth
        return room

    def _room(self, depth: int) -> int:
        kept = 0
        if self._line:
            kept, depth = self._line.before(get_ident(), depth)
        room = self._credits.room(depth)
        if self._supervisor.holds_back:
            room = min(room, 0 if len(self._ledger) else 1)
        return max(0, room - kept)

    def send(self, number: int, batch: Sequence[Sendable], depth: int) -> int:
        """Send the chunks of a call in turn while lanes have credit, and return how many were sent."""
        touched: set[Lane] = set()
        sent = 0
        holds_back = self._supervisor.holds_back
        if self._line:
            me = get_ident()
            batch = batch[: self._room(depth)]
            _, depth = self._line.before(me, depth)
            self._line.serve(me)
        for chunk, encoded in batch:
            if holds_back and len(self._ledger):
                break
            worker_id = self._credits.take_alone() if chunk.alone else self._credits.take(depth)
            if worker_id is None:
                break
            touched.add(self._put(number, chunk, encoded, worker_id))
            sent += 1
        for lane in touched:
            self._io.flush(lane)
        return sent

    def send_to(self, worker_id: int, number: int, chunk: Chunk, encoded: payload.Encoded) -> None:
        """Send a worker a chunk, whatever it holds."""
        self._credits.spend(worker_id)
        self._io.flush(self._put(number, chunk, encoded, worker_id))

    def _put(self, number: int, chunk: Chunk, encoded: payload.Encoded, worker_id: int) -> Lane:
        lane = self._supervisor.lanes[worker_id]
        self._in_flight.send(number, chunk, encoded, lane)
        if self._counts_items and (error := self._supervisor.count_sent(lane, len(chunk.items))) is not None:
            self._broke(error)
        if lane.inputs.failure is not None:
            self._warn_of_memory(lane.inputs.failure)
        return lane

    # ---- ahead ------------------------------------------------------------------------------------------------

    @property
    def has_ahead(self) -> bool:
        """Whether chunks wait for a credit, wherever their consumers are."""
        return bool(self._ahead)

    def put_ahead(self, number: int, batch: Sequence[Sendable], depth: int, *, first: bool) -> None:
        """Take encoded chunks of a call, before or behind those that it has here."""
        for chunk, encoded in batch:
            chunk.size_bytes = encoded.size
            self._in_flight.put_ahead(encoded.size)
        self._ahead.put(number, batch, depth, first=first)

    def count_ahead(self, number: int) -> int:
        """Count the chunks of a call that were put ahead and have not been sent. Takes no lock."""
        return self._ahead.count(number)

    def drop_ahead(self, number: int) -> int:
        """Drop the chunks of a call that were put ahead and not sent, and return how many there were."""
        dropped = self._ahead.drop(number)
        self._in_flight.left_ahead(sum(chunk.size_bytes for chunk, _ in dropped))
        return len(dropped)

    def send_ahead(self) -> None:
        """Send chunks that were put ahead, one of each call in turn, where no one else has waited longer."""
        touched: set[Lane] = set()
        calls = self._ahead.calls
        while calls:
            number = calls.pop(0)
            worker_id = self._take_credit(number)
            if worker_id is None:
                continue
            chunk, encoded = self._ahead.take(number)
            self._in_flight.left_ahead(chunk.size_bytes)
            touched.add(self._put(number, chunk, encoded, worker_id))
            if self._ahead.count(number):
                calls.append(number)
        for lane in touched:
            self._io.flush(lane)

    def _take_credit(self, number: int) -> int | None:
        """Spend a credit on the chunk of a call that was put ahead, if there is one for it."""
        if self._supervisor.holds_back and len(self._ledger):
            return None
        chunk, depth = self._ahead.head(number)
        if len(self._line) > 1:
            kept, depth = self._line.before(-number, depth)
            if self._credits.room(depth) <= kept:
                return None
        return self._credits.take_alone() if chunk.alone else self._credits.take(depth)

    # ---- what is wanted no more ---------------------------------------------------------------------------------

    def drop_shared(self, token: bytes) -> None:
        """Note a shared object that no handle refers to any more.

        Takes no lock. Safe within a garbage collection.
        """
        self._dropped.append(token)

    @property
    def may_forget(self) -> bool:
        """Whether `forget` would tell the workers something."""
        return self._in_flight.calls.any_abandoned or bool(self._dropped)

    def forget(self) -> None:
        """Free the functions and unbegun chunks of calls that nobody waits for, and shared objects."""
        for number, events, function in self._in_flight.calls.forget():
            self._in_flight.forget(number, events)
            self.drop_ahead(number)
            for lane in self._supervisor.all:
                if number in lane.known_calls:
                    lane.known_calls.discard(number)
                    lane.put([pack(Kind.FORGET, number=number)])
                    if function.size > _SMALL_FUNCTION_BYTES:
                        self._io.flush(lane)
        while self._dropped:
            frame = pack(Kind.UNSHARE, self._dropped.popleft())
            for lane in self._supervisor.all:
                lane.put([frame])
                self._io.flush(lane)

    # ---- who waits --------------------------------------------------------------------------------------------

    @property
    def is_waited_for(self) -> bool:
        """Whether anybody stands in line."""
        return bool(self._line)

    def may_continue(self, ready: Callable[[], Any]) -> bool:
        """Ask a waiting thread whether it can continue.

        While it lacks only a credit, it stands in line for one.
        """
        self._asked = None
        if ready():
            return True
        if self._asked is None:
            self.leave_line()
        else:
            self._line.enter(get_ident(), self._asked)
        return False

    def leave_line(self) -> None:
        """Stop waiting for a credit.

        Those behind may find the room that was kept.
        """
        if self._line.leave(get_ident()):
            self._freed()

    def _warn_of_memory(self, failure: OSError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"no shared memory could be reserved ({failure.strerror}); large payloads go through the pipes, "
                "which is slower",
                ResourceWarning,
                stacklevel=2,
            )
