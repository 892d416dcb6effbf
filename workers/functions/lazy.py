"""Results of one value that are too many to hold, as one `Lazy` that makes them when it is read.

Runs in the worker's main thread, which owns the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from sys import getsizeof, maxsize
from typing import Any

from workers.errors.capture import ExceptionRecord, capture
from workers.functions.steps import Step, StepCounts

SLICE_VALUES = 8192
FEW = 32
"""How many values are taken before their size is checked."""
MANY = 1024
"""How many values are taken between two later checks."""
_MOST_BYTES = 8 << 20
_SLICE_BYTES = 1 << 20
_SAMPLES = 8


class FailedLazily(Exception):  # noqa: N818 - carries a failure, and never reaches a user
    """The iterable of a value's results raised while it was read."""

    def __init__(self, record: ExceptionRecord) -> None:
        super().__init__(record)
        self.record = record


class Lazy:
    """The results of one value, in a column."""

    __slots__ = ("slices",)

    def __init__(self, slices: Iterator[list[Any]]) -> None:
        self.slices = slices
        """Lists of at most about `SLICE_VALUES` results; reading one may raise `FailedLazily`."""


class Room:
    """Bounds how many results of one value a chain may hold."""

    def __init__(self, most: int) -> None:
        """Start empty.

        `sys.maxsize`: all are held.
        """
        self._most = most
        self.most_at_once = min(SLICE_VALUES, most)
        """How many values go through the rest of a chain together, or should come of them."""
        self.exceeded = False
        """Whether a `Lazy` may stand in a column of this slice."""

    def is_too_small(self, values: list[Any], start: int) -> bool:
        """Tell whether the values from `start` on are too many, or too large, to be held with those that follow."""
        count = len(values) - start
        if count >= self._most:
            return True
        return self._most != maxsize and _size_of(values[-_SAMPLES:], count) > _MOST_BYTES

    def weight(self, values: Sequence[Any], sources: int) -> int:
        """Return how many results there are beyond one for each source.

        Large ones count for several.
        """
        more = len(values) - sources
        if more <= 0 or self._most == maxsize:
            return min(more, 0)
        return more * max(1, _size_of(values[-_SAMPLES:], self._most) // _MOST_BYTES)

    def lazy(self, held: list[Any], made: Any, step: Step, counts: StepCounts) -> Lazy:
        """Return a `Lazy` of the results of a value: those that are held, and the rest.

        `made`: what the function gave, a list or a tuple; else the iterator over it.
        """
        self.exceeded = True
        # A copy, as the function may change its list at its next call.
        rest = iter(made[len(held) :]) if isinstance(made, (list, tuple)) else made
        return Lazy(chain((held,), _slices(rest, step, counts, self.most_at_once)))


def _size_of(samples: Sequence[Any], count: int) -> int:
    """Return about how many bytes so many values take, judged by some of them."""
    return sum(map(getsizeof, samples)) * count // len(samples)


def _slices(values: Iterator[Any], step: Step, counts: StepCounts, most: int) -> Iterator[list[Any]]:
    wanted = min(FEW, most)
    while True:
        try:
            found = list(islice(values, wanted))
        except BaseException as error:
            counts.failed += 1
            record = replace(capture(error), step=step.name, workflow=step.workflow)
            raise FailedLazily(record) from None
        if found:
            yield found
        if len(found) < wanted:
            return
        fits = _SLICE_BYTES * len(found) // max(1, _size_of(found[-_SAMPLES:], len(found)))
        wanted = max(1, min(2 * wanted, most, fits))


def has_lazy(values: Iterable[Any]) -> bool:
    """Tell whether a `Lazy` stands in a column."""
    return Lazy in map(type, values)


def read(values: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield the values of a column in slices, with each `Lazy` resolved."""
    plain: list[Any] = []
    for value in values:
        if type(value) is not Lazy:
            plain.append(value)
            continue
        if plain:
            yield plain
            plain = []
        yield from value.slices
    if plain:
        yield plain


def in_pieces(slices: Iterator[list[Any]], most: int, told: list[int]) -> Iterator[list[Any]]:
    """Cut slices so that each yields about `most` values.

    Args:
        slices: of values.
        most: how many values a piece may have, or may become.
        told: its one entry says, when the next piece is asked for, how many values came of the last.
    """
    wanted = min(FEW, most)
    for values in slices:
        at = 0
        while at < len(values):
            piece = values[at : at + wanted]
            at += len(piece)
            yield piece
            wanted = max(1, min(2 * wanted, most, most * len(piece) // max(1, told[0])))
