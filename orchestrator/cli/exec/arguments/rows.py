"""Combines the rows of several sources, and hands them out as rows of arguments, one for each command.

    ::: a b ::: 1 2     a 1, a 2, b 1, b 2           :::+ a group that goes in step with the one before it
    :::: FILE           the lines of a file, or of standard input for "-";         ::::+ in step
    --link              all groups in step, the shorter ones over and over

Runs in the coordinator. Of several sources the first is read while commands run, the others before.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from orchestrator.cli.exec.arguments.records import Records, Row


class Rows(Protocol):
    """Rows of arguments, one for each command."""

    @property
    def total(self) -> int | None:
        """How many, or None where that is known when they have been read."""

    @property
    def width(self) -> int | None:
        """Arguments a row, or None where that may differ."""

    def ready(self) -> bool:
        """Tell whether the next row, or the end, is available without waiting."""

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call `call`, from any thread, whenever `ready` may have become true."""

    def close(self) -> None:
        """Read nothing more."""

    def __iter__(self) -> Iterator[Row]:
        """Return an iterator over the rows."""


class ListedRows:
    """Rows that are known."""

    def __init__(self, rows: Sequence[Row], width: int | None) -> None:
        self._rows = rows
        self.width = width
        self.total: int | None = len(rows)

    def ready(self) -> bool:
        """Return True, as they are here."""
        return True

    def when_ready(self, call: Callable[[], None]) -> None:
        """Do nothing, as they are here."""

    def close(self) -> None:
        """Do nothing."""

    def __iter__(self) -> Iterator[Row]:
        """Return an iterator over the rows."""
        return iter(self._rows)


class CombinedRows:
    """Every combination of the rows of several groups, the last group running fastest."""

    def __init__(self, clusters: list[list[Records]]) -> None:
        """Take clusters of groups.

        Groups of one cluster go in step to the end of the shortest, the clusters are combined.
        """
        self._first = clusters[0]
        self._others = [list(_in_step(cluster)) for cluster in clusters[1:]]
        for group in itertools.chain(*clusters[1:]):
            group.close()
        widths = [group.width for cluster in clusters for group in cluster]
        self.width = None if None in widths else sum(width or 0 for width in widths)
        self._is_inside = False
        """Whether combinations of a row of the first cluster are left."""

    @property
    def total(self) -> int | None:
        """How many there are, if it is known before they are read."""
        totals = [group.total for group in self._first]
        known = [total for total in totals if total is not None]
        if len(known) < len(totals):
            return None
        return min(known) * math.prod(map(len, self._others))

    def ready(self) -> bool:
        """Tell whether the next row, or the end, is here."""
        return self._is_inside or all(group.ready() for group in self._first)

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call from a reading thread."""
        for group in self._first:
            group.when_ready(call)

    def close(self) -> None:
        """Read nothing more."""
        for group in self._first:
            group.close()

    def __iter__(self) -> Iterator[Row]:
        """Yield the combinations."""
        last = math.prod(map(len, self._others)) - 1
        for row in _in_step(self._first):
            for number, others in enumerate(itertools.product(*self._others)):
                self._is_inside = number < last
                yield tuple(itertools.chain(row, *others))


def linked(groups: list[Records]) -> ListedRows:
    """Return the groups in step to the end of the longest, the shorter ones over and over."""
    lists = [list(group) for group in groups]
    longest = max(map(len, lists))
    turns = [itertools.islice(itertools.cycle(rows), longest) for rows in lists]
    widths = [group.width for group in groups]
    width = None if None in widths else sum(width or 0 for width in widths)
    return ListedRows([tuple(itertools.chain(*rows)) for rows in zip(*turns, strict=True)], width)


def all_at_once(rows: Rows) -> Rows:
    """Return the same rows, all read, where they are read twice or their number must be known."""
    return rows if isinstance(rows, ListedRows) else ListedRows(list(rows), rows.width)


def _in_step(cluster: Sequence[Records]) -> Iterator[Row]:
    return (tuple(itertools.chain(*rows)) for rows in zip(*cluster, strict=False))
