"""The function of a step that makes one sorted run of many items.

    items -> rows (key, item) -> (sorted items, their keys)

Runs in the worker's main thread; owns nothing.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

Run = tuple[list[Any], list[Any] | None]
"""Sorted items, and their keys; None: they are their own."""


class Sorting:
    """A key, and which end comes first."""

    __slots__ = ("columns", "key", "reverse")
    numbers = ()

    def __init__(self, key: Callable[[Any], Any] | None, *, reverse: bool) -> None:
        """Take them.

        Without a key function items are compared themselves.
        """
        self.key = key
        self.reverse = reverse
        self.columns: tuple[Callable[[Any], Any] | None, ...] = (None,) if key is None else (key, None)
        """Functions of an item: its key, and the item itself."""

    @property
    def reaches(self) -> tuple[Any, ...]:
        """All that the run is computed with."""
        return (self.key, self.reverse)

    def together(self, rows: Sequence[tuple[Any, ...]]) -> tuple[Run, dict[int, BaseException]]:
        """Return rows as a run, and what was raised by those that can't be compared with the others."""
        try:
            ordered = sorted(rows, key=itemgetter(0), reverse=self.reverse)
        except BaseException:
            return ([], None), _at_fault(rows)
        keys = [row[0] for row in ordered]
        return ((keys, None) if self.key is None else ([row[1] for row in ordered], keys)), {}


def _at_fault(rows: Sequence[tuple[Any, ...]]) -> dict[int, BaseException]:
    """Return which rows can't be compared with those before them."""
    good: list[Any] = []
    bad: dict[int, BaseException] = {}
    for place, (key, *_) in enumerate(rows):
        try:
            if key < key:  # noqa: PLR0124 - raises for what can't be compared at all, even the first
                pass
            insort(good, key)
        except BaseException as error:
            bad[place] = error
    return bad or {len(rows) - 1: RuntimeError("its key can't be compared with the others each time")}
