"""Frames or series that travel as one, as each of its own would cost more than its values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import pandas as pd


@dataclass(frozen=True, slots=True)
class Joined:
    """Parts one below the other, and how many rows each has."""

    whole: Any
    lengths: list[int]

    def __iter__(self) -> Iterator[Any]:
        for start, stop in pairwise(accumulate(self.lengths, initial=0)):
            yield self.whole.iloc[start:stop]

    def unpack(self) -> list[Any]:
        """Return the parts."""
        return list(self)


def join(parts: list[Any], *, alike: bool = False) -> Joined | None:
    """Join frames, or series, if nothing is lost by that.

    Args:
        parts: at least one, all frames or all series.
        alike: whether they are known to be alike, as slices of one frame are.
    """
    first = parts[0]
    if len(parts) == 1 or not all(_is_alike(first, part) for part in (parts[:1] if alike else parts)):
        return None
    whole = pd.concat(parts)
    return Joined(whole, list(map(len, parts))) if _is_alike(first, whole) else None


def _is_alike(first: Any, part: Any) -> bool:
    index = part.index
    if type(part) not in {pd.DataFrame, pd.Series} or type(part) is not type(first):
        return False
    if type(index) is not type(first.index) or index.dtype != first.index.dtype or index.names != first.index.names:
        return False
    if type(index) is not pd.Index and getattr(index, "freq", 0) is not None:  # of others, slices may differ
        return False
    if part.attrs or not part.flags.allows_duplicate_labels:
        return False
    if part.ndim == 1:
        return bool(part.dtype == first.dtype)
    return bool(part.shape[1] > 0 and part.columns.identical(first.columns) and part.dtypes.equals(first.dtypes))
