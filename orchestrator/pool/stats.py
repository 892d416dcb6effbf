"""The statistics of a pool and its workers, over all its calls.

Owner of the counts: each stage its own, in its consumer's thread; here they are only added up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.engine.protocol.counts import StageCounts

if TYPE_CHECKING:
    from orchestrator.engine.protocol.engine import Engine
    from orchestrator.engine.stage import Stage

_KEPT = 64
"""Calls whose counts are kept apart: they may still continue."""


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The counts of a pool so far.

    Also readable by key: `stats["items"]`.
    """

    items: int
    failures: int
    retries: int
    deaths: int
    chunks: int
    chunks_in_flight: int
    bytes_in_flight: int
    lane_bytes: dict[int, tuple[int, int]]
    """By worker id: bytes sent and received through its pipes."""
    arena_bytes: dict[int, int]
    """By worker id: shared memory reserved for what it is sent."""
    chunk_size: int | None
    """Items a chunk of the latest call, now."""
    worker_cpu_seconds: float
    """CPU time of the workers that have left (all of them after `close`)."""
    worker_peak_rss_bytes: int
    """Sum of the peaks of the workers that have left; a page that several share is counted once."""

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None


class Totals:
    """The counts of all calls of a pool."""

    def __init__(self) -> None:
        self._calls: list[StageCounts] = []
        self._latest: Stage | None = None

    def add(self, stage: Stage) -> None:
        """Count a call too, now and later."""
        self._latest = stage
        self._calls.append(stage.counts)
        if len(self._calls) > _KEPT:  # fold the old ones, so that a pool of a million maps stays small
            folded = StageCounts()
            for counts in self._calls[: _KEPT // 2]:
                folded.add(counts)
            self._calls[: _KEPT // 2] = [folded]

    def stats(self, engine: Engine, futures: StageCounts) -> PoolStats:
        """Return the counts of the pool.

        `futures` are the counts of what was submitted.
        """
        traffic = engine.traffic()
        cpu_seconds, peak_rss_bytes = engine.left_workers
        counted = [*self._calls, futures]
        return PoolStats(
            items=sum(c.items for c in counted),
            failures=sum(c.failures for c in counted),
            retries=sum(c.retries for c in counted),
            deaths=engine.deaths,
            chunks=sum(c.chunks for c in counted),
            chunks_in_flight=engine.chunks_in_flight,
            bytes_in_flight=engine.in_flight_bytes,
            lane_bytes={number: (each.sent_bytes, each.received_bytes) for number, each in traffic.items()},
            arena_bytes={number: each.arena_bytes for number, each in traffic.items()},
            chunk_size=self._latest.chunk_items if self._latest is not None else None,
            worker_cpu_seconds=cpu_seconds,
            worker_peak_rss_bytes=peak_rss_bytes,
        )
