"""Bounds how far a call may run ahead of its consumer.

Pure.

Counted from dispatch to consumption: a chunk that waits for its turn, or for a slow consumer, still counts. The byte
budget is the pool's; the window is the call's own.
"""

from __future__ import annotations

MAX_CHUNKS = 1024
"""How many chunks may finish ahead of one long item."""
CHEAP_CHUNK_S = 0.005
CHEAP_BYTES = 1 << 18
"""Chunks that are quick to make again need not be hoarded: this much of them is look-ahead enough."""
SMALL_CHUNK_BYTES = 1 << 18
"""Chunks with more than this carry large payloads, which the byte budget is for."""
MIN_CHUNKS_PER_WORKER = 4
_WEIGHT = 0.2


class Window:
    """Counts what one call has in flight."""

    __slots__ = (
        "_budget_bytes", "at_work", "chunks", "expected_bytes", "expected_result_bytes", "size_bytes", "workers",
    )  # fmt: skip

    def __init__(self, workers: int, budget_bytes: int) -> None:
        self.workers = workers
        self._budget_bytes = budget_bytes
        self.expected_bytes = 0.0
        """Of a chunk, its input and its results together."""
        self.expected_result_bytes = 0.0
        self.at_work = 0
        """Chunks whose results are still to come: they have room reserved."""
        self.chunks = 0
        self.size_bytes = 0

    def allows(self, in_flight_bytes: int, chunk_s: float | None) -> bool:
        """Tell whether one more chunk may go out, the pool having `in_flight_bytes` out in all.

        A call with nothing out may always send: so that calls that fill the budget can't block others.
        """
        if self.chunks == 0:
            return True
        if self.chunks >= MAX_CHUNKS:
            return False
        expected = self.expected_bytes
        if in_flight_bytes + self.at_work * self.expected_result_bytes + expected > self._budget_bytes:
            return False
        cheap = chunk_s is not None and chunk_s < CHEAP_CHUNK_S and expected <= SMALL_CHUNK_BYTES
        enough = self.chunks >= MIN_CHUNKS_PER_WORKER * self.workers
        return not (cheap and enough and self.size_bytes + expected > CHEAP_BYTES)

    def sent(self, size_bytes: int, *, again: bool = False) -> None:
        """Account for a chunk that went out, for the first time or `again` as a whole."""
        self.chunks += not again
        self.at_work += 1
        self.size_bytes += size_bytes

    def grew(self, result_bytes: int, whole_bytes: int) -> None:
        """Account for a chunk that came back with so many bytes of results.

        `whole_bytes` counts its input too.
        """
        self.at_work -= 1
        self.size_bytes += result_bytes
        weight = _WEIGHT if self.expected_bytes else 1.0  # the first tells more than nothing
        self.expected_result_bytes += weight * (result_bytes - self.expected_result_bytes)
        self.expected_bytes += weight * (whole_bytes - self.expected_bytes)

    def split(self, size_bytes: int) -> None:
        """Account for a split chunk, whose worker gave back so many bytes, which will go out again."""
        self.chunks += 1
        self.size_bytes -= size_bytes

    def lost(self, size_bytes: int) -> None:
        """Account for a chunk of `size_bytes` that will not come back from its worker.

        It, or its items, will go out again.
        """
        self.at_work -= 1
        self.size_bytes -= size_bytes

    def consumed(self, size_bytes: int) -> None:
        """Account for a chunk that left for the consumer."""
        self.chunks -= 1
        self.size_bytes -= size_bytes
