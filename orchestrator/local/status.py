"""What a pool is at: which chunk each worker holds and for how long. Taken in the coordinator, under its lock.

A worker says itself what it is at only in calls with a timeout (`workers.transport.watch`). Of all others the
coordinator knows what they hold, and when something last went either way: a lane whose chunks are long holds one, so
that is when it began; where chunks are short it does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any

from orchestrator.engine.core.ledger import Chunk
from orchestrator.local.transport.lane import Lane, LaneState
from workers.errors.describe import describe
from workers.transport import watch

_LONGEST_ITEM = 60
_PLAIN = (str, bytes, int, float, bool)
"""What is shown as it is: anything else would run code of the user's."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker, and what it is at."""

    id: int
    pid: int
    state: str
    """"starting", "ready", "leaving" (it finishes what it has), "stopping"."""
    rss_bytes: int
    chunks: int
    """How many it holds."""
    runs: str
    """What it runs, in words; "" if it holds nothing."""
    for_s: float
    """Since when; or since when it has waited for something to do."""

    def __str__(self) -> str:
        more = f" (and {self.chunks - 1} more)" if self.chunks > 1 else ""
        at = f"{self.runs}{more}, for" if self.runs else "nothing to do for"
        who = f"worker {self.id} (pid {self.pid}, {self.state}, {self.rss_bytes / 2**20:,.0f} MiB)"
        return f"{who}: {at} {self.for_s:.1f} s"


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool, at one moment; `str()` of it is for people."""

    size: int
    """How many workers are wanted."""
    chunks_in_flight: int
    bytes_in_flight: int
    deaths: int
    workers: tuple[WorkerStatus, ...]

    def __str__(self) -> str:
        head = (
            f"{self.size} workers wanted, {len(self.workers)} running, {self.deaths} died; "
            f"{self.chunks_in_flight} chunks, {self.bytes_in_flight / 2**20:,.1f} MiB in flight"
        )
        return "\n  ".join([head + (" (paused)" if self.size == 0 else ""), *map(str, self.workers)])


def describe_item(item: Any) -> str | None:
    """Return an item as it is shown: short, and only if that runs no code of the user's."""
    if type(item) not in _PLAIN:
        return None
    return describe(item, _LONGEST_ITEM)


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 if it is gone."""
    import psutil  # noqa: PLC0415 - only for those who look

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def worker_status(
    lane: Lane, held: list[Chunk], describe: Callable[[Any], str | None], name_of: Callable[[Any], str]
) -> WorkerStatus:
    """Return what a worker is at.

    Args:
        lane: its lane.
        held: what it holds, in the order of sending.
        describe: gives an item in words, None if it has none.
        name_of: gives the name of a call.
    """
    state = "leaving" if not lane.active and lane.state is LaneState.READY else lane.state.value
    since_ns, runs = lane.moved_ns, ""
    if held:
        chunk, position = held[0], None
        reading = watch.read_slot(lane.slot)
        watched = next((each for each in held if each.ident == reading.ident), None)
        if watched is not None:
            chunk, position, since_ns = watched, reading.position, reading.since_ns
        runs = _described(chunk, position, describe, name_of(chunk.call))
    for_s = max(0.0, (monotonic_ns() - since_ns) / 1e9)
    return WorkerStatus(lane.worker_id, lane.pid, state, rss_bytes(lane.pid), len(held), runs, for_s)


def _described(chunk: Chunk, position: int | None, describe: Callable[[Any], str | None], name: str) -> str:
    items, first = chunk.items, chunk.first_index
    label = f"chunk {chunk.seq}{f' of {name}' if name else ''}"
    if position is not None or len(items) == 1:
        at = position or 0
        words = describe(list.__getitem__(items, at) if isinstance(items, list) else items[at])  # as it is, not loaded
        return f"{label}, {f'item {first + at}' if words is None else words}"
    return f"{label}, items {first} to {first + len(items) - 1}"
