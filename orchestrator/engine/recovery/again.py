"""Keeps what runs again: now, in the order in which it failed, or later, when its delay is over.

Owner: the stage, in its consumer's thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from orchestrator.engine.core.ledger import Chunk


class Again:
    """The chunks that wait to run again."""

    def __init__(self) -> None:
        self._now: deque[Chunk] = deque()
        self._later: list[tuple[float, Chunk]] = []  # (monotonic time, part)

    def add(self, chunk: Chunk, delay_s: float = 0.0) -> None:
        """Run a chunk again, behind those that are due."""
        if delay_s:
            self._later.append((time.monotonic() + delay_s, chunk))
        else:
            self._now.append(chunk)

    def extend(self, chunks: Iterable[Chunk]) -> None:
        """Run chunks again, behind those that are due."""
        self._now.extend(chunks)

    def next(self) -> Chunk | None:
        """Return the next chunk that is due."""
        self._take_due()
        return self._now.popleft() if self._now else None

    @property
    def head(self) -> Chunk | None:
        """The chunk that `next` would return without looking at the clock."""
        return self._now[0] if self._now else None

    @property
    def wait_s(self) -> float | None:
        """Seconds until the next delayed chunk is due, or None.

        One that is due already does not count: it waits for room in a lane, as any other chunk, not for the clock.
        """
        self._take_due()
        return max(0.0, min(due for due, _ in self._later) - time.monotonic()) if self._later else None

    def take_out(self, item: Any) -> list[Chunk]:
        """Withdraw and return the chunks that would run this item again."""
        waiting = [*self._now, *(chunk for _, chunk in self._later)]
        found = [chunk for chunk in waiting if chunk.items[0] is item]
        if found:
            self._now = deque(chunk for chunk in self._now if chunk not in found)
            self._later = [(due, chunk) for due, chunk in self._later if chunk not in found]
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._now.clear()
        self._later.clear()

    def _take_due(self) -> None:
        """Put the delayed chunks that are due behind those that run again."""
        if self._later:
            now = time.monotonic()
            self._now.extend(chunk for due, chunk in self._later if due <= now)
            self._later = [(due, chunk) for due, chunk in self._later if due > now]
