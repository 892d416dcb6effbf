"""The report of a run, node by node."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

from orchestrator.engine.protocol.counts import SHOWN_FAILURES
from orchestrator.graph.flow.dropped_branch import DroppedBranch
from orchestrator.graph.flow.node import Node

_SHOWN_S = 0.01


@dataclass(frozen=True, slots=True)
class NodeReport:
    """The report of one node."""

    items_in: int
    items_out: int
    failed: int = 0
    """Items that were skipped or stand as a `Failure`."""
    seconds: float = 0.0
    """In the workers, summed; 0 for nodes of the coordinator."""
    full_s: float = 0.0
    """How long the run waited because this node had no room: where backpressure sits."""
    late: int = 0
    """Items that came too late for every window by time that they belong to."""


@dataclass(frozen=True, slots=True)
class GrownEdge:
    """An edge whose buffer had to grow where branches of one stream meet again."""

    items: int
    """The most that ever waited there."""
    disk_bytes: int
    """Written to a temporary file, as it was more than the edge's share of `buffer_bytes`."""


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a run.

    It is also readable node by node: `report.nodes["parse"].items_out`.
    """

    seconds: float
    items_in: int
    """Items that the sources gave."""
    items_out: int
    """Items that the sinks took."""
    failed: int
    nodes: dict[str, NodeReport] = field(default_factory=dict)
    """By name, in the order of the data; fused steps have one each. A taken name gets a number, like "x-2"."""
    dropped: tuple[DroppedBranch, ...] = ()
    """Branches that failed while the others continued (`broadcast(n, on_failure="drop")`)."""
    grown: dict[str, GrownEdge] = field(default_factory=dict)
    """Edges that grew, by name: "route.rest -> merge_sorted"."""
    first_failures: tuple[str, ...] = ()
    """The first few of the items that failed, in a line each: where it stands, and the error."""

    def __str__(self) -> str:
        """Return the report as a table: a line for each node, then the sums."""
        width = max(map(len, self.nodes), default=0)
        lines = []
        for name, node in self.nodes.items():
            failed = f", {node.failed:,} failed" if node.failed else ""
            late = f", late {node.late:,}" if node.late else ""
            ran = f", {node.seconds:.2f} s in the workers" if node.seconds else ""
            full = f", blocked upstream for {node.full_s:.2f} s" if node.full_s >= _SHOWN_S else ""
            lines.append(f"{name:{width}}  {node.items_in:,} in, {node.items_out:,} out{failed}{late}{ran}{full}")
        lines += map(str, self.dropped)
        for name, edge in self.grown.items():
            disk = f", {edge.disk_bytes:,} bytes went to disk" if edge.disk_bytes else ""
            lines.append(f"{name} grew to {edge.items:,} items{disk}")
        rate = self.items_in / self.seconds if self.seconds else 0.0
        lines.append(
            f"{self.items_in:,} items in, {self.items_out:,} out, {self.failed:,} failed; "
            f"{self.seconds:.2f} s, {rate:,.0f} items/s"
        )
        return "\n".join(lines)

    @property
    def fullest(self) -> str | None:
        """The node that blocked the others longest, None if nothing ever waited."""
        name = max(self.nodes, key=lambda name: self.nodes[name].full_s, default=None)
        return name if name is not None and self.nodes[name].full_s > 0 else None


def report_on(nodes: Collection[Node], seconds: float) -> Report:
    """Return the report of a graph as it is now."""
    found: dict[str, NodeReport] = {}
    items_in = items_out = failed = 0
    dropped: list[DroppedBranch] = []
    first_failures: list[str] = []
    for node in nodes:
        if not node.inlets:
            items_in += node.items_in if node.is_stage else node.items_out
        items_out += node.items_in if not node.outlets else 0
        if node.counts is not None:
            failed += node.counts.failures
            first_failures += node.counts.first_failures
        for name, entry in _entries(node):
            found[_free_name(name, found)] = entry
        dropped += node.dropped
    told = tuple(first_failures[:SHOWN_FAILURES])
    return Report(seconds, items_in, items_out, failed, found, tuple(dropped), _grown(nodes), told)


def _grown(nodes: Iterable[Node]) -> dict[str, GrownEdge]:
    edges = [(outlet, outlet.overflow) for node in nodes for outlet in node.outlets]
    return {
        str(outlet): GrownEdge(outlet.most, overflow.disk_bytes) for outlet, overflow in edges if overflow is not None
    }


def _free_name(name: str, taken: dict[str, NodeReport]) -> str:
    """Return the name, with a number if two stages have steps of that name."""
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(each for each in names if each not in taken)


def _entries(node: Node) -> Iterator[tuple[str, NodeReport]]:
    """Yield the reports of a node, by name: its source, then itself or each step that is fused in it."""
    if not node.is_shown:
        return
    counts = node.counts
    if counts is not None and node.is_source:
        yield node.source_name, NodeReport(0, node.items_in)
    if counts is None:
        yield node.name, NodeReport(node.items_in, node.items_out, late=node.late_items, full_s=node.full_s)
        return
    if not counts.steps:
        yield node.name, NodeReport(node.items_in, node.items_out, counts.failures, counts.seconds, node.full_s)
    for number, (name, step) in enumerate(counts.steps.items()):
        full_s = node.full_s if number == 0 else 0.0  # what held the others up is entered for the first
        yield name, NodeReport(step.items_in, step.items_out, step.failed, step.seconds, full_s)
