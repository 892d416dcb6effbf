"""The methods of a stream that make less of all its items, or another order: groups, folds, sorted items.

The functions run in the workers, chunk by chunk; what they made of the chunks is put together in the coordinator.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from orchestrator.errors import ConfigError
from orchestrator.streams.described import Described, refuse_options, refuse_uncallable
from orchestrator.streams.patterns.gathered.gathering import MEMORY
from workers.errors.describe import describe

if TYPE_CHECKING:
    from orchestrator.graph.flow.node import Node
    from workers.functions.aggregates.functions import Aggregate



class _Nothing:
    """Stands for an initial value that was not given."""

    def __repr__(self) -> str:
        return "none"


_NONE: Any = _Nothing()
S = TypeVar("S")


class Grouped(Generic[S]):
    """A stream in groups, whose aggregates are to be said."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[dict[str, Aggregate]], S]) -> None:
        self._make = make

    def agg(self, **aggregates: Aggregate) -> S:
        """Give a dict a group: its key, and each aggregate under its name.

        Args:
            aggregates: of `orchestrator.aggregates`: count(), sum_of(f), mean_of, min_of, max_of, first_of, last_of,
                collect_of, fold_of(fn, initial, combine).

        Raises:
            ConfigError: there is none, or something else was given.
        """
        return self._make(aggregates)

    def __repr__(self) -> str:
        """Say what is missing."""
        return "<a stream in groups: .agg(total=sum_of(f)) makes a stream of it>"


