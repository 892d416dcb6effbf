"""Merging sorted runs on whole lists, either way round. Owns no state.

Everything up to the smallest of the last keys of the unfinished runs is safe to release: bisect finds it in each run,
and one sort (Timsort, which finds the runs) merges it, instead of a heap step an item.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import partial
from typing import Any


class Descending:
    """A key that is less than another one if it is greater."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: Descending) -> bool:
        return bool(other.key < self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descending) and bool(self.key == other.key)

    __hash__ = None  # type: ignore[assignment]  # only compared


def safe_counts(
    runs: Sequence[list[Any]], last: Sequence[list[Any]], ended: Sequence[bool], *, reverse: bool = False
) -> list[int]:
    """Return how many of the keys that each run shows may go.

    Args:
        runs: the keys, sorted.
        last: the last key that each run has ever shown; empty: none yet.
        ended: whether a run has no more than that.
        reverse: whether the runs begin with the greatest.
    """
    bound: list[Any] = []
    holder = len(runs)
    for number, key in enumerate(last):
        if ended[number]:
            continue
        if not key:
            return [0] * len(runs)
        if not bound or (bound[0] < key[0] if reverse else key[0] < bound[0]):
            bound, holder = key, number
    if not bound:
        return [len(keys) for keys in runs]
    # An equal key of a later run must wait: the run that sets the bound may bring more of it.
    least = Descending(bound[0]) if reverse else bound[0]
    turned = Descending if reverse else None
    return [
        (bisect_right if number <= holder else bisect_left)(keys, least, key=turned)
        for number, keys in enumerate(runs)
    ]


def sort_by(items: list[Any], keys: Sequence[Any] | None, *, reverse: bool = False) -> None:
    """Sort items by their keys, or by themselves.

    Equal ones stay in their order.
    """
    # `sort` asks for each key once, in the order of the list.
    items.sort(key=None if keys is None else partial(next, iter(keys)), reverse=reverse)
