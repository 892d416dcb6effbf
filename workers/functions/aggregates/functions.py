"""The aggregates of `group_by(key).agg(...)`: how many, the sum, the least, the first, and what a function makes.

    Stream(orders).group_by(customer).agg(orders=count(), total=sum_of(amount))

Each has a part for each key and chunk, made in a worker; parts are merged in the order of the items, in the
coordinator. What comes out does not depend on where chunks were cut. None is no value: sums, means, least and greatest
leave it out, as SQL does; least and greatest leave out a float that is not a number, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import reduce
from typing import Any

from workers.errors.describe import describe
from workers.functions.aggregates.sums import Sum

_ATOMS = (int, float, str, bytes, bool, complex, type(None))


class Aggregate:
    """What becomes of the values of one key.

    Owner of a part: the worker that makes it, then whoever merges it, who may change the one on the left.
    """

    __slots__ = ("value",)

    def __init__(self, value: Callable[[Any], Any] | None) -> None:
        """Take the function that gives an item's value.

        None: the item itself.
        """
        if value is not None and not callable(value):
            raise TypeError(f"an aggregate takes a function of an item, not {describe(value)}")
        self.value = value

    adds = False
    """Whether its values must be numbers, or None."""

    @property
    def reaches(self) -> tuple[Any, ...]:
        """All that it computes with."""
        return (self.value,)

    def part(self, values: Sequence[Any]) -> Any:
        """Return the part of some values, at least one, in the order of their items."""
        raise NotImplementedError

    def merged(self, left: Any, right: Any) -> Any:
        """Return the part of the values of two parts, of which those of the right one came later."""
        raise NotImplementedError

    def extended(self, part: Any, value: Any) -> Any:
        """Return the part with one more value, which came later."""
        return self.merged(part, self.part([value]))

    def result(self, part: Any) -> Any:
        """Return what comes of all values."""
        return part


class _Count(Aggregate):
    __slots__ = ()

    def part(self, values: Sequence[Any]) -> int:
        return len(values)

    def merged(self, left: int, right: int) -> int:
        return left + right


class _Sum(Aggregate):
    __slots__ = ()
    adds = True

    def part(self, values: Sequence[Any]) -> int | Sum:
        if set(map(type, values)) <= {int, bool}:
            whole: int = sum(values)
            return whole
        made = Sum()
        made.add([value for value in values if value is not None])
        return made

    def merged(self, left: int | Sum, right: int | Sum) -> int | Sum:
        if isinstance(left, int):
            if isinstance(right, int):
                return left + right
            right.whole += left
            return right
        if isinstance(right, int):
            left.whole += right
        else:
            left.merge(right)
        return left

    def result(self, part: int | Sum) -> Any:
        return part if isinstance(part, int) else part.total()


class _Mean(Aggregate):
    __slots__ = ()
    adds = True

    def part(self, values: Sequence[Any]) -> tuple[int, Sum]:
        there = [value for value in values if value is not None]
        made = Sum()
        made.add(there)
        return len(there), made

    def merged(self, left: tuple[int, Sum], right: tuple[int, Sum]) -> tuple[int, Sum]:
        left[1].merge(right[1])
        return left[0] + right[0], left[1]

    def result(self, part: tuple[int, Sum]) -> Any:
        count, total = part
        return total.total(over=count) if count > 1 else _mean_of_one(total) if count else None


def _mean_of_one(total: Sum) -> Any:
    """Return the one value, a whole number as a float, as that of several is."""
    return total.total() if total.kinds else float(total.whole)


class _Least(Aggregate):
    """The least value, the first of equal ones."""

    __slots__ = ()

    def choose(self, values: Sequence[Any]) -> Any:
        return min(values)

    def part(self, values: Sequence[Any]) -> Any:
        there = [value for value in values if value is not None and value == value]  # noqa: PLR0124 - not a number
        return self.choose(there) if there else None

    def merged(self, left: Any, right: Any) -> Any:
        return right if left is None else left if right is None else self.choose((left, right))


class _Greatest(_Least):
    """The greatest value, the first of equal ones."""

    __slots__ = ()

    def choose(self, values: Sequence[Any]) -> Any:
        return max(values)


class _First(Aggregate):
    __slots__ = ()

    def part(self, values: Sequence[Any]) -> Any:
        return values[0]

    def merged(self, left: Any, right: Any) -> Any:  # noqa: ARG002 - came later
        return left


class _Last(Aggregate):
    __slots__ = ()

    def part(self, values: Sequence[Any]) -> Any:
        return values[-1]

    def merged(self, left: Any, right: Any) -> Any:  # noqa: ARG002 - came before
        return right


class _Collected(Aggregate):
    __slots__ = ()

    def part(self, values: Sequence[Any]) -> list[Any]:
        return list(values)

    def merged(self, left: list[Any], right: list[Any]) -> list[Any]:
        left += right
        return left


class Folded(Aggregate):
    """What a function makes of the values, one after the other."""

    __slots__ = ("combine", "function", "initial")

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        initial: Any,
        combine: Callable[[Any, Any], Any],
        value: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(value)
        for name, each in (("function", function), ("combine", combine)):
            if not callable(each):
                raise TypeError(f"the {name} of a fold must take two values, not be {describe(each)}")
        self.function, self.initial, self.combine = function, initial, combine

    @property
    def reaches(self) -> tuple[Any, ...]:
        """All that it computes with."""
        return (self.value, self.function, self.combine, self.initial)

    def part(self, values: Sequence[Any]) -> Any:
        """Fold the values, from a copy of `initial` on."""
        initial = self.initial if isinstance(self.initial, _ATOMS) else deepcopy(self.initial)
        return reduce(self.function, values, initial)

    def extended(self, part: Any, value: Any) -> Any:
        """Take one more value in."""
        return self.function(part, value)

    def merged(self, left: Any, right: Any) -> Any:
        """Combine two."""
        return self.combine(left, right)


class Reduced(Aggregate):
    """What a function makes of the values, the first of which it begins with."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__(None)
        self.function = function

    @property
    def reaches(self) -> tuple[Any, ...]:
        """All that it computes with."""
        return (self.function,)

    def part(self, values: Sequence[Any]) -> Any:
        """Reduce the values."""
        return reduce(self.function, values)

    def extended(self, part: Any, value: Any) -> Any:
        """Take one more value in."""
        return self.function(part, value)

    def merged(self, left: Any, right: Any) -> Any:
        """Reduce two to one."""
        return self.function(left, right)


