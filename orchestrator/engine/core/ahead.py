"""Holds encoded chunks that wait for a credit, by call, to be sent while their consumer is away.

Pure.

Each call that has some stands in the line for credits, under its own negative number, as threads that wait do under
theirs: so neither starves the other. Owner: the engine, under its lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.core.waiting_line import WaitingLine

_Kept = tuple[Chunk, Any]
"""A chunk, and what it is encoded as."""


class Ahead:
    """The chunks of all calls that were encoded ahead of the lanes."""

    def __init__(self, line: WaitingLine) -> None:
        self._line = line
        self._calls: dict[int, deque[_Kept]] = {}
        self._depths: dict[int, int] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._calls)

    @property
    def calls(self) -> list[int]:
        """The calls that have chunks ahead."""
        return list(self._calls)

    def count(self, call: int) -> int:
        """Count the chunks of a call."""
        return len(self._calls.get(call, ()))

    def put(self, call: int, batch: Iterable[_Kept], depth: int, *, first: bool) -> None:
        """Add chunks of a call, in order, before or behind the present ones.

        A lane may hold `depth` of them.
        """
        kept = self._calls.setdefault(call, deque())
        if first:
            kept.extendleft(reversed(list(batch)))
        else:
            kept.extend(batch)
        self._depths[call] = depth
        self._stand(call)

    def head(self, call: int) -> tuple[Chunk, int]:
        """Return the chunk of a call that is next, and how many the lane that it goes to may hold."""
        chunk = self._calls[call][0][0]
        return chunk, 1 if chunk.alone else self._depths[call]

    def take(self, call: int) -> _Kept:
        """Return the chunk that is next, as the call is served."""
        kept = self._calls[call].popleft()
        self._line.serve(-call)
        self._stand(call)
        return kept

    def drop(self, call: int) -> list[_Kept]:
        """Return all chunks of a call, and forget them."""
        dropped = list(self._calls.get(call, ()))
        self._calls[call] = deque()  # none, so it leaves the line
        self._stand(call)
        return dropped

    def _stand(self, call: int) -> None:
        if self._calls[call]:
            self._line.enter(-call, self.head(call)[1])
        else:
            del self._calls[call]
            self._depths.pop(call, None)
            self._line.leave(-call)
