"""What a worker runs of a frame: pandas' own loop over a block of it, with a function that keeps its results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from workers.frames.results import Packed, pack


@dataclass(frozen=True, slots=True)
class Call:
    """A function with the arguments that come behind the first."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, item: Any) -> Any:
        """Call it."""
        return self.function(item, *self.args, **self.kwargs)


class Recorder:
    """A function that keeps what the call gives, for pandas to call."""

    def __init__(self, call: Callable[[Any], Any]) -> None:
        """Take the call."""
        self.results: list[Any] = []
        self._call = call

    def __call__(self, item: Any) -> None:
        """Call it, and give pandas nothing."""
        from pandas import Series  # noqa: PLC0415

        result = self._call(item)
        if isinstance(result, Series):
            result = result.copy(deep=False)  # a row that is returned itself gets other values for the next one
        self.results.append(result)


@dataclass(frozen=True, slots=True)
class RunFrame:
    """Calls the function with the columns (axis 0) or rows (axis 1) of a block."""

    call: Call
    axis: int
    transposed: bool
    """Whether rows are the columns of the transposed block, as they are where results are broadcast."""

    def __call__(self, block: Any) -> Packed:
        """Return the results."""
        record = Recorder(self.call)
        if self.transposed:
            block.T.apply(record, axis=0)
        else:
            block.apply(record, axis=self.axis)
        return pack(record.results)


@dataclass(frozen=True, slots=True)
class RunArray:
    """Calls the function with the columns (axis 0) or rows (axis 1) of an array."""

    call: Call
    axis: int

    def __call__(self, block: Any) -> Packed:
        """Return the results."""
        import numpy  # noqa: ICN001, PLC0415

        record = Recorder(self.call)
        numpy.apply_along_axis(record, self.axis, block)
        return pack(record.results)


@dataclass(frozen=True, slots=True)
class RunValues:
    """Calls the function with each value of a few series, or of what was packed."""

    call: Call
    na_action: str | None

    def __call__(self, pieces: Iterable[Any]) -> Packed:
        """Return the results."""
        from pandas import Series  # noqa: PLC0415

        record = Recorder(self.call)
        for piece in pieces:
            if isinstance(piece, Series):
                piece.map(record, na_action=self.na_action)
            else:
                for value in piece.unpack():
                    record(value)
        return pack(record.results)


@dataclass(frozen=True, slots=True)
class RunGroups:
    """Calls the function with groups, each of which knows the key of its group as its name."""

    call: Call

    def __call__(self, block: tuple[list[Any], Iterable[Any]]) -> Packed:
        """Return the results."""
        results = []
        for key, group in zip(*block, strict=True):
            object.__setattr__(group, "name", key)  # as pandas does, also where a column has that name
            results.append(self.call(group))
        return pack(results)
