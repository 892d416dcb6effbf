"""The k-way merge of sorted inputs, on whole lists (`ordering.py`).

The node owns the bounded buffers of its inputs.
"""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any

from orchestrator.graph.flow.node import ROOM, Node
from orchestrator.streams.patterns.calls import apply, item_error
from orchestrator.streams.patterns.ordering import safe_counts, sort_by

if TYPE_CHECKING:
    from collections.abc import Callable


class MergeSorted(Node):
    """Merges sorted inputs into one sorted output, as `heapq.merge` does.

    Of equal keys the lower input comes first. With `reverse`, the inputs and the output begin with the greatest.

    *Emits when* every unfinished input has shown how far it is. *Backpressures when* an input's buffer is full, that
    input only. *Completes when* all inputs have ended. *Fails when* the key function raises, or an input isn't sorted.
    """

    __slots__ = ("held", "key", "keys", "last", "reverse")

    def __init__(
        self,
        inputs: int,
        *,
        key: Callable[[Any], Any] | None = None,
        reverse: bool = False,
        name: str = "merge_sorted",
    ) -> None:
        super().__init__(name, inputs=inputs)
        self.key = key
        self.reverse = reverse
        self.held: list[list[Any]] = [[] for _ in range(inputs)]
        self.keys: list[list[Any]] = self.held if key is None else [[] for _ in range(inputs)]
        self.last: list[list[Any]] = [[] for _ in range(inputs)]  # the greatest key an input showed; empty: none yet

    def capacity(self, port: int) -> int:
        """Return the room in this input's buffer, none while merged items wait for the consumer."""
        outlet = self.outlets[0]
        return 0 if outlet.backlog and outlet.capacity() <= 0 else max(0, ROOM - len(self.held[port]))

    def receive(self, items: list[Any], port: int) -> None:
        """Hold items, and emit what is safe now."""
        if self.key is None:
            keys, error = items, None
        else:
            keys, error = apply(self, port, self.key, items, "the key function")
        place = self._unsorted(keys, port)
        if place is not None:
            wrong = "greater" if self.reverse else "less"
            error = item_error(self, port, items, place, f"an item {wrong} than the one before it", None)
            keys = keys[:place]
        if keys:
            self.held[port] += items[: len(keys)]
            if self.key is not None:
                self.keys[port] += keys
            self.last[port] = keys[-1:]
        self._drain()
        if error is not None:
            raise error

    def _unsorted(self, keys: list[Any], port: int) -> int | None:
        seen = self.last[port] + keys
        ordered = sorted(seen, reverse=self.reverse)
        if all(map(is_, ordered, seen)):
            return None
        pairs = ((place - 1, place) if self.reverse else (place, place - 1) for place in range(1, len(seen)))
        first = next(max(pair) for pair in pairs if seen[pair[0]] < seen[pair[1]])
        return first - len(self.last[port])

    def _drain(self) -> bool:
        outlet = self.outlets[0]
        moved = False
        if (room := outlet.capacity()) > 0:
            items: list[Any] = []
            keys: list[Any] = []
            for port, count in enumerate(safe_counts(self.keys, self.last, self.ended, reverse=self.reverse)):
                items += self.held[port][:count]
                if self.key is not None:
                    keys += self.keys[port][:count]
                    del self.keys[port][:count]
                del self.held[port][:count]
            sort_by(items, None if self.key is None else keys, reverse=self.reverse)
            outlet.push(items[:room])
            outlet.push(items[room:])  # waits there, and this node isn't read meanwhile
            moved = bool(items)
        if all(self.ended) and not any(self.held):
            outlet.end()
        return moved

    def pump(self) -> bool:
        """Emit what there is room for."""
        moved = super().pump()
        return self._drain() or moved

    def end(self, port: int) -> None:
        """Note that this input ended: it holds back nothing any more."""
        self.ended[port] = True
        self._drain()

    def cancelled(self, outlet: Any) -> None:
        """Drop what is held and leave every input, as the consumer has left."""
        for held in (*self.held, *self.keys):
            held.clear()
        super().cancelled(outlet)

    def snapshot(self) -> dict[str, Any]:
        """Return the state between two lists, picklable."""
        return {name: [list(part) for part in getattr(self, name)] for name in ("held", "keys", "last")}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.held = [list(part) for part in state["held"]]
        self.keys = self.held if self.key is None else [list(part) for part in state["keys"]]
        self.last = [list(part) for part in state["last"]]
