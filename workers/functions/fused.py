"""Runs a chain of steps over the items of a chunk, column by column.

    items -> slice -> step over the whole slice -> next step over the whole slice -> ... -> one flat list

`chain.py` runs the steps over a slice; here is what surrounds that for one call.

An item that fails in any step gives no results at all, also where a flat map had made several values of it and only one
failed: so it can be run again whole, and every result comes exactly once. Only for a chunk in which an item failed are
the results sent grouped by item, for the coordinator to put them in their places; else they are flat.

Runs in the worker's main thread, which owns the state. Order within a chunk is the item order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from workers.functions.chain import Chain
from workers.functions.columns.flow import Flow
from workers.functions.columns.slices import Slices
from workers.functions.lazy import FailedLazily, Room, has_lazy, read
from workers.functions.runner import CallSpec, Failures
from workers.functions.spill import Spill
from workers.functions.steps import StepCounts, Steps
from workers.transport.forks import present

Tally = tuple[float, ...]
"""The fields of `StepCounts`, step after step in the order of `Steps.names`."""


class FusedResults:
    """The outcome of a chunk."""

    __slots__ = ("failures", "flows", "spilled", "tally")

    def __init__(self, flows: list[Flow | Written], failures: Failures, tally: Tally) -> None:
        self.flows = flows
        self.failures = failures
        self.tally = tally
        self.spilled = any(type(flow) is Written for flow in flows)
        """Whether the results of an item may be an `Extent` of the chunk's file."""

    def flat(self) -> Sequence[Any]:
        """Return all results, in item order."""
        return list(chain.from_iterable(flow.values for flow in self.flows))

    def by_item(self, *, stop: bool) -> list[Sequence[Any]]:
        """Return the results of each item that did not fail.

        With `stop`, of those before the first that did.
        """
        failed = {position for position, _ in self.failures}
        groups = [group for flow in self.flows for group in flow.by_item()]
        if stop and failed:
            del groups[min(failed) :]
        return [group for position, group in enumerate(groups) if position not in failed]


class Written:
    """A slice with the results of some items on disk, in place of its flow."""

    __slots__ = ("failures", "groups", "size", "values")

    def __init__(
        self, flow: Flow, spill: Spill, abandoned: Callable[[], bool], *, stop: bool, everything: bool = False
    ) -> None:
        """Read what is lazy, or everything, and write it.

        An item that fails meanwhile is a failure of the flow.
        """
        self.groups: list[Sequence[Any]] = list(flow.by_item())
        self.failures = flow.failures
        self.size = flow.size
        self.values: Sequence[Any] = ()
        for position, group in enumerate(self.groups):
            if not (group if everything else has_lazy(group)):
                continue
            self.groups[position] = ()
            if abandoned():
                continue
            try:
                self.groups[position] = spill.write(read(group), abandoned)
            except FailedLazily as failed:
                if stop:  # what stands behind it does not count
                    self.failures.clear()
                self.failures[position] = failed.record
                if stop:
                    return

    def by_item(self) -> list[Sequence[Any]]:
        """Return the results of each item, or the `Extent` of the file where they are."""
        return self.groups


class FusedRunner:
    """One call of fused steps in this worker, and how many items fill a slice of time."""

    def __init__(
        self, spec: CallSpec, steps: Steps, ask_file: Callable[[], tuple[str, str]] | None = None
    ) -> None:
        """Prepare the steps.

        Without `ask_file` (see `Spill`), all results are held in memory.
        """
        self.spec = spec
        self._counts: list[StepCounts] = []
        self._room = Room(sys.maxsize if ask_file is None else steps.most_held)
        self._spill = Spill(ask_file or no_file)
        self._chain = Chain(steps.steps, self._counts, stop=spec.stop_at_failure, room=self._room)
        self._slices = Slices()

    def run(
        self, items: Sequence[Any], abandoned: Callable[[], bool], began: Callable[[int], None] | None = None
    ) -> FusedResults:
        """Run all steps over the items, or over fewer if abandoned.

        With `began`, item by item: it is told the position of each before it runs.
        """
        flows: list[Flow | Written] = []
        failures: Failures = []
        total = len(items)

        def run(done: int, wanted: int) -> tuple[int, bool]:
            flow = self._through(items if wanted == total else items[done : done + wanted], abandoned)
            flows.append(flow)
            failures.extend((done + position, record) for position, record in sorted(flow.failures.items()))
            return wanted, not (failures and self.spec.stop_at_failure)

        self._slices.run(items, run, abandoned, began)
        self._spill.close()
        present.values = ()
        return FusedResults(flows, failures, taken(self._counts))

    def _through(self, items: Sequence[Any], abandoned: Callable[[], bool]) -> Flow | Written:
        flow = Flow(items)
        self._room.exceeded = False
        self._chain.run(flow)
        if not self._room.exceeded:
            return flow
        return Written(flow, self._spill, abandoned, stop=self.spec.stop_at_failure)


def no_file() -> tuple[str, str]:
    """Refuse to ask for a file, where all results are held in memory."""
    return "", "nobody makes a file"


def taken(steps: list[StepCounts]) -> Tally:
    """Return the counts of a chunk, and reset them."""
    found: list[float] = []
    for counts in steps:
        found += (counts.items_in, counts.items_out, counts.failed, counts.skipped, counts.seconds)
        counts.items_in = counts.items_out = counts.failed = counts.skipped = 0
        counts.seconds = 0.0
    return tuple(found)
