"""The status of an engine: its workers, what each runs, and finalizers' results.

Immutable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.engine.core.ledger import Chunk
from workers.errors.describe import describe

_LONGEST_ITEM = 60
_PLAIN = (str, bytes, int, float, bool)
"""Types that are shown as they are; others would run code of the user's."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One worker at this moment."""

    id: int
    pid: int
    state: str
    """"starting", "ready", "stopping" or "dead"."""
    rss_bytes: int
    chunks_done: int
    items_done: int
    host: str = ""
    """Where it runs, if not on this machine: its pid means nothing here."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The traffic between the engine and one of its workers."""

    sent_bytes: int
    received_bytes: int
    arena_bytes: int
    """Shared memory reserved for what the worker is sent."""


@dataclass(frozen=True, slots=True)
class Farewell:
    """The result or exception of a worker's finalizer."""

    worker: int
    """The worker's id; one that was replaced has its own farewell."""
    pid: int
    result: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The status of one worker."""

    id: int
    pid: int
    """0: not known, as it runs elsewhere."""
    state: str
    """"starting", "ready", "leaving" (it finishes what it has), "stopping"."""
    rss_bytes: int
    chunks: int
    """How many chunks it holds."""
    runs: str
    """What it runs, in words; "" if it holds nothing."""
    for_s: float
    """Since when; or since when it has waited for something to do."""
    host: str = ""
    """Where it runs, if not on this machine."""

    def __str__(self) -> str:
        more = f" (and {self.chunks - 1} more)" if self.chunks > 1 else ""
        at = f"{self.runs}{more}, for" if self.runs else "nothing to do for"
        where = f" on {self.host}" if self.host else ""
        held = f", {self.rss_bytes / 2**20:,.0f} MiB" if self.rss_bytes else ""
        pid = f"pid {self.pid}, " if self.pid else ""
        who = f"worker {self.id}{where} ({pid}{self.state}{held})"
        return f"{who}: {at} {self.for_s:.1f} s"


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """The status of a pool at one moment.

    `str()` of it is for people.
    """

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
    """Return the resident memory of a process, or 0 if it is gone."""
    import psutil  # noqa: PLC0415 - only for those who look

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def describe_chunk(chunk: Chunk, position: int | None, describe: Callable[[Any], str | None], name: str) -> str:
    """Describe what a worker runs: a chunk, or the item at `position` of it, of the call with this name."""
    items, first = chunk.items, chunk.first_index
    label = f"chunk {chunk.seq}{f' of {name}' if name else ''}"
    if position is not None or len(items) == 1:
        at = position or 0
        words = describe(list.__getitem__(items, at) if isinstance(items, list) else items[at])  # as it is, not loaded
        return f"{label}, {f'item {first + at}' if words is None else words}"
    return f"{label}, items {first} to {first + len(items) - 1}"
