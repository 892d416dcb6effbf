"""Nodes that pass on some of the items: the first, those behind them, each once, the greatest.

Each owns its count, or the keys that it has seen.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.graph.flow.node import Node
from orchestrator.option_values import flag, whole
from orchestrator.streams.patterns.calls import apply, item_error, reached
from orchestrator.streams.patterns.ordering import Descending
from workers.errors.describe import describe

if TYPE_CHECKING:
    from collections.abc import Callable


class _EndsEarly(Node):
    """Ends before its input does, and leaves it then: nothing more is read for it."""

    __slots__ = ("over",)
    leaves_early = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.over = False  # nothing more is wanted

    def leave(self) -> None:
        """End the outlet, and leave the input."""
        self.over = True
        self.outlets[0].end()
        self.inlets[0].cancel()

    def pump(self) -> bool:
        """Pass on what there is room for.

        Leave the input of a run that is resumed behind the end.
        """
        moved = super().pump()
        if self.over and not self.inlets[0].cancelled:
            self.leave()
            return True
        return moved


class Take(_EndsEarly):
    """Passes on the first `n` items.

    *Emits when* items come. *Backpressures when* its consumer does.
    *Completes when* it has passed on `n` items, or its input ends: what leads to it alone stops then, workers too.
    *Fails when* never.
    """

    __slots__ = ("left",)

    def __init__(self, n: int, *, name: str = "take") -> None:
        whole(f"{name}: n", n, 0)
        super().__init__(name)
        self.left = n
        self.over = n == 0

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002 - one port
        """Pass on as many as are wanted."""
        del items[self.left :]
        self.left -= len(items)
        self.outlets[0].push(items)
        if not self.left:
            self.leave()

    def snapshot(self) -> dict[str, Any]:
        """Return how many items are wanted yet."""
        return {"left": self.left}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.left = state["left"]
        self.over = not self.left


class TakeWhile(_EndsEarly):
    """Passes on items up to the first for which a predicate is false.

    *Emits when* items come. *Backpressures when* its consumer does.
    *Completes when* the predicate is false for an item, or its input ends: what leads to it alone stops then.
    *Fails when* the predicate raises; the items before go first.
    """

    __slots__ = ("keep",)

    def __init__(self, keep: Callable[[Any], Any], *, name: str = "take_while") -> None:
        super().__init__(name)
        self.keep = keep

    def receive(self, items: list[Any], port: int) -> None:
        """Pass on what comes before the first item that is not kept."""
        iterator = iter(items)
        error = None
        kept = 0
        try:
            for item in iterator:
                if not self.keep(item):
                    break
                kept += 1
        except Exception as cause:
            error = item_error(self, port, items, reached(items, iterator), "the predicate raised", cause)
        over = error is None and kept < len(items)
        del items[kept:]
        self.outlets[0].push(items)
        if error is not None:
            raise error
        if over:
            self.leave()

    def snapshot(self) -> dict[str, Any]:
        """Return whether the end was seen."""
        return {"over": self.over}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.over = state["over"]


class Skip(Node):
    """Leaves out the first `n` items.

    *Emits when* items come behind those. *Backpressures when* its consumer does. *Completes when* its input ends.
    *Fails when* never.
    """

    __slots__ = ("left",)

    def __init__(self, n: int, *, name: str = "skip") -> None:
        whole(f"{name}: n", n, 0)
        super().__init__(name)
        self.left = n

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002 - one port
        """Pass on what stands behind the first."""
        skipped = min(self.left, len(items))
        self.left -= skipped
        self.outlets[0].push(items[skipped:])

    def snapshot(self) -> dict[str, Any]:
        """Return how many are to be left out yet."""
        return {"left": self.left}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.left = state["left"]


class Distinct(Node):
    """Passes on the first item of each key.

    It holds every key that it has seen, and nothing else.

    *Emits when* an item with a new key comes. *Backpressures when* its consumer does. *Completes when* its input ends.
    *Fails when* the key function raises, or a key can't be hashed; the items before go first.
    """

    __slots__ = ("key", "seen")

    def __init__(self, key: Callable[[Any], Any] | None = None, *, name: str = "distinct") -> None:
        super().__init__(name)
        self.key = key
        self.seen: set[Any] = set()

    def receive(self, items: list[Any], port: int) -> None:
        """Pass on the items whose keys are new."""
        keys, error = (items, None) if self.key is None else apply(self, port, self.key, items, "the key function")
        seen = self.seen
        fresh: list[Any] = []
        place = 0
        try:
            for key in keys:
                if key not in seen:
                    seen.add(key)
                    fresh.append(items[place])
                place += 1
        except Exception as cause:
            error = item_error(self, port, items, place, "its key can't be compared with others", cause)
        self.outlets[0].push(fresh)
        if error is not None:
            raise error

    def snapshot(self) -> dict[str, Any]:
        """Return the keys that were seen."""
        return {"seen": set(self.seen)}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.seen = set(state["seen"])


class Enumerate(Node):
    """Passes on (number, item), counted from `start`.

    *Emits when* items come. *Backpressures when* its consumer does. *Completes when* its input ends.
    *Fails when* never.
    """

    __slots__ = ("next",)

    def __init__(self, start: int = 0, *, name: str = "enumerate") -> None:
        if not isinstance(start, int) or isinstance(start, bool):
            raise ConfigError(f"{name}: start must be a whole number, not {describe(start)}")
        super().__init__(name)
        self.next = start

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002 - one port
        """Number the items."""
        first = self.next
        self.next += len(items)
        self.outlets[0].push(list(zip(count(first), items, strict=False)))

    def snapshot(self) -> dict[str, Any]:
        """Return the next number."""
        return {"next": self.next}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.next = state["next"]


class Top(Node):
    """Passes on the `n` greatest items at the end, the greatest first.

    As `sorted(items, key=key, reverse=True)[:n]`, in the memory of `n` items: of equal ones the earlier counts as
    greater.

    Args:
        n: How many.
        key: Item to what is compared; None: the item.
        smallest: The smallest instead, the smallest first.

    *Emits when* its input has ended. *Backpressures when* never. *Completes when* its input ends.
    *Fails when* the key function raises, or two keys can't be compared.
    """

    __slots__ = ("came", "kept", "key", "n", "smallest")

    def __init__(
        self, n: int, key: Callable[[Any], Any] | None = None, *, smallest: bool = False, name: str = "top"
    ) -> None:
        whole(f"{name}: n", n, 0)
        flag(f"{name}: smallest", smallest)
        super().__init__(name)
        self.n = n
        self.key = key
        self.smallest = smallest
        self.came = 0  # items so far
        self.kept: list[tuple[Any, int, Any]] = []
        """A heap of (key, number of the item, item); the first is the next to go."""

    def receive(self, items: list[Any], port: int) -> None:
        """Keep what is among the greatest so far."""
        keys, error = (items, None) if self.key is None else apply(self, port, self.key, items, "the key function")
        number, place = self.came, 0
        self.came += len(items)
        try:
            for place, (key, item) in enumerate(zip(keys, items, strict=False)):
                # Of equal keys the later item goes first: its number, negated, is the smaller one.
                entry = (Descending(key) if self.smallest else key, -(number + place), item)
                if len(self.kept) < self.n:
                    heapq.heappush(self.kept, entry)
                elif self.n and self.kept[0][0] < entry[0]:
                    heapq.heapreplace(self.kept, entry)
        except Exception as cause:
            raise item_error(self, port, items, place, "its key can't be compared with others", cause) from cause
        if error is not None:
            raise error

    def finish(self) -> None:
        """Pass on what was kept."""
        self.outlets[0].push([item for _, _, item in sorted(self.kept, key=lambda entry: entry[:2], reverse=True)])
        self.kept = []

    def snapshot(self) -> dict[str, Any]:
        """Return what is kept."""
        return {"kept": list(self.kept), "came": self.came}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.kept, self.came = list(state["kept"]), state["came"]
