"""The methods that make one stream of several."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from orchestrator.streams.described import Described, port_of, sink_behind
from orchestrator.streams.patterns import joining, merging, sorted_merging
from orchestrator.streams.plan import Op

if TYPE_CHECKING:
    from datetime import timedelta

    from orchestrator.graph.flow.node import Node


class Uniting(Described):
    """Many to one."""

    __slots__ = ()

    def join(  # noqa: PLR0917 - the contract's order
        self,
        other: Self,
        key: Callable[[Any], Any],
        right_key: Callable[[Any], Any] | None = None,
        how: str = "inner",
        many: bool = False,
        combine: Callable[[Any, Any], Any] | None = None,
        within_s: float | timedelta | None = None,
        at: Callable[[Any], Any] | None = None,
        max_items: int | None = None,
        overflow: str = "error",
        unmatched: Any = None,
    ) -> Self:  # fmt: skip
        """Join with another stream by key.

        See `streams.patterns.joining.Join` for each argument.
        """
        options: dict[str, Any] = {
            "how": how, "many": many, "combine": combine, "within_s": within_s, "at": at,
            "max_items": max_items, "overflow": overflow,
        }  # fmt: skip

        def make(name: str) -> Node:
            aside = None if unmatched is None else sink_behind(self._port, unmatched)
            return joining.Join(key, right_key, **options, unmatched=aside, name=name)

        joining.Join(key, right_key, **options).close()  # refuses what can't be
        return self._then(Op("join", "join", (self._port, port_of(other)), make))

    def in_step(self, *others: Self, missing: Any = None, strict: bool | str = "longest") -> Self:
        """Combine the k-th items of all branches into tuples.

        Args:
            others: the other branches.
            missing: stands for a branch that has ended.
            strict: "longest": to the end of the longest branch; "shortest": to that of the shortest, and the others are
                left then; True: branches that are not equally long fail the run.
        """
        ports = (self._port, *map(port_of, others))

        def make(name: str) -> Node:
            return merging.InStep(len(ports), missing=missing, strict=strict, name=name)

        make("in_step")  # refuses what can't be
        return self._then(Op("in_step", "in_step", ports, make))

    @classmethod
    def concat(cls, *streams: Self) -> Self:
        """Give all of the first stream, then all of the second, and so on.

        A stream is not read before its turn. Of no streams, nothing comes.
        """
        return cls._merged("concat", streams, lambda name: merging.Concat(name, inputs=len(streams)))

    @classmethod
    def merge(cls, *streams: Self) -> Self:
        """Merge streams as their items are ready, each in turn.

        Of no streams, nothing comes.
        """
        return cls._merged("merge", streams, lambda name: merging.Merge(len(streams), name=name))

    @classmethod
    def merge_sorted(
        cls, *streams: Self, key: Callable[[Any], Any] | None = None, reverse: bool = False
    ) -> Self:
        """Merge sorted streams into a sorted one, as `heapq.merge` does.

        Of equal keys the earlier stream's come first. Of no streams, nothing comes. With `reverse`, all begin with
        their greatest item.
        """

        def make(name: str) -> Node:
            return sorted_merging.MergeSorted(len(streams), key=key, reverse=reverse, name=name)

        return cls._merged("merge_sorted", streams, make)

    @classmethod
    def merge_by_priority(cls, streams: Iterable[tuple[Self, float]], *, ageing: int | None = None) -> Self:
        """Merge streams, those of the highest priority that have items ready first.

        Args:
            streams: pairs of a stream and its priority; the greater goes first.
            ageing: after so many items of others an input that waits counts one priority more, so that none starves.
        """
        pairs = list(streams)
        ranks = [priority for _, priority in pairs]
        return cls._merged(
            "merge_by_priority",
            [stream for stream, _ in pairs],
            lambda name: merging.PriorityMerge(ranks, ageing=ageing, name=name),
        )

    @classmethod
    def multiplex(cls, streams: Mapping[Hashable, Self]) -> Self:
        """Merge streams into (tag, item), as they are ready."""
        return cls._merged(
            "multiplex", list(streams.values()), lambda name: merging.Multiplex(list(streams), name=name)
        )
