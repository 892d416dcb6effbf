"""Decides which lane gets the next chunk, by credit-aware round robin.

Pure.

A credit is the permission to send one more chunk down a lane. Chunks that run long get one credit, so that nothing
queues behind a long item; short ones get several, so that a worker never waits for its next chunk. The rotation goes
over the lanes that hold a credit (never `seq % n`, which parks items behind a slow one).
"""

from __future__ import annotations

import math

LONG_CHUNK_S = 0.05
LOOKAHEAD_S = 0.001
"""How much work should wait in a worker while its next chunk is on the way."""
LOOKAHEAD_BYTES = 8 << 20
"""How much of large payloads should wait in a worker: more would only take memory that is cold yet."""
WORKERS_AT_LONG = 50
"""With more workers than this their results come in bursts that take the coordinator longer to answer; what counts as
a long chunk grows with them, so that a worker has its next one at hand meanwhile."""
UNKNOWN_DEPTH = 2
MAX_DEPTH = 64


def depth_for(chunk_s: float | None, chunk_bytes: float = 0.0, workers: int = 1) -> int:
    """Return how many chunks of this duration and size a lane may hold.

    None: nothing was measured yet.
    """
    if chunk_s is None:
        return UNKNOWN_DEPTH
    if chunk_s >= LONG_CHUNK_S * max(1.0, workers / WORKERS_AT_LONG):
        return 1
    most = MAX_DEPTH
    if chunk_bytes * MAX_DEPTH > LOOKAHEAD_BYTES:
        most = max(2, int(LOOKAHEAD_BYTES / chunk_bytes))
    if chunk_s * most <= LOOKAHEAD_S:
        return most
    return min(most, 1 + math.ceil(LOOKAHEAD_S / chunk_s))


class Credits:
    """Counts the chunks held by each lane, and picks the next lane.

    A lane is named by any hashable number.

    Lanes stand in levels by how many chunks they hold, within a level in the order of their turns. The next lane is the
    first of the lowest level, so finding it does not depend on how many lanes there are.
    """

    def __init__(self) -> None:
        self._held: dict[int, int] = {}
        self._levels: list[dict[int, None]] = [{} for _ in range(MAX_DEPTH + 1)]  # the last one: that many or more
        self._reserved: set[int] = set()  # lanes that take no other chunk until one is back; these stand in no level
        self._suspended: set[int] = set()  # lanes that are to be sent nothing for now; nor do these

    def add_lane(self, lane: int, held: int = 0, *, alone: bool = False) -> None:
        """Open the account of a lane that holds so many chunks already.

        `alone`: one that must be alone.
        """
        if alone:
            self._reserved.add(lane)
        self._held[lane] = held
        self._move(lane, held)

    def suspend(self, lane: int) -> None:
        """Give a lane no chunk until it is resumed."""
        self._suspended.add(lane)
        self._level(self._held[lane]).pop(lane, None)

    def resume(self, lane: int) -> None:
        """Let a lane take chunks."""
        self._suspended.discard(lane)
        self._move(lane, self._held[lane])

    def remove_lane(self, lane: int) -> None:
        """Close the account of a lane, whatever it holds."""
        held = self._held.pop(lane, None)
        if held is not None:
            self._level(held).pop(lane, None)
            self._reserved.discard(lane)
            self._suspended.discard(lane)

    def room(self, depth: int) -> int:
        """Return how many chunks could be sent now if each lane may hold `depth`."""
        room = 0
        for held, lanes in enumerate(self._levels[: min(depth, MAX_DEPTH)]):
            if lanes:
                room += (depth - held) * len(lanes)
        return room

    def take(self, depth: int) -> int | None:
        """Spend a credit of the next lane in turn that holds fewer than `depth` chunks.

        Returns None if none does.
        """
        levels = self._levels
        for held in range(min(depth, MAX_DEPTH)):
            if levels[held]:
                lane = next(iter(levels[held]))
                del levels[held][lane]
                levels[held + 1][lane] = None
                self._held[lane] = held + 1
                return lane
        return None

    def take_alone(self) -> int | None:
        """Spend the only credit of a lane that holds nothing.

        It gets no other chunk until that one is back.
        """
        lane = self.take(1)
        if lane is not None:
            del self._levels[1][lane]
            self._reserved.add(lane)
        return lane

    def reserve(self, lane: int) -> None:
        """Give a lane no other chunk until one of those that it holds is back."""
        self._level(self._held[lane]).pop(lane, None)
        self._reserved.add(lane)

    @property
    def idle(self) -> bool:
        """Whether a lane holds nothing, and may take something."""
        return bool(self._levels[0])

    def spend(self, lane: int) -> None:
        """Send down this very lane, whatever it holds."""
        self._move(lane, self._held[lane] + 1)

    def give_back(self, lane: int) -> None:
        """Return the credit of a chunk that has come back on this lane."""
        if lane in self._held:
            self._reserved.discard(lane)
            self._move(lane, self._held[lane] - 1)

    def _move(self, lane: int, held: int) -> None:
        self._level(self._held[lane]).pop(lane, None)
        self._held[lane] = held
        if lane not in self._reserved and lane not in self._suspended:
            self._level(held)[lane] = None

    def _level(self, held: int) -> dict[int, None]:
        return self._levels[min(held, MAX_DEPTH)]
