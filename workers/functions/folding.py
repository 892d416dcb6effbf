"""The step that makes one part of the values of a slice, at the end of a chain.

    values -> rows -> one {key: parts} for the slice, which stands for its first item

An item that fails, in the key, in a value or in the part itself, gives nothing, and the part is made without it. Where
results are wanted item by item, as others failed or can't be sent, each item's part comes apart again, so that what
runs again keeps its place.

Runs in the worker's main thread, which owns the state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import Any, Protocol

from workers.errors.capture import ExceptionRecord
from workers.functions.aggregates.sums import number
from workers.functions.columns.flow import Bad, Flow
from workers.functions.steps import Reducer, Row, StepCounts

_NUMBERS = {int, float, bool}


class Calls(Protocol):
    """Calls over a column, as those of the chain's other steps."""

    stop: bool

    def over(self, apply: Iterator[Any], total: int) -> tuple[list[Any], Bad]:
        """Return the results, and the failures among them."""

    def captured(self, error: BaseException) -> ExceptionRecord:
        """Return the failure of this step for what was raised."""


class Fold:
    """Replaces the values of a slice by one."""

    def __init__(self, function: Reducer, calls: Calls) -> None:
        self.counts = StepCounts()
        self._function = function
        self._calls = calls

    def run(self, flow: Flow) -> Bad:
        """Fold the values, without those that fail."""
        folding = _Folding(flow, self._calls)
        for function in self._function.columns:
            folding.add_column(function)
        for column in self._function.numbers:
            if not _NUMBERS.issuperset(map(type, folding.columns[column])):
                folding.check_numbers(column)
        flow.values = list(zip(*folding.columns, strict=True))
        if folding.bad:
            folding.leave_out(flow.purge())
        while flow.values:
            made, raised = self._function.together(flow.values)
            if not raised:
                flow.come_together(made, self._apart)
                break
            folding.lose({place: self._calls.captured(error) for place, error in raised.items()})
            folding.leave_out(flow.purge())
        return folding.bad

    def _apart(self, rows: Sequence[Row]) -> list[Any]:
        """Return what each row alone becomes."""
        return [self._function.together([row])[0] for row in rows]


class _Folding:
    """One slice while its rows are made."""

    def __init__(self, flow: Flow, calls: Calls) -> None:
        self._flow = flow
        self._calls = calls
        self._places: Sequence[int] = range(len(flow.values))
        """Of the values that are left, where they stood."""
        self.columns: list[Sequence[Any]] = []
        self.bad: Bad = {}
        """By where they stood."""

    def add_column(self, function: Callable[[Any], Any] | None) -> None:
        values = self._flow.values
        if function is None:
            self.columns.append(values)
            return
        column, bad = self._calls.over(map(function, values), len(values))
        self.lose(bad)
        self.columns.append(column)

    def check_numbers(self, place: int) -> None:
        column = self.columns[place]
        checked, bad = self._calls.over(map(number, column), len(column))
        self.lose(bad)
        self.columns[place] = checked

    def lose(self, bad: Bad) -> None:
        """Drop values that failed, by their places among those that are left."""
        if bad:
            self.bad.update((self._places[place], record) for place, record in bad.items())
            self.leave_out(self._flow.lose(bad, stop=self._calls.stop))

    def leave_out(self, mask: Sequence[bool]) -> None:
        """Note which values are left."""
        self._places = list(compress(self._places, mask))
        self.columns = [list(compress(column, mask)) for column in self.columns]
