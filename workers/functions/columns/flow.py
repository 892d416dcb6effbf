"""A slice of a chunk in fused steps: a column of values, and the items that they belong to.

Which item a value came from is not tracked while all goes well. Each step that changes positions leaves in the flow's
trail the mask or the groups that it had made anyway; only a failure, or a branch whose chains change positions, has the
trail walked. Everything is done by columns, in C loops.

Runs in the worker; owner of a flow is the chain that it is in. Values stand in the order of their items.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, chain, compress, islice, repeat
from operator import is_not, sub
from typing import Any

from workers.errors.capture import ExceptionRecord

Bad = dict[int, ExceptionRecord]
"""Failures by position in a column."""


class Flow:
    """The values now, and what is needed to know whose they are."""

    __slots__ = ("_apart", "failures", "size", "trail", "values")

    def __init__(self, items: Sequence[Any]) -> None:
        self.size = len(items)
        self.values = items
        self.trail: list[tuple[bool, Sequence[Any]]] = []
        """(True, mask) for each step that dropped values; for each that multiplied them (False, bounds): where in what
        came of them the results of each start, and the end."""
        self.failures: Bad = {}
        """By position in the items."""
        self._apart: Callable[[], list[Any]] | None = None
        """Gives what the values were made of one by one, if all became one."""

    def come_together(self, value: Any, apart: Callable[[Sequence[Any]], list[Any]]) -> None:
        """Replace all values by one, which stands for the item of the first.

        Args:
            value: the one.
            apart: gives for the values before what each alone would have become.
        """
        values = self.values
        self._apart = partial(apart, values)
        self.spread([value], [0, *repeat(1, len(values))])

    def keep(self, mask: Sequence[bool]) -> None:
        """Drop the values for which the mask is false."""
        self.values = list(compress(self.values, mask))
        self.trail.append((True, mask))

    def drop_none(self) -> None:
        """Drop the values that are None."""
        mask = list(map(is_not, self.values, repeat(None)))
        if not all(mask):
            self.keep(mask)

    def spread(self, values: Sequence[Any], bounds: Sequence[int]) -> None:
        """Replace each value by values.

        For the bounds see `trail`.
        """
        self.values = values
        self.trail.append((False, bounds))

    def origins(self) -> list[int]:
        """Return for each value the position of the item that it came from."""
        found: Any = range(self.size)
        for is_mask, change in self.trail:
            found = compress(found, change) if is_mask else _repeated(found, change)
        return list(found)

    def lose(self, bad: Bad, *, stop: bool) -> list[bool]:
        """Enter the failures of values, drop those, and return the mask of the rest.

        Args:
            bad: by position among the values.
            stop: only the first counts, and what stands behind it is dropped too.
        """
        origins = self.origins()
        if stop:
            first = min(bad)
            self.failures = {origins[first]: bad[first]}
            mask = [position < first for position in range(len(origins))]
        else:
            for position, record in bad.items():
                self.failures.setdefault(origins[position], record)
            mask = [position not in bad for position in range(len(origins))]
        self.keep(mask)
        return mask

    def purge(self) -> list[bool]:
        """Drop the values of items of which another value failed, as a failed item gives nothing.

        Returns the mask of the rest.
        """
        mask = [origin not in self.failures for origin in self.origins()]
        if not all(mask):
            self.keep(mask)
        return mask

    def by_item(self) -> list[Sequence[Any]]:
        """Return the values of each item, none for one that failed or was dropped."""
        if self._apart is not None:
            self.values, self._apart = self._apart(), None
            self.trail.pop()
        if not self.trail:
            return list(zip(self.values, strict=False))
        groups: list[Any] = [[] for _ in range(self.size)]
        exhaust(map(list.append, map(groups.__getitem__, self.origins()), self.values))
        return groups

    def scatter(self, parts: Sequence[tuple[Sequence[int], Flow]], bad: Bad, *, stop: bool) -> Bad:
        """Insert the results of parts of this column, and return all failures by position.

        Args:
            parts: (positions in this column, what came of the values there); other values stay as they are.
            bad: failures of values that are in no part.
            stop: as for `lose`.
        """
        bad = dict(bad)
        for places, part in parts:
            bad.update((places[position], record) for position, record in part.failures.items())
        if any(part.trail for _, part in parts):
            groups: list[Any] = list(zip(self.values, strict=False))
            for places, part in parts:
                exhaust(map(groups.__setitem__, places, part.by_item()))
            if bad:
                groups = list(compress(groups, self.lose(bad, stop=stop)))
            self.spread(list(chain.from_iterable(groups)), list(accumulate(map(len, groups), initial=0)))
        else:
            self.values = list(self.values)
            for places, part in parts:
                exhaust(map(self.values.__setitem__, places, part.values))
            if bad:
                self.lose(bad, stop=stop)
        return bad


def _repeated(origins: Iterable[int], bounds: Sequence[int]) -> Iterator[int]:
    return chain.from_iterable(map(repeat, origins, map(sub, islice(bounds, 1, None), bounds)))


def exhaust(iterator: Any) -> None:
    """Run an iterator to its end for its effect."""
    deque(iterator, maxlen=0)
