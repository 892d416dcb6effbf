"""Exact sums of numbers, whose parts may be added in any order and give the same.

Where chunks are cut depends on the clock, and the sum of floats on where it is cut, if each part is rounded. So a part
is kept exactly: whole numbers as one, floats as the few floats whose sum is exact (J. R. Shewchuk, "Adaptive Precision
Floating-Point Arithmetic", 1997), everything else as a fraction. Only the end is rounded, as by `math.fsum`.

Pure. The parts are made in workers and added in the coordinator.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from numbers import Integral, Rational, Real
from operator import index
from typing import Any

_FLOATS_HELD = 8
"""More than so many floats of a part are made fewer."""


class Sum:
    """A part of a sum, exactly."""

    __slots__ = ("floats", "kinds", "odd", "rest", "whole")

    def __init__(self) -> None:
        self.whole = 0
        """The sum of the whole numbers."""
        self.floats: list[float] = []
        """Floats, all finite, whose exact sum is that of those that were added."""
        self.odd = 0.0
        """The sum of what was infinite, or no number."""
        self.rest = Fraction(0)
        """The sum of fractions and decimals, and of floats whose sum no float can hold."""
        self.kinds: set[str] = set()
        """What was added besides whole numbers: "float", "decimal", "fraction"."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as short as can be, as there is one of these a key and a chunk."""
        return _again, (self.whole, self.floats, self.odd, self.rest, self.kinds)

    def add(self, values: Sequence[Any]) -> None:
        """Add numbers that `number` has let pass."""
        kinds = set(map(type, values))
        if kinds <= {int, bool}:
            self.whole += sum(values)
        elif kinds == {float}:
            self._add_floats(values)
        else:
            for value in values:
                self._add_one(value)

    def _add_one(self, value: Any) -> None:
        if isinstance(value, Integral):
            self.whole += index(value)
        elif isinstance(value, Rational):
            self.kinds.add("fraction")
            self.rest += Fraction(value)
        elif isinstance(value, Real):
            self._add_floats((float(value),))
        elif value.is_finite():
            self.kinds.add("decimal")
            self.rest += Fraction(value)
        else:
            self.kinds.add("decimal")
            self.odd += float(value)

    def _add_floats(self, values: Sequence[float]) -> None:
        self.kinds.add("float")
        if all(map(math.isfinite, values)):
            self.floats.extend(values)
        else:
            self.floats.extend(filter(math.isfinite, values))
            self.odd += sum(value for value in values if not math.isfinite(value))
        if len(self.floats) > _FLOATS_HELD:
            self._condense()

    def _condense(self) -> None:
        try:
            self.floats = _few(self.floats)
        except OverflowError:
            self.rest += sum(map(Fraction, self.floats))
            self.floats = []

    def merge(self, other: Sum) -> None:
        """Add another part."""
        self.whole += other.whole
        self.floats += other.floats
        self.odd += other.odd
        self.rest += other.rest
        self.kinds |= other.kinds
        if len(self.floats) > _FLOATS_HELD:
            self._condense()

    def total(self, over: int = 1) -> Any:
        """Return the sum, or its `over`th part, rounded once: a float if any was added, else a Decimal if one was."""
        if not self.kinds:
            return self.whole if over == 1 else self.whole / over
        if "float" in self.kinds:
            return self.odd if self.odd != 0.0 or math.isnan(self.odd) else self._as_float(over)
        if "decimal" in self.kinds:
            from decimal import Decimal  # noqa: PLC0415 - only where one was added

            if self.odd != 0.0 or math.isnan(self.odd):
                return Decimal(self.odd)
            exact = (self.rest + self.whole) / over
            return Decimal(exact.numerator) / Decimal(exact.denominator)
        return (self.rest + self.whole) / over

    def _as_float(self, over: int) -> float:
        if not self.whole and not self.rest:
            try:
                return math.fsum(self.floats) / over
            except OverflowError:
                pass
        exact = (self.rest + self.whole + sum(map(Fraction, self.floats))) / over
        try:
            return exact.numerator / exact.denominator
        except OverflowError:
            return math.copysign(math.inf, exact.numerator)


def _again(whole: int, floats: list[float], odd: float, rest: Fraction, kinds: set[str]) -> Sum:
    made = Sum()
    made.whole, made.floats, made.odd, made.rest, made.kinds = whole, floats, odd, rest, kinds
    return made


def _few(values: Iterable[float]) -> list[float]:
    """Return a few floats whose exact sum is that of these.

    Raises:
        OverflowError: it is too large for floats, or a sum on the way there.
    """
    left = list(values)
    found: list[float] = []
    while part := math.fsum(left):
        found.append(part)
        left.append(-part)
    return found


def number(value: Any) -> Any:
    """Return a value that can be added exactly, or None.

    Raises:
        TypeError: it can't be added.
    """
    if value is None or isinstance(value, Real) or type(value).__name__ == "Decimal":
        return value
    raise TypeError(f"only numbers can be added up, not a {type(value).__name__}; for others there is fold_of")
