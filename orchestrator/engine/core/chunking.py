"""Decides how many items go into the next chunk.

Pure: it is told what was measured, and knows no clock.

The watch is in the worker: each result says how long its chunk ran. Chunks grow toward a target duration, are capped
by bytes, and shrink toward the end of a source of known length, so that no worker is left with a large last chunk
(guided self-scheduling: Polychronopoulos and Kuck, 1987).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

TARGET_S = 0.004
"""Long enough that a chunk's fixed cost (tens of microseconds) does not show, short enough to share out evenly."""
SHORTEST = 0.05
"""Of the target: chunks are not made shorter for the sake of an even end, as their fixed cost would outweigh it."""
SHORTEST_S = SHORTEST * TARGET_S
WORKERS_AT_TARGET = 8
"""With more workers than this chunks get longer, so that one coordinator can feed them all."""
MAX_GROWTH = 8
MAX_CHUNK_BYTES = 60 << 10
"""Stays below the size from which a payload takes the way through shared memory."""
MAX_ITEMS = 1 << 16
MAX_COALESCED = 64
COALESCED_S = SHORTEST_S
"""Chunks of a fixed size that run shorter together travel in one frame."""
LONG_S = 0.005
"""Once a chunk has taken so long, no short one travels in one frame with others any more: it would wait behind them."""
_TAIL_SHARES = 4
_UNMEASURED_ITEMS = 16
_MOST_AT_ONCE = 64
"""The most items of a whole call that go in one chunk because an earlier call took so little."""
_MOST_AHEAD = 1024
_WEIGHT = 0.3


class Limits(NamedTuple):
    """What chunks an engine is good at."""

    target_s: float = TARGET_S
    """How long a chunk should run with few workers: long enough that its fixed cost does not show."""
    workers_at_target: int = WORKERS_AT_TARGET
    """With more workers than this chunks get longer in proportion."""
    most_bytes: int = MAX_CHUNK_BYTES
    """What several items of a chunk may take together."""
    least_depth: int = 1
    """How many chunks a worker should be given at least, so that its next one is at hand."""


LOCAL = Limits()
"""Those of worker processes of this machine."""


def _fitting(room: float, each: float, most: int) -> int:
    """Return how many of `each` fit into `room`, at most `most`.

    A mean may fall so near 0 that dividing overflows.
    """
    return int(room / each) if each * most > room else most


class ChunkSizer:
    """Decides the size of chunks of one call."""

    __slots__ = (
        "_apart", "_at_once", "_bytes_per_item", "_fixed", "_largest_seen", "_least", "_limits", "_most", "_pinned",
        "_seconds_per_item", "_total", "_workers",
    )  # fmt: skip

    def __init__(
        self, chunk: int | Literal["auto"], workers: int, total: int | None, limits: Limits = LOCAL
    ) -> None:
        self._limits = limits
        self._fixed = None if chunk == "auto" else chunk
        self._workers = workers
        self._total = total
        self._seconds_per_item: float | None = None
        self._bytes_per_item = 0.0
        self._largest_seen = 1
        self._pinned = False
        self._apart = False
        self._at_once = 0
        self._most = self._least = 0
        """The next size, and to what it may shrink toward the end, in items or chunks of fixed size; 0: unknown."""

    @property
    def workers(self) -> int:
        """Among how many the items are shared out."""
        return self._workers

    @workers.setter
    def workers(self, workers: int) -> None:
        self._workers = workers
        self._most = 0

    def next_size(self, already_cut: int) -> int:
        """Return the items that the next chunk should have, given how many were cut so far."""
        if not self._most:
            self._most = max(1, self._grown() if self._fixed is None else self._coalesced())
            self._least = self._shortest()
        size, unit = self._most, self._fixed or 1
        if self._total is not None:  # toward the end they are shared out evenly
            share = (self._total - already_cut) // (unit * self._workers * _TAIL_SHARES)
            if share < size:
                size = min(size, max(share, self._least))
        return size * unit

    def _grown(self) -> int:
        """Return how many items make a chunk by what was measured."""
        seconds = self._seconds_per_item
        if self._pinned or seconds is None:
            return 1 if self._pinned else self._at_once
        grown = self._largest_seen * MAX_GROWTH
        limits = self._limits
        longest_s = limits.target_s * max(1.0, self._workers / limits.workers_at_target)
        size = _fitting(longest_s, seconds, min(grown, MAX_ITEMS))
        return _fitting(limits.most_bytes, self._bytes_per_item, size)

    def _shortest(self) -> int:
        """Return how small a chunk may become."""
        seconds = self._seconds_per_item
        if self._fixed is not None:
            return 1
        return self._most if seconds is None else max(1, _fitting(self._shortest_s, seconds, self._most))

    @property
    def _shortest_s(self) -> float:
        return SHORTEST * self._limits.target_s

    def ahead(self) -> int:
        """Return how many items may be fetched ahead.

        Few if nothing was measured, else what makes a chunk.

        Chunks grow step by step, and one of a rare branch may have had few yet; that must not slow its neighbours down,
        which are read together with it.
        """
        seconds = self._seconds_per_item
        if self._pinned or seconds is None:
            return 1 if self._pinned else _UNMEASURED_ITEMS
        limits = self._limits
        return _fitting(limits.most_bytes, self._bytes_per_item, _fitting(limits.target_s, seconds, _MOST_AHEAD))

    def expect(self, seconds: float) -> None:
        """Take in what an item took in an earlier call.

        All items go at once if they are few, and would not be worth a second worker. If they take longer now, the
        worker gives those back that it has not begun.
        """
        if self._total is not None and self._total <= min(_MOST_AT_ONCE, _fitting(SHORTEST_S, seconds, _MOST_AT_ONCE)):
            self._at_once = self._total
            self._most = 0

    @property
    def seconds_per_item(self) -> float | None:
        """What an item takes, as far as that is known."""
        return self._seconds_per_item

    def pin(self) -> None:
        """Keep to chunks of the requested size from now on."""
        self._pinned = True
        self._most = 0

    def keep_apart(self) -> None:
        """Send each chunk of a fixed size by itself, so that the fate of one does not affect others."""
        self._apart = True
        self._most = 0

    def _coalesced(self) -> int:
        """Return how many chunks of fixed size travel in one frame.

        Several do if they run shorter than sending takes.

        A lane's credits would commit as many short chunks to one worker anyway (`credits.MAX_DEPTH`), so the work is
        shared out no more coarsely; it is only packed and unpacked at once.
        """
        seconds, items = self._seconds_per_item, self._fixed or 1
        if self._pinned or seconds is None or self._apart:
            return 1
        chunks = _fitting(self._shortest_s, seconds * items, MAX_COALESCED)
        return _fitting(self._limits.most_bytes, self._bytes_per_item * items, chunks)

    def observe(self, items: int, run_s: float, encoded_bytes: int) -> None:
        """Record the measurements of a finished chunk of `items` items."""
        if not items:
            return
        self._apart = self._apart or run_s >= LONG_S
        seconds = run_s / items
        old = self._seconds_per_item
        self._seconds_per_item = seconds if old is None else old + _WEIGHT * (seconds - old)
        self._bytes_per_item = max(self._bytes_per_item * 0.9, encoded_bytes / items)
        self._largest_seen = max(items, min(self._largest_seen, items * MAX_GROWTH))
        self._most = 0
