"""Items that run again: those of a chunk that was lost or refused, and those whose function raised and may be retried.

    chunk lost, refused, or failed in part
      -> its items as chunks of one ("parts"), an assembly in the chunk's place
      -> each part's outcome, in any order, put into the assembly
      -> the assembly whole: it takes the chunk's turn in the order of results

A part is alone by construction, so the item at fault is known. Owner: the stage, in its consumer's thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from orchestrator.errors import ItemError, ItemTimeoutError
from orchestrator.events import Ended, Lost
from orchestrator.failures import death_error, item_error, timeout_error
from orchestrator.ledger import Chunk
from orchestrator.retry import RetryPolicy, Verdict
from workers.errors import ExceptionRecord, class_names
from workers.steps import StepCounts

_MISSING: Any = object()
_TIMEOUT = class_names(ItemTimeoutError)


class StageCounts:
    """What a stage has counted so far."""

    __slots__ = ("chunks", "deaths", "failures", "items", "retries", "seconds", "steps")

    def __init__(self) -> None:
        self.items = self.failures = self.retries = self.deaths = self.chunks = 0
        self.seconds = 0.0
        """That chunks ran, in the workers, summed."""
        self.steps: dict[str, StepCounts] = {}
        """By name, in the order of the steps; empty if the function is one function."""

    def add(self, other: StageCounts) -> None:
        """Count what another stage has counted; not its steps."""
        for name in ("chunks", "deaths", "failures", "items", "retries", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def take_over(self, other: StageCounts) -> None:
        """Count on from what the same stage had counted in a run before this one; its steps too."""
        self.add(other)
        for name, counts in other.steps.items():
            self.steps[name].take_over(counts)

    def behind(self, before: StageCounts) -> StageCounts:
        """Return what both have counted, this stage behind a barrier and the one before; the items are this one's."""
        both = StageCounts()
        both.add(before)
        both.add(self)
        both.items = self.items
        both.steps = before.steps | self.steps
        return both


class FailedItem:
    """Stands in a list of outcomes for an item that failed."""

    __slots__ = ("what",)

    def __init__(self, what: ItemError | ExceptionRecord) -> None:
        self.what = what


class Assembly:
    """A chunk whose items come back one by one."""

    __slots__ = ("chunk", "missing", "outcomes", "size_bytes")

    def __init__(self, chunk: Chunk, size_bytes: int = 0) -> None:
        self.chunk = chunk
        self.outcomes: list[Any] = [_MISSING] * len(chunk.items)
        self.missing = len(chunk.items)
        self.size_bytes = size_bytes

    def put(self, position: int, outcome: Any) -> None:
        """Enter the outcome of one item: a result or a `FailedItem`."""
        self.outcomes[position] = outcome
        self.missing -= 1


