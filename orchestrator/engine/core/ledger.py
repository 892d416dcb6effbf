"""The ledger of every chunk in flight, its state, and the lane that holds it.

Pure.

                 sent                done
        CUT ------------> IN_FLIGHT ------> DONE
         |                    |
         | dropped            +------> LOST        its worker died
         v                    |
        DROPPED               +------> RETURNED    its worker had not begun it, and will not

A chunk that is to run again is a new chunk. An illegal transition is our bug and raises `InternalError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from orchestrator.errors import InternalError


class ChunkState(Enum):
    """The state of a chunk."""

    CUT = "cut"
    IN_FLIGHT = "in flight"
    DONE = "done"
    LOST = "lost"
    RETURNED = "returned"
    DROPPED = "dropped"


TRANSITIONS: dict[tuple[ChunkState, str], ChunkState] = {
    (ChunkState.CUT, "sent"): ChunkState.IN_FLIGHT,
    (ChunkState.CUT, "dropped"): ChunkState.DROPPED,
    (ChunkState.IN_FLIGHT, "done"): ChunkState.DONE,
    (ChunkState.IN_FLIGHT, "lost"): ChunkState.LOST,
    (ChunkState.IN_FLIGHT, "returned"): ChunkState.RETURNED,
}


class Chunk:
    """Items that are sent to a worker together.

    `seq` is its place in its call; `first_index` the index of its first item in the source. A part is a chunk of one
    that stands for the item at `position` of `parent`. `attempt` is 1 if its items have never run, and one more each
    time that they may have; `failures` of these tries ended with the function's own exception, or at a deadline,
    `deaths` with the worker, `losses` with the worker's whole node.

    An item that is a block of records may be divided: then its parts are the items of a chunk that `divides` it.
    """

    __slots__ = (
        "alone", "attempt", "call", "deaths", "divides", "encoded", "failures", "first_index", "ident", "in_step",
        "items", "lane", "losses", "parent", "position", "seq", "size_bytes", "state", "watched",
    )  # fmt: skip

    def __init__(
        self,
        call: Any,
        seq: int,
        items: Sequence[Any],
        first_index: int,
        *,
        parent: Chunk | None = None,
        position: int = 0,
        attempt: int = 1,
        failures: int = 0,
        deaths: int = 0,
        divides: bool = False,
    ) -> None:
        self.call = call
        self.seq = seq
        self.items = items
        self.first_index = first_index
        self.parent = parent
        self.position = position
        self.attempt = attempt
        self.failures = failures
        self.deaths = deaths
        self.divides = divides
        self.losses = 0
        self.watched = False  # whether its worker is to say where in a block of records it is
        self.in_step = False  # whether all workers run one such together, and wait for each other
        self.alone = deaths > 0  # under suspicion: nothing else may be in its worker
        self.ident = -1
        self.lane = -1
        self.size_bytes = 0
        self.encoded: Any = None
        """What was sent, while it may be taken back: the items may be others by now. None: too large to keep."""
        self.state = ChunkState.CUT


class Ledger:
    """Owns the state of every chunk in flight, in the order of sending within each lane."""

    def __init__(self) -> None:
        self._lanes: dict[int, dict[int, Chunk]] = {}
        self._next_ident = 0

    def open_lane(self, lane: int) -> None:
        """Start the count of a lane."""
        self._lanes[lane] = {}

    def sent(self, chunk: Chunk, lane: int) -> int:
        """Enter a chunk as sent down a lane, and return its number."""
        if chunk.state is not ChunkState.CUT:
            self._illegal(chunk, "sent")
        ident = self._next_ident
        self._next_ident = ident + 1
        chunk.ident, chunk.lane, chunk.state = ident, lane, ChunkState.IN_FLIGHT
        self._lanes[lane][ident] = chunk
        return ident

    def done(self, ident: int, lane: int) -> Chunk:
        """Remove a chunk that came back, and return it."""
        chunk = self._lanes[lane].pop(ident, None)
        if chunk is None or chunk.state is not ChunkState.IN_FLIGHT:
            raise InternalError(f"lane {lane} returned chunk {ident}, which it does not hold")
        chunk.state, chunk.encoded = ChunkState.DONE, None
        return chunk

    def returned(self, ident: int, lane: int) -> Chunk:
        """Remove a chunk that its worker has not begun, and will not, and return it."""
        encoded = self._lanes[lane][ident].encoded if ident in self._lanes[lane] else None
        chunk = self.done(ident, lane)
        chunk.state, chunk.encoded = ChunkState.RETURNED, encoded
        return chunk

    def close_lane(self, lane: int) -> list[Chunk]:
        """Remove a lane whose worker is gone, and return the chunks lost with it, in the order of sending."""
        lost = list(self._lanes.pop(lane, {}).values())
        for chunk in lost:
            chunk.state, chunk.encoded = self.after(chunk.state, "lost"), None
        return lost

    def first_of(self, lane: int) -> Chunk | None:
        """Return the chunk that a lane was sent first, of those that it holds."""
        return next(iter(self._lanes.get(lane, {}).values()), None)

    def of(self, lane: int, ident: int) -> Chunk | None:
        """Return the chunk of this name, if the lane holds it."""
        return self._lanes.get(lane, {}).get(ident)

    def list_of(self, lane: int) -> list[Chunk]:
        """Return the chunks that a lane holds, in the order of sending."""
        return list(self._lanes.get(lane, {}).values())

    def held_by(self, lane: int) -> int:
        """Count the chunks that a lane holds."""
        return len(self._lanes.get(lane, ()))

    def __len__(self) -> int:
        """Count the chunks in flight."""
        return sum(map(len, self._lanes.values()))

    @staticmethod
    def after(state: ChunkState, event: str) -> ChunkState:
        """Return the state that `event` leads to.

        Raises:
            InternalError: the table has no such transition.
        """
        try:
            return TRANSITIONS[state, event]
        except KeyError:
            raise InternalError(f"a chunk that is {state.value} can't be {event}") from None

    @staticmethod
    def _illegal(chunk: Chunk, event: str) -> None:
        Ledger.after(chunk.state, event)
