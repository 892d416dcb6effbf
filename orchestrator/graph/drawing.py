"""Draws items from an iterator so that none can change once it was drawn.

A run of numbers, texts or other immutable items, or of tuples of such, is drawn in one go, in C. What may alias, a view
of a buffer or a dict in a tuple, is drawn alone and kept before the source is asked for the next item. What nobody else
refers to stays as it is: nobody can change it. Owner of the state: whoever draws.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain, filterfalse, groupby, islice
from sys import getrefcount
from typing import Any

from orchestrator.graph.flow.ownership import ALONE, ATOMS, are_atoms, are_safe, flat_copy, is_safe
from workers.errors.describe import full_type_name
from workers.errors.signal_handlers import is_of_a_handler
from workers.pickling import by_value, memmap
from workers.transport import payload
from workers.transport.sent_item import SentItem, SentItems


@memmap.sends_memmaps_by_name
def sent(item: Any) -> Any:
    """Return the item as it is now, pickled or copied.

    If it can't be, itself: that is reported when its chunk is sent.
    """
    flat = flat_copy(item)
    if flat is not None:
        return flat
    try:
        return SentItem(payload.encode(item, by_value.dumps))
    except BaseException as error:
        if is_of_a_handler(error):
            raise
        return item


def close_iterator(items: Iterator[Any] | None) -> None:
    """Close a generator, so that its own `finally` runs now.

    A file is closed by its owner.
    """
    close = getattr(items, "close", None)
    if close is not None and not isinstance(items, io.IOBase):
        close()


class Drawer:
    """Draws the items of one iterator."""

    def __init__(self, items: Iterator[Any], keep: Callable[[Any], Any] | None = sent) -> None:
        """Take the iterator, and what gives the item to keep in place of one that may alias.

        Args:
            items: what is drawn from.
            keep: None: such an item stays as it is, and is the last one that a call draws.
        """
        self._runs = groupby(items, type)
        self._keep = keep
        self._kind: type = type(None)
        self._run: Iterator[Any] = iter(())
        self._is_stopped = False
        self.ended = False
        self.copies = True
        """Whether items that may change are pickled as they are drawn."""
        self.drawn: list[Any] = []
        """What the last call has drawn."""

    def draw(self, size: int) -> list[Any]:
        """Return the next items, at most `size`.

        Fewer only at the end, or if the last one may alias.

        Raises:
            Exception: what the source raised; `drawn` has what it gave before.
        """
        self.drawn, self._is_stopped = [], False
        while (wanted := size - len(self.drawn)) and not self.ended and not self._is_stopped:
            self._draw(wanted)
            if len(self.drawn) < size and not self._is_stopped:
                self._next_run()
        return self.drawn

    def _draw(self, wanted: int) -> None:
        """Draw from the current run."""
        kind, items, drawn = self._kind, islice(self._run, wanted), self.drawn
        if kind in ATOMS or is_ours(kind) or not self.copies:
            drawn.extend(items)
        elif kind is tuple:
            # In C as long as all members are atoms; `append` returns None, so what is drawn passes the filter.
            if not are_atoms(map(type, chain.from_iterable(filterfalse(drawn.append, items)))):
                self._draw_containers(chain(_taken_back(drawn), items))
        elif kind is dict or kind is list:
            self._draw_containers(items)
        else:
            self._draw_one_by_one(items)

    def _draw_containers(self, items: Iterator[Any]) -> None:
        """Draw tuples, lists or dicts, mostly of atoms, or mostly of containers in their turn."""
        flat = True
        is_tuple, is_dict = self._kind is tuple, self._kind is dict
        for item in items:
            alone = getrefcount(item) <= ALONE
            members = item.values() if is_dict else item
            flat = flat and are_atoms(map(type, members))
            if flat and (alone or is_tuple):
                self.drawn.append(item)
            elif flat and self._keep is not None:
                self.drawn.append(item.copy())
            elif (alone or is_tuple) and are_safe(members, alone):
                self.drawn.append(item)
            elif not self._add(item, safe=False):
                return

    def _draw_one_by_one(self, items: Iterator[Any]) -> None:
        for item in items:
            safe = is_safe(item)  # on a line of its own: the arguments of a call are references
            if not self._add(item, safe=safe):
                return

    def _add(self, item: Any, *, safe: bool) -> bool:
        """Add an item, or its copy, and return whether the source may continue."""
        self._is_stopped = not safe and self._keep is None
        if not safe and self._keep is not None:
            item = self._keep(item)
            if type(item) is SentItem and type(self.drawn) is list:
                self.drawn = SentItems(self.drawn)
        self.drawn.append(item)
        return not self._is_stopped

    def skip(self, items: int) -> None:
        """Skip so many items."""
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


def _taken_back(drawn: list[Any]) -> Iterator[Any]:
    """Take back the item that was drawn last, without a reference that stays behind."""
    yield drawn.pop()


@cache
def is_ours(kind: type) -> bool:
    """Whether it is a class of this package: blocks of files and commands are made anew for each chunk."""
    return full_type_name(kind).startswith(("workers.", "orchestrator."))