class Recovery:
    """What runs again, now or at a time, and the assemblies that wait for it."""

    def __init__(self, policy: RetryPolicy, counts: StageCounts, whole: Callable[[Assembly], None]) -> None:
        """Begin with nothing to run again; `whole` is told of each assembly that has all its outcomes."""
        self._policy = policy
        self._counts = counts
        self._whole = whole
        self._again: deque[Chunk] = deque()
        self._later: list[tuple[float, Chunk]] = []  # (monotonic time, part)
        self._assemblies: dict[int, Assembly] = {}  # by the chunk's seq
        self.freed_bytes = 0
        """Of parts that have their outcome: to be given back to the budget, and set to 0, by the stage."""

    # ---- what runs again --------------------------------------------------------------------------------------

    def next(self) -> Chunk | None:
        """Return the next part that is due."""
        if self._later:
            now = time.monotonic()
            self._again.extend(part for due, part in self._later if due <= now)
            self._later = [(due, part) for due, part in self._later if due > now]
        return self._again.popleft() if self._again else None

    @property
    def head(self) -> Chunk | None:
        """The part that `next` would return without looking at the clock."""
        return self._again[0] if self._again else None

    @property
    def wait_s(self) -> float | None:
        """Seconds until the next delayed part is due, None: there is none."""
        return max(0.0, min(due for due, _ in self._later) - time.monotonic()) if self._later else None

    @property
    def held_bytes(self) -> int:
        """What the assemblies hold of the budget."""
        return sum(assembly.size_bytes for assembly in self._assemblies.values())

    def clear(self) -> None:
        """Forget everything: the call has ended."""
        self._assemblies.clear()
        self._again.clear()
        self._later.clear()

    # ---- what happened ----------------------------------------------------------------------------------------

    def split(self, chunk: Chunk, size_bytes: int = 0, *, ran: bool = False) -> Assembly:
        """Run the items of a chunk each on its own.

        Args:
            chunk: a whole one.
            size_bytes: what it still holds.
            ran: whether its items have run, or may have.
        """
        assembly = self._assemblies[chunk.seq] = Assembly(chunk, size_bytes)
        self._again.extend(_part(chunk, position, ran=ran) for position in range(len(chunk.items)))
        return assembly

    def retry_failed(self, chunk: Chunk, results: Iterable[Any], failures: list[tuple[int, ExceptionRecord]]) -> None:
        """Keep the results of a chunk, and run the items that failed again."""
        assembly = self._assemblies[chunk.seq] = Assembly(chunk, chunk.size_bytes)
        failed = dict(failures)
        values = iter(results)
        for position in range(len(chunk.items)):
            if position in failed:
                self.item_failed(_part(chunk, position), failed[position])
            else:
                assembly.put(position, next(values))
        self._finish(assembly)

    def item_failed(self, chunk: Chunk, record: ExceptionRecord) -> None:
        """Take in that an item's function raised: run it again if the policy says so, else that is its outcome."""
        if not self._tried_again(chunk, record.classes):
            self.settle(chunk, item_error(record, chunk.items[0], chunk.first_index, chunk.attempt))

    def _tried_again(self, chunk: Chunk, classes: tuple[str, ...]) -> bool:
        """Have a single item that failed run again, now or later, if the policy says so."""
        failures = chunk.failures + 1
        delay = self._policy.delay_after(failures, classes, chunk.first_index)
        if delay is None:
            return False
        self._counts.retries += 1
        again = _same_item(chunk)
        again.failures = failures
        if delay:
            self._later.append((time.monotonic() + delay, again))
        else:
            self._again.append(again)
        return True

    def lost(self, event: Lost) -> None:
        """Take in that a worker died, or was ended, with a chunk."""
        chunk, ended = event.chunk, event.ended
        if ended is not None and ended.reason != "memory":
            self._ended(event, chunk, ended)
            return
        self._counts.deaths += 1
        chunk.deaths += 1
        single = len(chunk.items) == 1
        verdict = self._policy.after_death(chunk.deaths, alone=single and event.alone)
        if verdict is Verdict.GIVE_UP:
            self.settle(chunk, death_error(event, chunk.items[0], chunk.first_index, chunk.deaths, chunk.attempt))
        elif chunk.parent is not None:
            self._again.append(_same_item(chunk, ran=event.begun > 0))
        else:
            self.split(chunk, ran=True)

    def _ended(self, event: Lost, chunk: Chunk, ended: Ended) -> None:
        """The worker was ended for the sake of one item, which may be of this chunk; all others are innocent."""
        position = ended.position if ended.ident == chunk.ident else None
        if position is None and ended.ident == chunk.ident and len(chunk.items) == 1:
            position = 0  # before or behind the function: unpickling the item, pickling its result
        if chunk.parent is not None or (len(chunk.items) == 1 and position is not None):
            if position is None:
                self._again.append(_same_item(chunk, ran=event.begun > 0))
            elif not self._tried_again(chunk, _TIMEOUT):
                self.settle(chunk, timeout_error(event, chunk.items[0], chunk.first_index, chunk.attempt))
            return
        self._assemblies[chunk.seq] = Assembly(chunk)
        for at in range(len(chunk.items)):
            if at != position:
                self._again.append(_part(chunk, at, ran=at < event.begun))
                continue
            part = _part(chunk, at)
            if not self._tried_again(part, _TIMEOUT):
                self.settle(part, timeout_error(event, part.items[0], part.first_index, part.attempt))

    def settle(self, chunk: Chunk, outcome: Any) -> None:
        """Enter the outcome of a single item: its result, or its `ItemError`."""
        parent = chunk.parent or chunk
        assembly = self._assemblies.get(parent.seq)
        if assembly is None:
            assembly = self._assemblies[parent.seq] = Assembly(parent, parent.size_bytes)
        assembly.put(chunk.position, FailedItem(outcome) if isinstance(outcome, ItemError) else outcome)
        self._finish(assembly)

    def free(self, chunk: Chunk) -> None:
        """Give back what a part that is through held; a whole chunk's is given back when it is consumed."""
        if chunk.parent is not None:
            self.freed_bytes += chunk.size_bytes

    def _finish(self, assembly: Assembly) -> None:
        if not assembly.missing:
            self._assemblies.pop(assembly.chunk.seq, None)
            self._whole(assembly)


def _same_item(chunk: Chunk, *, ran: bool = True) -> Chunk:
    """Return a single item once more, with all that it has been through; `ran`: it has run once more, or may have."""
    again = _part(chunk.parent or chunk, chunk.position, ran=ran)
    again.attempt, again.failures = chunk.attempt + ran, chunk.failures
    again.deaths = chunk.deaths
    again.alone = chunk.deaths > 0
    return again


def _part(chunk: Chunk, position: int, *, ran: bool = False) -> Chunk:
    """Return the item at `position` of a whole chunk as a chunk of its own; `ran`: it has run, or may have."""
    return Chunk(
        chunk.call,
        chunk.seq,
        [chunk.items[position]],
        chunk.first_index + position,
        parent=chunk,
        position=position,
        attempt=chunk.attempt + ran,
        deaths=chunk.deaths,
    )
