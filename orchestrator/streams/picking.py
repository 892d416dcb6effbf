"""The methods of a stream that pass on some of the items, or all of them at a pace of their own.

All run in the coordinator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from orchestrator.streams.described import Described, refuse_uncallable
from orchestrator.streams.patterns import picking
from orchestrator.streams.patterns.timed import pacing


class Picking(Described):
    """Items to some of them."""

    __slots__ = ()

    def take(self, n: int) -> Self:
        """Take the first `n` items, and end.

        What leads to it alone stops at once: sources are closed, and workers are free for the rest of the run. Some
        items more may have been read, and run, by then; what they give, and their failures, count for nothing.
        """
        picking.Take(n)  # refuses what can't be
        return self._node("take", None, lambda name: picking.Take(n, name=name))

    def take_while(self, pred: Callable[[Any], Any]) -> Self:
        """Take items up to the first for which `pred(item)` is false, which is dropped, and end as `take` does."""
        refuse_uncallable("take_while", "pred", pred)
        return self._node("take_while", pred, lambda name: picking.TakeWhile(pred, name=name))

    def skip(self, n: int) -> Self:
        """Leave out the first `n` items."""
        picking.Skip(n)
        return self._node("skip", None, lambda name: picking.Skip(n, name=name))

    def distinct(self, key: Callable[[Any], Any] | None = None) -> Self:
        """Pass on the first item of each `key(item)`, or each item once.

        Every key that was seen is held in memory.
        """
        return self._node("distinct", key, lambda name: picking.Distinct(key, name=name))

    def enumerate(self, start: int = 0) -> Self:
        """Number the items: (start, item), (start + 1, item), and so on."""
        picking.Enumerate(start)
        return self._node("enumerate", None, lambda name: picking.Enumerate(start, name=name))

    def top(self, n: int, key: Callable[[Any], Any] | None = None, *, smallest: bool = False) -> Self:
        """Pass on the `n` greatest items when the stream has ended, the greatest first.

        Only `n` items are held. Of equal ones the earlier comes first, as `sorted(..., reverse=True)[:n]` has it.

        Args:
            n: how many.
            key: item to what is compared; by default the item itself.
            smallest: the smallest instead, the smallest first.
        """
        picking.Top(n, smallest=smallest)
        return self._node("top", key, lambda name: picking.Top(n, key, smallest=smallest, name=name))

    def throttle(self, per_second: float) -> Self:
        """Pass on at most `per_second` items a second.

        Up to a tenth of a second's items go at once. For calls in workers there is `map(..., rate=)`.
        """
        pacing.Throttle(per_second)
        return self._node("throttle", None, lambda name: pacing.Throttle(per_second, name=name))
