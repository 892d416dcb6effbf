"""What a worker runs of a frame: pandas' own loop over a block of it, with a function that keeps its results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.fronts.frames.results import Packed, pack


@dataclass(frozen=True, slots=True)
class Call:
    """A function with the arguments that come behind the first."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def bound(self) -> Callable[[Any], Any]:
        """Return the function of the first argument alone."""
        function, args, kwargs = self.function, self.args, self.kwargs
        return (lambda item: function(item, *args, **kwargs)) if args or kwargs else function


def _recorder(call: Call) -> tuple[Callable[[Any], None], list[Any]]:
    """Return a function for pandas to call, and the list of what the call gave for each."""
    function = call.bound()
    results: list[Any] = []
    keep = results.append

    def record(item: Any) -> None:
        result = function(item)
        # A row that is returned itself gets other values for the next one.
        keep(result.copy(deep=False) if isinstance(result, pd.Series) else result)

    return record, results


@dataclass(frozen=True, slots=True)
class RunFrame:
    """Calls the function with the columns (axis 0) or rows (axis 1) of a block."""

    call: Call
    axis: int
    transposed: bool
    """Whether rows are the columns of the transposed block, as they are where results are broadcast."""

    def __call__(self, block: Any) -> Packed:
        """Return the results."""
        record, results = _recorder(self.call)
        if self.transposed:
            block.T.apply(record, axis=0)
        else:
            block.apply(record, axis=self.axis)
        return pack(results)


@dataclass(frozen=True, slots=True)
class RunArray:
    """Calls the function with the columns (axis 0) or rows (axis 1) of an array."""

    call: Call
    axis: int
    writable: bool
    """Whether the function may change what it gets."""

    def __call__(self, block: Any) -> Packed:
        """Return the results."""
        if not self.writable:
            block.setflags(write=False)
        record, results = _recorder(self.call)
        np.apply_along_axis(record, self.axis, block)
        return pack(results)


@dataclass(frozen=True, slots=True)
class RunValues:
    """Calls the function with each value of a few series, or of what was packed."""

    call: Call
    na_action: str | None

    def __call__(self, pieces: Iterable[Any]) -> Packed:
        """Return the results."""
        function = self.call.bound()
        results: list[Any] = []
        keep = results.append
        for piece in pieces:
            if isinstance(piece, Packed):
                results.extend(map(function, piece.unpack()))
            else:
                piece.map(lambda value: keep(function(value)), na_action=self.na_action)
        return pack(results)


@dataclass(frozen=True, slots=True)
class RunGroups:
    """Calls the function with groups, each of which knows the key of its group as its name."""

    call: Call

    def __call__(self, block: tuple[Packed, Iterable[Any]]) -> Packed:
        """Return the results."""
        keys, groups = block
        function, results = self.call.bound(), []
        for key, group in zip(keys.unpack(), groups, strict=True):
            object.__setattr__(group, "name", key)  # as pandas does, also where a column has that name
            results.append(function(group))
        return pack(results)
