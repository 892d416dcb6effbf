"""Passes failures of an earlier stage by a stage, each in its place among the items.

    a b F c d  ->  chunks [a b] and [c d], which end where a Failure stands; F stands between what these give

A Failure takes an index of its own. Owner: the stage's node, in the engine's thread.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from orchestrator.engine.recovery.item_errors import Failure


class Passing:
    """The Failures that are not passed on yet, by the index at which each stands."""

    __slots__ = ("_fences", "_waiting", "settled_to")

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Failure]] = deque()
        self._fences: deque[int] = deque()  # indexes that the stage has not cut up to
        self.settled_to = 0
        """What stands before this index was passed on."""

    def __len__(self) -> int:
        """Count the waiting threads."""
        return len(self._waiting)

    @property
    def ahead(self) -> int:
        """How many failures stand behind what the stage has cut."""
        return len(self._fences)

    def pick(self, items: list[Any], index: int) -> list[Any]:
        """Keep the Failures among items, and return the others.

        `first_index` is that of the first item.
        """
        for number, item in enumerate(items, index):
            if type(item) is Failure:
                self._waiting.append((number, item))
                self._fences.append(number)
        return [item for item in items if type(item) is not Failure]

    def up_to_the_next(self, index: int) -> tuple[int, int | None]:
        """Return the index of the next item, past Failures, and how many items stand before the next Failure."""
        fences = self._fences
        while fences and fences[0] == index:
            fences.popleft()
            index += 1
        return index, fences[0] - index if fences else None

    def due(self, *, any_order: bool) -> list[Any]:
        """Take the results whose turn it is: all before them were passed on, or the order may be any."""
        found: list[Any] = []
        while self._waiting and (any_order or self._waiting[0][0] <= self.settled_to):
            found.append(self._waiting.popleft()[1])
            self.settled_to += 1
        return found

    def snapshot(self) -> Any:
        """Return what waits, and up to where all was passed on."""
        return list(self._waiting), self.settled_to

    def restore(self, state: Any, cut_to: int) -> None:
        """Restore what `snapshot` returned.

        `cut_to`: the index up to which the stage has cut.
        """
        waiting, self.settled_to = state
        self._waiting.extend(waiting)
        self._fences.extend(index for index, _ in waiting if index >= cut_to)