def count() -> Aggregate:
    """Return the aggregate that counts items."""
    return _Count(None)


def sum_of(value: Callable[[Any], Any] | None = None) -> Aggregate:
    """Return the aggregate that adds up `value(item)`, or the items.

    The sum is exact, and rounded once at the end, as by `math.fsum`; whole numbers give a whole number, decimals a
    Decimal. Of no values it is 0.
    """
    return _Sum(value)


def mean_of(value: Callable[[Any], Any] | None = None) -> Aggregate:
    """Return the aggregate that gives the mean of `value(item)`, None of no values."""
    return _Mean(value)


def min_of(value: Callable[[Any], Any] | None = None) -> Aggregate:
    """Return the aggregate that gives the least `value(item)`, the first of equal ones, None of no values."""
    return _Least(value)


def max_of(value: Callable[[Any], Any] | None = None) -> Aggregate:
    """Return the aggregate that gives the greatest `value(item)`, the first of equal ones, None of no values."""
    return _Greatest(value)


def first_of(value: Callable[[Any], Any] | None = None) -> Aggregate:
    """Return the aggregate that gives `value(item)` of the first item."""
    return _First(value)


def last_of(value: Callable[[Any], Any] | None = None) -> Aggregate:
    """Return the aggregate that gives `value(item)` of the last item."""
    return _Last(value)


def collect_of(value: Callable[[Any], Any] | None = None) -> Aggregate:
    """Return the aggregate that gives the list of all `value(item)`, in the order of the items."""
    return _Collected(value)


def fold_of(
    function: Callable[[Any, Any], Any],
    initial: Any,
    combine: Callable[[Any, Any], Any],
    value: Callable[[Any], Any] | None = None,
) -> Aggregate:
    """Return the aggregate that a function makes: `function(function(initial, first), second)` and so on.

    Args:
        function: takes what was made so far and a value; called in the workers.
        initial: what each chunk of items begins with, a copy of it for each key: what is combined with it must stay as
            it is (0 of a sum, an empty list).
        combine: takes what was made of two runs of values, the earlier on the left; called in this process.
        value: item to its value; None: the item.
    """
    return Folded(function, initial, combine, value)
