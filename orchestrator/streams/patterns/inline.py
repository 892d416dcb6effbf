"""Nodes that call functions in the coordinator, which is quicker than the way to a worker for short ones.

Own no state.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from orchestrator.engine.core.retry import RetryPolicy
from orchestrator.graph.drawing import close_iterator
from orchestrator.graph.flow.node import ROOM, Node
from orchestrator.graph.flow.ownership import copied, is_safe
from orchestrator.settings import retries_by_name
from orchestrator.streams.patterns.calls import apply, item_error, reached
from workers.errors.describe import class_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orchestrator.graph.flow.node import Outlet
    from orchestrator.settings import Retries


def retried(fn: Callable[[Any], Any], retries: Retries) -> Callable[[Any], Any]:
    """Return what calls a function again for an item that it fails for, at once.

    Args:
        fn: called with the item.
        retries: how often; or that by the class of what it raises.
    """
    if not retries:
        return fn
    policy = RetryPolicy(retries_by_name(retries))

    def call(item: Any) -> Any:
        failures = 0
        while True:
            try:
                return fn(item)
            except Exception as error:
                failures += 1
                if policy.delay_after(failures, class_names(type(error))) is None:
                    raise

    return call


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
        results, error = apply(self, port, self.fn, items, "the function", copies=self.copies)
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

    An iterable is read as there is room for what it gives, so it may be of any length, or endless. A run that is
    resumed in the middle of one calls the function again, and reads past what it had given.

    *Emits when* an iterable gives items. *Backpressures when* its consumer does, also in the middle of an iterable.
    *Completes when* its input ends. *Fails when* the function or its iterable raises; what came before goes first.
    """

    __slots__ = ("fn", "given", "held", "values")

    def __init__(self, fn: Callable[[Any], Iterable[Any]], *, name: str = "flat_map_inline") -> None:
        super().__init__(name)
        self.fn = fn
        self.held: deque[Any] = deque()  # the first is the one that is being read
        self.values: Iterator[Any] | None = None
        self.given = 0  # of the first

    def capacity(self, port: int) -> int:
        """Return no capacity while items wait here."""
        return 0 if self.held else super().capacity(port)

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002 - one port
        """Pass on what the iterables give, as far as there is room."""
        self.held.extend(items)
        self._drain()

    def _drain(self) -> bool:
        outlet = self.outlets[0]
        moved = False
        while self.held and (room := min(outlet.capacity(), ROOM)) > 0:
            results: list[Any] = []
            try:
                self._read(results, room)
            except Exception as cause:
                outlet.push(results)
                item, behind = self.held[0], len(self.held) - 1
                raise item_error(self, 0, [item], 0, "the function raised", cause, behind) from cause
            outlet.push(results)
            moved = True
        if self.ended[0] and not self.held and not outlet.ended:
            outlet.end()
            moved = True
        return moved

    def _read(self, results: list[Any], room: int) -> None:
        """Read until there are about `room` results, or no items."""
        held, fn, done = self.held, self.fn, self.held.popleft
        values, self.values = self.values, None
        while held and len(results) < room:
            if values is None:
                made = fn(held[0])
                whole = type(made) is list and len(made) < ROOM and not self.given  # short: taken whole
                if whole and (not self.copies or is_safe(made)):
                    results += made
                    done()
                    continue
                values = iter(made)
                for _ in islice(values, self.given):  # given in the run that this one resumes
                    pass
            before = len(results)
            self._extend(results, values, room - before)
            if len(results) < room:  # it has ended
                values, self.given = None, 0
                done()
            else:
                self.given += len(results) - before
        self.values = values

    def _extend(self, results: list[Any], values: Iterator[Any], most: int) -> None:
        if not self.copies:
            results.extend(islice(values, most))
            return
        for value in islice(values, most):
            safe = is_safe(value)
            results.append(value if safe else copied(value))

    def pump(self) -> bool:
        """Pass on what there is room for."""
        moved = super().pump()
        return self._drain() or moved

    def end(self, port: int) -> None:
        """Emit the rest."""
        self.ended[port] = True
        self._drain()

    def cancelled(self, outlet: Outlet) -> None:
        """Stop: the consumer has left."""
        self.close()
        super().cancelled(outlet)

    def close(self) -> None:
        """Close the iterable that is being read, if it can be closed."""
        values, self.values = self.values, None
        self.held.clear()
        close_iterator(values)

    def snapshot(self) -> dict[str, Any]:
        """Return the items whose iterables are not exhausted, and how much the first has given."""
        return {"held": list(self.held), "given": self.given}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.held, self.given = deque(state["held"]), state["given"]
