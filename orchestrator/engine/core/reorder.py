"""The reorder buffer, which holds completions until their turn.

Pure.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from orchestrator.errors import InternalError

T = TypeVar("T")


class ReorderBuffer(Generic[T]):
    """Returns completions in the order 0, 1, 2 …, or unordered, as they come."""

    __slots__ = ("_behind", "_early", "_inserted", "_next", "_passed", "_ready", "ordered")

    def __init__(self, *, ordered: bool = True) -> None:
        self.ordered = ordered
        self._next = 0  # the first seq not yet in _ready
        self._passed = 0  # all of at least 0 and below are in _ready
        self._early: dict[int, T] = {}  # all seqs are behind _next
        self._behind: dict[int, int] = {}  # what comes behind a seq, where that is not the next number
        self._inserted = 0
        self._ready: deque[T] = deque()

    def put(self, seq: int, value: T) -> None:
        """Add the completion of `seq`.

        Raises:
            InternalError: this seq was here before.
        """
        if not self.ordered:
            self._ready.append(value)
            return
        if seq != self._next:
            if 0 <= seq < self._passed or seq in self._early:
                raise InternalError(f"chunk {seq} completed twice")
            self._early[seq] = value
            return
        self._ready.append(value)
        self._pass()
        early = self._early
        while early and self._next in early:
            self._ready.append(early.pop(self._next))
            self._pass()

    def insert(self, seq: int) -> int:
        """Return a seq, below 0, that comes right behind this one, which is not complete yet."""
        self._inserted -= 1
        self._behind[self._inserted] = self._behind.get(seq, seq + 1)
        self._behind[seq] = self._inserted
        return self._inserted

    def _pass(self) -> None:
        """Go on to the next seq."""
        seq = self._next
        self._next = self._behind.pop(seq, seq + 1) if self._behind else seq + 1
        if self._next > 0:
            self._passed = self._next

    @property
    def ready(self) -> bool:
        """Whether there is one whose turn it is."""
        return bool(self._ready)

    def pop(self) -> T | None:
        """Return the completion whose turn it is, or None if it is not there yet."""
        return self._ready.popleft() if self._ready else None

    def drain(self) -> list[T]:
        """Return everything that is held, in no order."""
        held = [*self._ready, *self._early.values()]
        self._ready.clear()
        self._early.clear()
        return held

    def __len__(self) -> int:
        """Count the completions that are held, whether their turn has come or not."""
        return len(self._ready) + len(self._early)
