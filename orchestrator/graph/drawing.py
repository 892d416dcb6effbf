"""Draw items from an iterator so that none can change once it was drawn, though the source goes on.

A run of numbers, texts or other immutable items is drawn in one go, in C. What may alias, a view of a buffer or a dict
in a tuple, is drawn alone and pickled before the source is asked for the next item. What nobody else refers to is kept
as it is: nobody can change it. Owner of the state: the cutter.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from itertools import groupby, islice
from sys import getrefcount
from typing import Any

from workers.errors.describe import full_type_name
from workers.errors.signal_handlers import is_of_a_handler
from workers.pickling import by_value, memmap
from workers.transport import payload
from workers.transport.sent_item import SentItem, SentItems

_ATOMS = frozenset({int, float, complex, str, bytes, bool, type(None), type(...), range, type})
_are_atoms = _ATOMS.issuperset
_FRESH = 2
"""References to an item that nobody else has: the variable that holds it, and the argument of `getrefcount`."""


class Drawer:
    """Draws the items of one iterator."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._runs = groupby(items, type)
        self._kind: type = type(None)
        self._run: Iterator[Any] = iter(())
        self.ended = False
        self.copies = True
        """Whether items that may change are pickled as they are drawn."""
        self.drawn: list[Any] = []
        """What the last call has drawn."""

    def draw(self, size: int) -> list[Any]:
        """Return the next items, at most `size`; fewer only at the end.

        Raises:
            Exception: what the source raised; `drawn` has what it gave before.
        """
        self.drawn = []
        while (wanted := size - len(self.drawn)) and not self.ended:
            if self._kind in _ATOMS or is_ours(self._kind) or not self.copies:
                self.drawn.extend(islice(self._run, wanted))
            else:
                self._draw_one_by_one(islice(self._run, wanted))
            if len(self.drawn) < size:
                self._next_run()
        return self.drawn

    def _draw_one_by_one(self, items: Iterator[Any]) -> None:
        """Draw items of one type, and pickle those that may change: in between the source is not asked for more."""
        add, kind = self.drawn.append, self._kind
        try:
            if kind is tuple:
                for item in items:
                    add(item if _are_atoms(map(type, item)) else _sent(item))
            elif kind is dict:
                for item in items:
                    add(item if getrefcount(item) <= _FRESH and _are_atoms(map(type, item.values())) else _sent(item))
            else:
                is_safe = _is_safe_array if kind is getattr(sys.modules.get("numpy"), "ndarray", None) else _is_safe
                for item in items:
                    add(item if getrefcount(item) <= _FRESH and is_safe(item) else _sent(item))
        finally:
            if SentItem in map(type, self.drawn):
                self.drawn = SentItems(self.drawn)

    def skip(self, items: int) -> None:
        """Read past so many items."""
        while items and not self.ended:
            skipped = sum(1 for _ in islice(self._run, items))
            items -= skipped
            if items:
                self._next_run()

    def _next_run(self) -> None:
        found = next(self._runs, None)
        if found is None:
            self.ended = True
        else:
            self._kind, self._run = found


@cache
def is_ours(kind: type) -> bool:
    """Whether it is a class of this package: blocks of files and commands are made anew for each chunk."""
    return full_type_name(kind).startswith(("workers.", "orchestrator."))


@memmap.sends_memmaps_by_name
def _sent(item: Any) -> Any:
    """Return the item as it is sent; if it can't be pickled, itself: that is told when its chunk is."""
    try:
        return SentItem(payload.encode(item, by_value.dumps))
    except BaseException as error:
        if is_of_a_handler(error):
            raise
        return item


def _is_safe_array(array: Any) -> bool:
    return array.base is None and not array.dtype.hasobject


def _is_safe(item: Any) -> bool:
    """Whether an item that nobody else refers to holds nothing that somebody else may refer to."""
    return type(item) is bytearray or (type(item) is list and _are_atoms(map(type, item)))
