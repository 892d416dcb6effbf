"""Functions that run in the coordinator: for what is quicker than the way to a worker. Owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.graph.node import Node
from orchestrator.streams.calls import apply, item_error, reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class MapInline(Node):
    """Calls a function for each item and passes on its result.

    *Emits when* items come. *Backpressures when* its consumer does.
    *Completes when* its input ends. *Fails when* the function raises; the results before that item are passed on first.
    """

    __slots__ = ("fn",)

    def __init__(self, fn: Callable[[Any], Any], *, name: str = "map_inline") -> None:
        super().__init__(name)
        self.fn = fn

    def receive(self, items: list[Any], port: int) -> None:
        """Pass on the results."""
        results, error = apply(self, port, self.fn, items, "the function")
        self.outlets[0].push(results)
        if error is not None:
            raise error


class FilterInline(Node):
    """Passes on the items for which a predicate is true.

    *Emits when* an item is kept. *Backpressures when* its consumer does.
    *Completes when* its input ends. *Fails when* the predicate raises; those kept before it are passed on first.
    """

    __slots__ = ("keep",)

    def __init__(self, keep: Callable[[Any], Any], *, name: str = "filter_inline") -> None:
        super().__init__(name)
        self.keep = keep

    def receive(self, items: list[Any], port: int) -> None:
        """Pass on what is kept."""
        keep = self.keep
        kept: list[Any] = []
        iterator = iter(items)
        try:
            for item in iterator:
                if keep(item):
                    kept.append(item)  # noqa: PERF401 - a comprehension would lose what came before an error
        except Exception as cause:
            self.outlets[0].push(kept)
            raise item_error(self, port, items, reached(items, iterator), "the predicate raised", cause) from cause
        self.outlets[0].push(kept)


class FlatMapInline(Node):
    """Calls a function for each item and passes on every item of the iterable that it returns.

    *Emits when* an iterable gives items. *Backpressures when* its consumer does; one list's results come at once.
    *Completes when* its input ends. *Fails when* the function or its iterable raises; what came before goes first.
    """

    __slots__ = ("fn",)

    def __init__(self, fn: Callable[[Any], Iterable[Any]], *, name: str = "flat_map_inline") -> None:
        super().__init__(name)
        self.fn = fn

    def receive(self, items: list[Any], port: int) -> None:
        """Pass on what the iterables give."""
        fn = self.fn
        results: list[Any] = []
        iterator = iter(items)
        try:
            for item in iterator:
                results += fn(item)
        except Exception as cause:
            self.outlets[0].push(results)
            raise item_error(self, port, items, reached(items, iterator), "the function raised", cause) from cause
        self.outlets[0].push(results)
