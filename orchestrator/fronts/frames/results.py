"""How the results of a function travel: packed if they are alike, else as they are.

Packing loses nothing: what `unpack` returns is of the same types and values, element by element.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.fronts.frames.joined import Joined, join

_PLAIN = {float: "f8", int: "i8", bool: "?"}
"""Python's own types whose values an array of numpy gives back as they were."""


@dataclass(frozen=True, slots=True)
class Scalars:
    """Scalars of one type, in an array."""

    array: Any
    of_numpy: bool

    def unpack(self) -> list[Any]:
        """Return the scalars."""
        if self.of_numpy:
            return list(self.array)
        values: list[Any] = self.array.tolist()
        for place in np.flatnonzero(self.array != self.array).tolist():
            values[place] = np.nan
        return values


@dataclass(frozen=True, slots=True)
class Rows:
    """Series of one numpy dtype and one index, as the rows of a matrix."""

    matrix: Any
    index: Any
    names: list[Any]

    def unpack(self) -> list[Any]:
        """Return the series."""
        dtype, index = self.matrix.dtype, self.index
        rows = zip(self.matrix, self.names, strict=True)
        return [pd.Series(row, index=index, dtype=dtype, name=name, copy=False) for row, name in rows]


@dataclass(frozen=True, slots=True)
class Mixed:
    """Any results. Those that are `numpy.nan` itself, as which pandas knows it, are so again."""

    results: list[Any]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it with marks for that object, which a pickle makes a new one of."""
        return Mixed, ([_NAN if each is np.nan else each for each in self.results],)  # noqa: PLW0177 - which object

    def unpack(self) -> list[Any]:
        """Return the results."""
        return self.results


class _Nan:
    """The mark for `numpy.nan`, which is loaded as that."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _nan, ()


_NAN = _Nan()


def _nan() -> float:
    return np.nan


Packed = Scalars | Rows | Joined | Mixed


def pack(results: list[Any]) -> Packed:
    """Return the results in the form that is cheapest to send."""
    kinds = set(map(type, results))
    if len(kinds) != 1:
        return Mixed(results)
    (kind,) = kinds
    if kind is pd.Series:
        return _rows(results) or Mixed(results)
    if kind is pd.DataFrame:
        return join(results) or Mixed(results)
    return _scalars(kind, results) or Mixed(results)


def _scalars(kind: type, results: list[Any]) -> Scalars | None:
    if kind is float and any(each != each and each is not np.nan for each in results):  # noqa: PLR0124, PLW0177
        return None
    if kind in _PLAIN:
        try:
            return Scalars(np.array(results, dtype=_PLAIN[kind]), of_numpy=False)
        except OverflowError:  # an int of more than 64 bits
            return None
    if issubclass(kind, np.number | np.bool_) and not issubclass(kind, np.timedelta64):
        return Scalars(np.array(results), of_numpy=True)
    return None


def _rows(results: list[Any]) -> Rows | None:
    first, index = results[0], results[0].index
    dtype, length = first.dtype, len(first)
    if not isinstance(dtype, np.dtype):
        return None
    for each in results:
        if each.dtype != dtype or len(each) != length or each.attrs or not each.flags.allows_duplicate_labels:
            return None
        if not (each.index.is_(index) or (type(each.index) is type(index) and each.index.identical(index))):
            return None
    matrix = np.empty((len(results), length), dtype)
    for row, each in enumerate(results):
        matrix[row] = each.to_numpy()
    return Rows(matrix, index, [each.name for each in results])
