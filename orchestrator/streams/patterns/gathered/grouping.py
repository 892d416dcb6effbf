"""Groups: the parts that workers have made of chunks, merged by key.

    {key: parts} -> table -> (too large) -> 64 partitions on disk, by the hash of the key -> each merged alone -> rows

The keys of one partition fit in memory when those of all don't; one that does not fit is divided again, by other bits
of the hash. Rows come in the order in which keys first appeared, whether they were on disk or not: each entry has the
number of its key's first appearance, and the rows of the partitions are merged by it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from orchestrator.errors import OrchestratorError
from orchestrator.graph.flow.node import ROOM
from orchestrator.streams.patterns.gathered.gathering import MEMORY, Gathering
from orchestrator.streams.patterns.gathered.store import Store, bytes_of, pieces
from workers.errors.describe import describe, text_of, type_name

if TYPE_CHECKING:
    from workers.functions.aggregates.functions import Aggregate

_WAY_BITS = 6
_WAYS = 1 << _WAY_BITS
_WORD = (1 << 64) - 1
_DEEPEST = 4
"""A partition is divided so often at most; then its keys have the same hash, or one key holds too much."""
_HASHED = "which keys have which hash differs from process to process"
Entry = tuple[int, Any, list[Any]]
"""Number of the key's first appearance, key, parts."""


