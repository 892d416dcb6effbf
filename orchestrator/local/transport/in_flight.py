"""The chunks in flight: their lanes, their bytes of the budget, and their receivers.

    send -> ledger, budget, lane      finish, give_back, lose -> ledger, budget, events of the call

Owner of the state: the coordinator, under its lock.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.engine.core.ledger import Chunk, Ledger
from orchestrator.engine.protocol.events import Finished, Lost, Refused, Returned, Split, StageEvents
from orchestrator.errors import InternalError
from orchestrator.local.transport.calls import Calls
from orchestrator.local.transport.frame_body import FrameBody, Refusal
from orchestrator.local.transport.lane import Lane
from workers.transport import forks, payload
from workers.transport.wire import Flag, Frame, Kind


class InFlight:
    """Every chunk that a lane holds, and every result that its consumer has not taken yet."""

    def __init__(self, calls: Calls) -> None:
        """Take the open calls, whose consumers are told."""
        self.ledger = Ledger()
        self.calls = calls
        self.bytes = 0
        """What chunks and results take of the budget."""

    def send(self, number: int, chunk: Chunk, encoded: payload.Encoded, lane: Lane) -> None:
        """Put a chunk of a call behind what a lane is to write, with the call's function if its worker lacks it."""
        if number not in lane.known_calls:
            lane.known_calls.add(number)
            lane.put_object(Kind.FUNCTION, self.calls.function(number), number, 0)
        ident = self.ledger.sent(chunk, lane.key)
        chunk.size_bytes = encoded.size
        chunk.encoded = None if encoded.buffers else encoded
        self.bytes += encoded.size
        lane.put_object(Kind.CHUNK, encoded, number, ident, Flag.WATCHED if chunk.watched else 0)

    def put_ahead(self, size_bytes: int) -> None:
        """Count what waits for a credit against the budget."""
        self.bytes += size_bytes

    def left_ahead(self, size_bytes: int) -> None:
        """Send next, or drop, what waited for a credit."""
        self.bytes -= size_bytes

    def finish(self, lane: Lane, frame: Frame) -> None:
        """Handle a result, or a worker's report that it could not read a chunk."""
        kind, flags, buffers, microseconds, ident, body = frame
        chunk = self.ledger.done(ident, lane.key)
        lane.chunks_done += 1
        lane.items_done += len(chunk.items)
        spill = lane.spill
        if spill is not None:
            lane.spill = None
        events = self.calls.events(chunk.call)
        if events is None or flags & Flag.ABANDONED:
            payload.discard(buffers, body, lane.outputs)
            self.bytes -= chunk.size_bytes
            return
        size = payload.size_of(buffers, body) if buffers else len(body)
        self.bytes += size
        chunk.size_bytes += size
        self.calls.unconsumed[chunk.call] += chunk.size_bytes
        made = Finished if kind == Kind.RESULT else Refused
        carried = FrameBody((flags, buffers, body, lane.outputs))
        if flags & Flag.FORKED:
            carried, flags, spill = Refusal(carried, forks.describe(lane.worker_id, lane.pid)), 0, None
        events.append(made(chunk, microseconds / 1e6, flags, carried, size, spill))

    def give_back(self, lane: Lane, ident: int) -> None:
        """Return an unbegun chunk to its call, as its worker will not begin it."""
        chunk = self.ledger.returned(ident, lane.key)
        self.bytes -= chunk.size_bytes
        events = self.calls.events(chunk.call)
        if events is not None:
            events.append(Returned(chunk))

    def split(self, lane: Lane, ident: int, begun: int) -> None:
        """Return the unbegun items of a chunk to its call, of which so many have begun."""
        chunk = self.ledger.of(lane.key, ident)
        if chunk is None or not 0 < begun < len(chunk.items):
            raise InternalError(f"lane {lane.key} gave back items of chunk {ident} that it does not hold")
        rest, freed = chunk.items[begun:], chunk.size_bytes * (len(chunk.items) - begun) // len(chunk.items)
        chunk.items, chunk.encoded = chunk.items[:begun], None
        chunk.size_bytes -= freed
        self.bytes -= freed
        events = self.calls.events(chunk.call)
        if events is not None:
            events.append(Split(chunk, rest, freed))

    def lose(self, lost: Iterable[Lost]) -> None:
        """Report to their calls the chunks that a worker died with."""
        for event in lost:
            self.bytes -= event.chunk.size_bytes
            events = self.calls.events(event.chunk.call)
            if events is not None:
                events.append(event)

    def consumed(self, number: int, size_bytes: int) -> None:
        """Return budget, unless the end of the call has done so already."""
        if number in self.calls.unconsumed:
            self.calls.unconsumed[number] -= size_bytes
            self.bytes -= size_bytes

    def forget(self, number: int, events: StageEvents | None) -> None:
        """Return the budget of an ended call, and free its unread events."""
        self.bytes -= self.calls.unconsumed.pop(number)
        while events:
            try:
                event = events.popleft()
            except IndexError:  # its consumer, in another thread, took it
                return
            if isinstance(event, (Finished, Refused)):
                event.body.discard()
