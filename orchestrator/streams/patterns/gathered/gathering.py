"""What nodes have in common that take in everything before they give anything.

    receive -> take_in ... spill ... take_in        the end of the input -> results -> the consumer, as it has room

Owner of the state: the node, in the engine's thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.engine.recovery.item_errors import Failure
from orchestrator.graph.flow.node import ROOM, Node
from orchestrator.settings import parse_size
from orchestrator.streams.patterns.gathered.store import Store

if TYPE_CHECKING:
    from orchestrator.graph.flow.node import Outlet

_KEPT_BYTES = 1 << 20
"""More than this is written to the file before a checkpoint, which holds the rest."""
MEMORY = "256M"


class Gathering(Node):
    """Takes in what workers have made of chunks, and gives the results when its input has ended.

    A `Failure` that an earlier stage put in an item's place is passed on at once. Subclasses say what is taken in, how
    it goes to disk, and what comes of it.
    """

    __slots__ = ("_results", "_waiting", "given", "memory_bytes", "store")

    def __init__(self, name: str, memory: int | str, what: str) -> None:
        """Take the memory that what is held may take.

        `what` waits here, for messages.

        Raises:
            ConfigError: the memory is not a size.
        """
        super().__init__(name)
        self.memory_bytes = parse_size(memory)
        self.store = Store(f"{what} at {name!r}")
        self.given = 0
        """Results passed on."""
        self._results: Iterator[list[Any]] | None = None
        self._waiting: list[Any] = []  # results that there was no room for

    def take_in(self, parts: list[Any]) -> None:
        """Hold what has come."""
        raise NotImplementedError

    def held_bytes(self) -> int:
        """Return about how many bytes of memory are held."""
        raise NotImplementedError

    def spill(self) -> None:
        """Write all that is held to the store."""
        raise NotImplementedError

    def results(self) -> Iterator[list[Any]]:
        """Yield the results in lists.

        An empty one comes where others may have a turn.
        """
        raise NotImplementedError

    def capacity(self, port: int) -> int:  # noqa: ARG002 - one port
        """Return room for more, whatever the consumer says, as it gets nothing yet."""
        return ROOM

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002 - one port
        """Take the parts in."""
        if Failure in set(map(type, items)):
            self.outlets[0].push([item for item in items if type(item) is Failure])
            items = [item for item in items if type(item) is not Failure]
        self.take_in(items)
        if self.held_bytes() > self.memory_bytes:
            self.spill()

    def end(self, port: int) -> None:
        """Begin with the results."""
        self.ended[port] = True
        self._drain()

    def pump(self) -> bool:
        """Pass on what there is room for."""
        moved = super().pump()
        return self._drain() or moved

    def _drain(self) -> bool:
        outlet = self.outlets[0]
        if not self.ended[0] or outlet.ended or outlet.cancelled:
            return False
        if self._results is None:
            self._results = without_first(self.results(), self.given)
        room = min(outlet.capacity(), ROOM)
        if room <= 0:
            return False
        if not self._waiting:
            found = next(self._results, None)
            if found is None:
                outlet.end()
                return True
            self._waiting = found
        items, self._waiting = self._waiting[:room], self._waiting[room:]
        self.given += len(items)
        outlet.push(items)
        return True

    def cancelled(self, outlet: Outlet) -> None:
        """Stop: the consumer has left."""
        self._results, self._waiting = None, []
        super().cancelled(outlet)

    def close(self) -> None:
        """Remove the file, unless a later run is to resume it."""
        self._results, self._waiting = None, []
        self.store.close(failed=self.failed)

    def keep_written(self, place: str, secret: str) -> None:
        """Use a file that a later run finds."""
        super().keep_written(place, secret)
        self.store.path = f"{place}-held"

    def snapshot(self) -> dict[str, Any]:
        """Return what is held, and how much of the file and of the results counts."""
        if self.store.path is not None and self._results is None and self.held_bytes() > _KEPT_BYTES:
            self.spill()
        return {"given": self.given, "size": self.store.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.given = state["given"]
        self.store.restore(state["size"])


def without_first(lists: Iterator[list[Any]], count: int) -> Iterator[list[Any]]:
    """Yield lists without the first so many items of them all."""
    for values in lists:
        if count:
            left = values[count:]
            count = max(0, count - len(values))
            yield left
        else:
            yield values
