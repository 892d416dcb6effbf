"""Packs several rows into one command, as `-n`, `-N`, `-L`, `-X` and `-m` say. Pure, but for what it reads."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.cli.exec.arguments.records import Row
    from orchestrator.cli.exec.arguments.rows import Rows

LONGEST_LINE = 131_071
"""Characters of a command line that is filled, as GNU parallel has it."""
MOST_ARGUMENTS = 20_000
"""Of one command: what the shell's text takes for each must fit into what the kernel hands to a process."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How many rows a command gets."""

    most: int | None = None
    """At most so many; 0: one, of which the command sees nothing; None: as many as fit."""
    fills: bool = False
    """Whether the last rows are spread over the workers, as under -X and -m."""
    repeats: bool = False
    """Whether a word around `{}` stands there once for each argument."""
    skips_blank: bool = False
    """Whether blank rows count as none, as under -r."""
    joins: bool = False
    """Whether a line that ends in a blank continues in the next one, as under -L."""


class PackedRows:
    """The rows of a source, several to a command."""

    def __init__(self, rows: Rows, packing: Packing, *, workers: int, cost: Callable[[Row], int]) -> None:
        """Take the rows.

        Args:
            rows: what is packed.
            packing: how many go together.
            workers: over so many the last rows are spread.
            cost: returns the characters that a row adds to the command line.
        """
        self._rows = rows
        self._packing = packing
        self._workers = max(1, workers)
        self._cost = cost
        self._unread = self._joined(iter(rows)) if packing.joins else iter(rows)
        self._waiting: list[Row] = []
        self._waiting_cost = 0
        self._packed: deque[Row] = deque()
        self._ended = False
        self.width = rows.width if packing.most == 1 else None
        self.when_ready, self.close = rows.when_ready, rows.close

    @property
    def total(self) -> int | None:
        """How many commands there are, if that is known before the rows are read."""
        rows, packing = self._rows.total, self._packing
        if rows is None or packing.most is None or packing.fills or packing.joins or packing.skips_blank:
            return None
        return -(-rows // max(1, packing.most))

    def ready(self) -> bool:
        """Tell whether the next command's rows, or the end, are here."""
        while not self._packed and not self._ended and self._rows.ready():
            self._read()
        return bool(self._packed) or self._ended

    def __iter__(self) -> Iterator[Row]:
        """Yield the arguments of one command after the other."""
        while True:
            while not self._packed and not self._ended:
                self._read()
            if not self._packed:
                return
            yield self._packed.popleft()

    def _read(self) -> None:
        """Take one row, or the end."""
        row = next(self._unread, None)
        if row is None:
            self._ended = True
            self._pack_rest()
            return
        if self._packing.skips_blank and not any(each.strip() for each in row):
            return
        if self._packing.most == 0:
            self._packed.append(())
            return
        cost = self._cost(row)
        if self._waiting and (self._waiting_cost + cost > LONGEST_LINE or len(self._waiting) >= MOST_ARGUMENTS):
            self._pack(len(self._waiting))
        self._waiting.append(row)
        self._waiting_cost += cost
        if len(self._waiting) == self._packing.most:
            self._pack(len(self._waiting))

    def _pack(self, count: int) -> None:
        rows, self._waiting = self._waiting[:count], self._waiting[count:]
        self._waiting_cost = 0
        self._packed.append(tuple(itertools.chain(*rows)))

    def _pack_rest(self) -> None:
        """Spread the last rows over the workers."""
        count = -(-len(self._waiting) // self._workers) if self._packing.fills else len(self._waiting)
        while self._waiting:
            self._pack(count)

    @staticmethod
    def _joined(rows: Iterator[Row]) -> Iterator[Row]:
        """Yield the rows, those joined that continue in the next."""
        before = ""
        for row in rows:
            if row and row[-1][-1:] in {" ", "\t"} and len(row) == 1:
                before += row[0]
                continue
            yield (before + row[0], *row[1:]) if before and row else row
            before = ""
        if before:
            yield (before,)
