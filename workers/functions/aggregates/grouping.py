"""The function of a step that makes one part of many items: by key, each with its aggregates.

    items -> rows (key, value, value …) -> {key: [part, part …]}

The rows are made value by value, so that an item that fails is known; the parts are made of whole columns. Runs in the
worker's main thread; owns nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from workers.functions.aggregates.functions import Aggregate

Row = tuple[Any, ...]
"""An item's key, then its value for each aggregate."""
Parts = dict[Any, list[Any]]
"""By key, in the order in which keys first appear: the part of each aggregate."""


class Grouping:
    """A key and aggregates."""

    __slots__ = ("aggregates", "key")

    def __init__(self, key: Callable[[Any], Any] | None, aggregates: Sequence[Aggregate]) -> None:
        """Take them.

        Without a key function all items have the same key.
        """
        self.key = key
        self.aggregates = tuple(aggregates)

    @property
    def columns(self) -> tuple[Callable[[Any], Any] | None, ...]:
        """Functions of an item, which give its key, then its values.

        None: the item itself.
        """
        return (self.key or _same_key, *(each.value for each in self.aggregates))

    @property
    def numbers(self) -> tuple[int, ...]:
        """Which columns must hold numbers."""
        return tuple(column for column, each in enumerate(self.aggregates, 1) if each.adds)

    @property
    def reaches(self) -> list[Any]:
        """All that the value is computed with."""
        return [self.key, *(part for each in self.aggregates for part in (type(each), *each.reaches))]

    def together(self, rows: Sequence[Row]) -> tuple[Parts, dict[int, BaseException]]:
        """Return the parts of rows, and what was raised by which of them.

        Where some raised, the parts are not whole.
        """
        places: defaultdict[Any, list[int]] = defaultdict(list)
        bad: dict[int, BaseException] = {}
        for place, row in enumerate(rows):
            try:
                places[row[0]].append(place)
            except TypeError as error:  # the key has no hash
                bad[place] = error
        parts: Parts = {}
        for key, of_key in places.items():
            _, *columns = zip(*map(rows.__getitem__, of_key), strict=True)
            parts[key] = made = []
            for aggregate, values in zip(self.aggregates, columns, strict=True):
                try:
                    made.append(aggregate.part(values))
                except BaseException as error:
                    found = _at_fault(aggregate, values) or {len(values) - 1: error}
                    bad.update((of_key[at], each) for at, each in found.items())
        return parts, bad


def _same_key(_item: Any) -> None:
    return None


def _at_fault(aggregate: Aggregate, values: Sequence[Any]) -> dict[int, BaseException]:
    """Return which values an aggregate fails for when it takes in one after the other, without those before."""
    good: list[Any] = []
    bad: dict[int, BaseException] = {}
    part: Any = None
    for place, value in enumerate(values):
        try:
            part = aggregate.extended(part, value) if good else aggregate.part([value])
        except BaseException as error:
            bad[place] = error
            try:
                part = aggregate.part(good) if good else None  # the value may have changed it before it raised
            except BaseException:
                break  # what is left is tried again without those that are known
        else:
            good.append(value)
    return bad