class GroupMerge(Gathering):
    """Merges the parts of each key, and gives a row a key in the order in which keys first appeared.

    Args:
        labels: Name and aggregate of each part.
        row: Key and results to what is given.
        memory: How much the keys and their parts may take; beyond it they go to disk.
        nothing: What is given if no part came.

    *Emits when* its input has ended. *Backpressures when* never before that: it has to take everything.
    *Completes when* every row was passed on. *Fails when* two parts can't be merged, or the disk is full.
    """

    __slots__ = ("_bytes", "_labels", "_nothing", "_partitions", "_row", "_seen", "_table")

    def __init__(
        self,
        labels: Sequence[tuple[str, Aggregate]],
        row: Callable[[Any, list[Any]], Any],
        *,
        memory: int | str = MEMORY,
        nothing: Sequence[Any] = (),
        name: str = "agg",
    ) -> None:
        super().__init__(name, memory, "the groups")
        self._labels = tuple(labels)
        self._row = row
        self._nothing = list(nothing)
        self._table: dict[Any, list[Any]] = {}
        self._seen = 0  # keys of tables that were spilled
        self._partitions: list[list[int]] = []  # the places of their entries, once something was spilled
        self._bytes = 0  # of the table when it was measured, and of what has come since

    def take_in(self, parts: list[Any]) -> None:
        """Merge parts by key into the table."""
        table = self._table
        for of_chunk in parts:
            self._bytes += bytes_of(of_chunk.keys()) + bytes_of(of_chunk.values())
            for key, fresh in of_chunk.items():
                there = table.get(key)
                if there is None:
                    table[key] = fresh
                else:
                    self._merge(key, there, fresh)

    def _merge(self, key: Any, there: list[Any], fresh: list[Any]) -> None:
        number = 0
        try:
            for number, (_, aggregate) in enumerate(self._labels):
                there[number] = aggregate.merged(there[number], fresh[number])
        except Exception as cause:
            label = self._labels[number][0]
            raise self._failed(f"two parts of {label!r} can't be merged", key, cause) from cause

    def _failed(self, what: str, key: Any, cause: Exception) -> OrchestratorError:
        return OrchestratorError(
            f"{self.name}: {what} (key {describe(key)}): {type_name(type(cause))}: {text_of(cause)}"
        )

    def held_bytes(self) -> int:
        """Return at most about how much the table takes, measured when that would be too much."""
        if self._bytes > self.memory_bytes:
            self._bytes = _bytes_of_table(self._table) * 4 // 3  # not measured anew with each chunk when it is near
        return self._bytes

    def spill(self) -> None:
        """Write the table to the partitions, and begin with an empty one."""
        entries = ((self._seen + number, key, parts) for number, (key, parts) in enumerate(self._table.items()))
        self._partitions = _partitioned(entries, self.store, 0, self._partitions)
        self._seen += len(self._table)
        self._table, self._bytes = {}, 0

    def results(self) -> Iterator[list[Any]]:
        """Yield the rows."""
        if not self._partitions:
            if not self._table:
                yield list(self._nothing)
            entries = iter(self._table.items())
            while found := list(islice(entries, ROOM)):
                yield [self._row_of(key, parts) for key, parts in found]
            return
        if self._table:
            self.spill()
        runs: list[list[int]] = []
        for places in self._partitions:
            for run in self._runs_of(places, 1):
                runs.append(run)
                yield []  # the others' turn
        rows = heapq.merge(*map(self._read, runs), key=_number)
        while found := list(islice(rows, ROOM)):
            yield [row for _, row in found]

    def _row_of(self, key: Any, parts: list[Any]) -> Any:
        results: list[Any] = []
        try:
            for (_, aggregate), part in zip(self._labels, parts, strict=True):
                results.append(aggregate.result(part))
            return self._row(key, results)
        except Exception as cause:
            label = self._labels[min(len(results), len(self._labels) - 1)][0]
            raise self._failed(f"{label!r} has no result", key, cause) from cause

    def _runs_of(self, places: list[int], depth: int) -> Iterator[list[int]]:
        """Merge a partition, write its rows, and yield the places of each run of them, which is in order."""
        merged: dict[Any, Entry] = {}
        for at, place in enumerate(places):
            for entry in self.store.get(place):
                there = merged.setdefault(entry[1], entry)
                if there is not entry:
                    self._merge(entry[1], there[2], entry[2])
            if depth < _DEEPEST and len(merged) > 1 and bytes_of(merged.values()) > self.memory_bytes:
                finer = _partitioned(merged.values(), self.store, depth, [])
                for rest in places[at + 1 :]:
                    finer = _partitioned(self.store.get(rest), self.store, depth, finer)
                merged.clear()
                for part in finer:
                    yield from self._runs_of(part, depth + 1)
                return
        rows = [(number, self._row_of(key, parts)) for number, key, parts in sorted(merged.values(), key=_number)]
        if rows:
            yield [self.store.put(piece) for piece in pieces(rows)]

    def _read(self, run: list[int]) -> Iterator[tuple[int, Any]]:
        for place in run:
            yield from self.store.get(place)

    def snapshot(self) -> dict[str, Any]:
        """Return the table, and where the rest is."""
        state = super().snapshot()
        return {**state, "table": list(self._table.items()), "seen": self._seen, "partitions": self._partitions,
                "hash": hash(_HASHED)}  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned.

        Where keys have other hashes than they had, the partitions are made anew.
        """
        super().restore(state)
        self._table, self._seen = {key: list(parts) for key, parts in state["table"]}, state["seen"]
        self._bytes = _bytes_of_table(self._table)
        self._partitions = state["partitions"]
        if self._partitions and state["hash"] != hash(_HASHED):
            anew: list[list[int]] = []
            for places in self._partitions:
                for place in places:
                    anew = _partitioned(self.store.get(place), self.store, 0, anew)
            self._partitions = anew


def _number(entry: tuple[Any, ...]) -> int:
    number: int = entry[0]
    return number


def _way_of(key: Any, depth: int) -> int:
    """Return the partition of a key, by bits of its hash that tell nothing of those of another depth.

    The bits are mixed first, as whole numbers are their own hashes (multiplication and shift, as in splitmix64).
    """
    mixed = hash(key) * 0x9E3779B97F4A7C15 & _WORD
    mixed = (mixed ^ mixed >> 32) * 0xD6E8FEB86659FD93 & _WORD
    return mixed >> (64 - (depth + 1) * _WAY_BITS) & (_WAYS - 1)


def _bytes_of_table(table: dict[Any, list[Any]]) -> int:
    return 100 * len(table) + bytes_of(table.keys()) + bytes_of(table.values())


def _partitioned(
    entries: Iterable[Entry], store: Store, depth: int, partitions: Sequence[list[int]]
) -> list[list[int]]:
    """Write entries to the partitions of their keys, behind what is there, and return the places of all."""
    found = [list(places) for places in partitions] or [[] for _ in range(_WAYS)]
    waiting: list[list[Entry]] = [[] for _ in range(_WAYS)]
    for entry in entries:
        way = _way_of(entry[1], depth)
        waiting[way].append(entry)
        if len(waiting[way]) >= ROOM:
            found[way].append(store.put(waiting[way]))
            waiting[way] = []
    for way, rest in enumerate(waiting):
        if rest:
            found[way].append(store.put(rest))
    return found
