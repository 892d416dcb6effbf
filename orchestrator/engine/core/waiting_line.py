"""The order of threads that wait for a credit, as no lane had room.

Pure.

A thread stands in line while it waits in the coordinator. When credits come back, one is kept for each waiting thread
that was served less recently than whoever asks: so a call that refills the lanes as soon as a chunk is back can't
starve the others. Nothing is kept for a thread that does not wait right now, so a consumer that is away holds nothing
up. The thread that was served least recently never has to stand back, so somebody can always continue.
"""

from __future__ import annotations

import math


class WaitingLine:
    """The threads that wait, each with how many chunks a lane may hold that it would use."""

    __slots__ = ("_clock", "_served", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[int, int] = {}  # thread -> depth
        self._served: dict[int, int] = {}  # thread -> when it was served last, or first began to wait
        self._clock = 0

    def __len__(self) -> int:
        """Count the threads and calls that wait."""
        return len(self._waiting)

    def enter(self, thread: int, depth: int) -> None:
        """Wait, or continue to wait, for a lane that holds fewer than `depth` chunks."""
        if thread not in self._served:
            self.serve(thread)
        self._waiting[thread] = depth

    def serve(self, thread: int) -> None:
        """Move a thread that was given credits behind all others."""
        self._clock += 1
        self._served[thread] = self._clock

    def leave(self, thread: int) -> bool:
        """Stop waiting, and return whether others wait, for whom there may be room now."""
        if self._waiting.pop(thread, None) is None:
            return False
        if not self._waiting:
            self._served.clear()
        return bool(self._waiting)

    def before(self, thread: int, depth: int) -> tuple[int, int]:
        """Return how many credits are kept for others, and the depth that is left for a thread."""
        mine = self._served.get(thread, math.inf)
        kept = [depth for other, depth in self._waiting.items() if self._served[other] < mine]
        return len(kept), min((depth, *kept))
