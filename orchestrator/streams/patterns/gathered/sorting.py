"""An external merge sort: runs come sorted from the workers, and are merged here.

    run run run … -> (too many) -> one longer run on disk … -> all runs merged, piece by piece, as the consumer has room

Runs are merged in the order in which they came, so items with equal keys keep the order of the stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.errors import OrchestratorError
from orchestrator.graph.flow.node import ROOM
from orchestrator.option_values import flag
from orchestrator.streams.patterns.gathered.gathering import MEMORY, Gathering
from orchestrator.streams.patterns.gathered.store import BLOCK_BYTES, bytes_of
from orchestrator.streams.patterns.ordering import safe_counts, sort_by
from workers.errors.describe import text_of, type_name

if TYPE_CHECKING:
    from workers.functions.aggregates.sorting import Run

MOST_RUNS = 128
"""More runs on disk are merged to one: a piece of each is in memory while they are merged."""


class SortMerge(Gathering):
    """Merges sorted runs, and gives their items in order.

    Args:
        reverse: Whether the runs begin with the greatest item.
        memory: How much may be held; beyond it, it goes to disk.

    *Emits when* its input has ended. *Backpressures when* never before that: it has to take everything.
    *Completes when* every item was passed on. *Fails when* two keys can't be compared, or the disk is full.
    """

    __slots__ = ("_bytes", "_held", "_reverse", "_runs")

    def __init__(self, *, reverse: bool = False, memory: int | str = MEMORY, name: str = "sort") -> None:
        flag(f"{name}: reverse", reverse)
        super().__init__(name, memory, "the items to be sorted")
        self._reverse = reverse
        self._held: list[Run] = []
        self._runs: list[list[int]] = []  # the places of their pieces
        self._bytes = 0

    def take_in(self, parts: list[Any]) -> None:
        """Hold runs."""
        self._held += parts
        self._bytes += sum(bytes_of(items) + (bytes_of(keys) if keys else 0) for items, keys in parts)

    def held_bytes(self) -> int:
        """Return about how much the runs that are held take."""
        return self._bytes

    def spill(self) -> None:
        """Write the runs that are held as one."""
        self._runs.append(self._written([self._together(self._held)]))
        self._held, self._bytes = [], 0
        if len(self._runs) > MOST_RUNS:
            self._runs = [self._written(self._merged(map(self._read, self._runs)))]

    def _written(self, parts: Iterable[Run]) -> list[int]:
        places = []
        for items, keys in parts:
            size = BLOCK_BYTES * len(items) // max(1, bytes_of(items) + (bytes_of(keys) if keys else 0)) + 1
            for start in range(0, len(items), size):
                end = start + size
                places.append(self.store.put((items[start:end], None if keys is None else keys[start:end])))
        return places

    def _together(self, runs: list[Run]) -> Run:
        """Return several runs as one."""
        items = [item for some, _ in runs for item in some]
        keys = [key for _, some in runs for key in some or ()] if runs and runs[0][1] is not None else None
        try:
            sort_by(items, keys, reverse=self._reverse)
            if keys is not None:
                keys.sort(reverse=self._reverse)
        except Exception as cause:
            raise OrchestratorError(
                f"{self.name}: two items can't be compared: {type_name(type(cause))}: {text_of(cause)}"
            ) from cause
        return items, keys

    def _merged(self, runs: Iterable[Iterator[Run]]) -> Iterator[Run]:
        """Yield what is in order of all runs, as far as their pieces tell."""
        left = [(run, piece) for run in runs if (piece := next(run, None)) is not None]
        while left:
            keys = [items if keys is None else keys for _, (items, keys) in left]
            counts = safe_counts(keys, [some[-1:] for some in keys], [False] * len(left), reverse=self._reverse)
            cut = list(zip(counts, left, strict=True))
            yield self._together([_part(piece, slice(count)) for count, (_, piece) in cut])
            rest = [(run, _part(piece, slice(count, None))) for count, (run, piece) in cut]
            left = [(run, piece) for run, some in rest if (piece := some if some[0] else next(run, None)) is not None]

    def _read(self, run: list[int]) -> Iterator[Run]:
        for place in run:
            yield self.store.get(place)

    def results(self) -> Iterator[list[Any]]:
        """Yield the items."""
        here = self._together(self._held)
        runs: list[Iterator[Run]] = [*map(self._read, self._runs), *([iter([here])] if here[0] else [])]
        for items, _ in [here] if not self._runs else self._merged(runs):
            for start in range(0, len(items), ROOM):
                yield items[start : start + ROOM]

    def snapshot(self) -> dict[str, Any]:
        """Return what is held, and where the rest is."""
        state = super().snapshot()
        return {**state, "held": list(self._held), "runs": list(self._runs)}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        super().restore(state)
        self._runs = list(state["runs"])
        self.take_in(list(state["held"]))


def _part(piece: Run, part: slice) -> Run:
    items, keys = piece
    return items[part], None if keys is None else keys[part]