class Gathering(Described):
    """All to one, or to some."""

    __slots__ = ()

    def group_by(
        self,
        key: Callable[[Any], Any],
        *,
        key_name: str = "key",
        memory: int | str = MEMORY,
        desc: str | None = None,
        **options: Any,
    ) -> Grouped[Self]:
        """Aggregate the items of each key: `group_by(customer).agg(orders=count(), total=sum_of(amount))`.

        Gives a dict a key, in the order in which keys first appear. `key` and the functions of the aggregates run in
        the workers, which make parts of their chunks; the parts are merged here. An item that fails in one of them is
        that item's failure, and counts in none. Sums are exact, so what comes out does not depend on the chunks.

        Args:
            key: item to its key, which has a hash.
            key_name: the key's name in the dicts.
            memory: how much the keys and what belongs to them may take here; beyond it they go to a temporary file.
            desc: what reports and errors call the step.
            options: those of `map`, but for drop_none.

        Raises:
            ConfigError: an option can't be.
        """
        refuse_uncallable("group_by", "key", key)
        refuse_options("group_by", options)
        if not isinstance(key_name, str):
            raise ConfigError(f"group_by: key_name must be a text, not {describe(key_name)}")
        return Grouped(partial(self._aggregated, key, key_name, memory, desc, options))

    def _aggregated(  # noqa: PLR0917 - as they were given
        self,
        key: Callable[[Any], Any],
        key_name: str,
        memory: int | str,
        desc: str | None,
        options: dict[str, Any],
        aggregates: dict[str, Aggregate],
    ) -> Self:  # fmt: skip
        from orchestrator.streams.patterns.gathered.grouping import GroupMerge  # noqa: PLC0415 - only for those who group
        from workers.functions.aggregates.functions import Aggregate  # noqa: PLC0415 - as above
        from workers.functions.aggregates.grouping import Grouping  # noqa: PLC0415 - as above

        if not aggregates:
            raise ConfigError("agg needs an aggregate: agg(orders=count()), from orchestrator.aggregates import count")
        for name, each in aggregates.items():
            if not isinstance(each, Aggregate):
                hint = f"; write {each.__name__}()" if getattr(each, "__module__", "") == Aggregate.__module__ else ""
                raise ConfigError(f"agg: {name} must be an aggregate such as sum_of(f), not {describe(each)}{hint}")
            if name == key_name:
                raise ConfigError(f"agg: {name!r} is the name of the key; give one of them another, by key_name=")
        names = (key_name, *aggregates)

        def row(found: Any, results: list[Any]) -> dict[str, Any]:
            return dict(zip(names, (found, *results), strict=True))

        def merge(name: str) -> Node:
            return GroupMerge(tuple(aggregates.items()), row, memory=memory, name=name)

        merge("group_by")  # refuses what can't be
        return self._gathered("group_by", Grouping(key, tuple(aggregates.values())), options, merge, desc)

    def reduce(
        self, fn: Callable[[Any, Any], Any], initial: Any = _NONE, *, desc: str | None = None, **options: Any
    ) -> Self:
        """Reduce all items to one, as `functools.reduce` does.

        Neighbours are put together in the workers, and what comes of the chunks here, so `fn(fn(a, b), c)` must be what
        `fn(a, fn(b, c))` is.

        Args:
            fn: takes two items, the earlier on the left.
            initial: stands before the first item, and is the result of an empty stream; without it, that gives nothing.
            desc: what reports and errors call the step.
            options: those of `map`, but for drop_none.
        """
        from workers.functions.aggregates.functions import Reduced  # noqa: PLC0415 - only for those who reduce

        refuse_uncallable("reduce", "fn", fn)

        def row(_key: Any, results: list[Any]) -> Any:
            return results[0] if initial is _NONE else fn(initial, results[0])

        nothing = [] if initial is _NONE else [initial]
        return self._folded("reduce", Reduced(fn), row, nothing, desc, options)

    def fold(
        self,
        fn: Callable[[Any, Any], Any],
        initial: Any,
        combine: Callable[[Any, Any], Any],
        *,
        desc: str | None = None,
        **options: Any,
    ) -> Self:
        """Fold all items into one value: `fn(fn(initial, first), second)` and so on.

        Each chunk is folded in a worker, and what comes of the chunks is combined here.

        Args:
            fn: takes what was made so far and an item.
            initial: what each chunk begins with, a copy of it: combined with something, it must leave it as it is (0 of
                a sum, an empty list). It is the result of an empty stream.
            combine: takes what was made of two runs of items, the earlier on the left.
            desc: what reports and errors call the step.
            options: those of `map`, but for drop_none.
        """
        from workers.functions.aggregates.functions import Folded  # noqa: PLC0415 - only for those who fold

        refuse_uncallable("fold", "fn, initial, combine", fn, combine)
        return self._folded("fold", Folded(fn, initial, combine), _only, [initial], desc, options)

    def _folded(  # noqa: PLR0917 - as they were given
        self,
        kind: str,
        aggregate: Aggregate,
        row: Callable[[Any, list[Any]], Any],
        nothing: list[Any],
        desc: str | None,
        options: dict[str, Any],
    ) -> Self:  # fmt: skip
        from orchestrator.streams.patterns.gathered.grouping import GroupMerge  # noqa: PLC0415 - as above
        from workers.functions.aggregates.grouping import Grouping  # noqa: PLC0415 - as above

        refuse_options(kind, options)

        def merge(name: str) -> Node:
            return GroupMerge([(kind, aggregate)], row, nothing=nothing, name=name)

        return self._gathered(kind, Grouping(None, [aggregate]), options, merge, desc)

    def sort(
        self,
        key: Callable[[Any], Any] | None = None,
        *,
        reverse: bool = False,
        memory: int | str = MEMORY,
        desc: str | None = None,
        **options: Any,
    ) -> Self:
        """Sort all items, as `sorted` does: stable, by `key(item)` or by the items themselves.

        Chunks are sorted in the workers, and merged here; what exceeds `memory` waits in a temporary file.

        Args:
            key: item to what is compared; called once an item, in a worker.
            reverse: the greatest first; equal items keep their order.
            memory: how much of the items may be held here.
            desc: what reports and errors call the step.
            options: those of `map`, but for drop_none.
        """
        from orchestrator.streams.patterns.gathered.sorting import SortMerge  # noqa: PLC0415 - only for those who sort
        from workers.functions.aggregates.sorting import Sorting  # noqa: PLC0415 - as above

        if key is not None:
            refuse_uncallable("sort", "key", key)
        refuse_options("sort", options)

        def merge(name: str) -> Node:
            return SortMerge(reverse=reverse, memory=memory, name=name)

        merge("sort")  # refuses what can't be
        return self._gathered("sort", Sorting(key, reverse=reverse), options, merge, desc)


def _only(_key: Any, results: list[Any]) -> Any:
    return results[0]
