"""What a run has done, node by node."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.graph.feeding import FeedNode
from orchestrator.graph.mapping import MapNode
from orchestrator.graph.node import Node

if TYPE_CHECKING:
    from workers.steps import StepCounts

_SHOWN_S = 0.01


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What one node has done."""

    items_in: int
    items_out: int
    failed: int = 0
    """Items that were skipped or stand as a `Failure`."""
    seconds: float = 0.0
    """In the workers, summed; 0 for nodes of the coordinator."""
    full_s: float = 0.0
    """How long the run waited because this node had no room: where backpressure sits."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has done; also readable node by node: `report.nodes["parse"].items_out`."""

    seconds: float
    items_in: int
    """Items that the sources gave."""
    items_out: int
    """Items that the sinks took."""
    failed: int
    nodes: dict[str, NodeReport] = field(default_factory=dict)
    """By name, in the order of the data; fused steps have an entry each."""

    def __str__(self) -> str:
        """Return it as a table: a line a node, then the sums."""
        width = max(map(len, self.nodes), default=0)
        lines = []
        for name, node in self.nodes.items():
            failed = f", {node.failed:,} failed" if node.failed else ""
            ran = f", {node.seconds:.2f} s in the workers" if node.seconds else ""
            full = f", held others up for {node.full_s:.2f} s" if node.full_s >= _SHOWN_S else ""
            lines.append(f"{name:{width}}  {node.items_in:,} in, {node.items_out:,} out{failed}{ran}{full}")
        rate = self.items_in / self.seconds if self.seconds else 0.0
        lines.append(
            f"{self.items_in:,} items in, {self.items_out:,} out, {self.failed:,} failed; "
            f"{self.seconds:.2f} s, {rate:,.0f} items/s"
        )
        return "\n".join(lines)

    @property
    def fullest(self) -> str | None:
        """The node that held the others up longest, None if nothing ever waited."""
        name = max(self.nodes, key=lambda name: self.nodes[name].full_s, default=None)
        return name if name is not None and self.nodes[name].full_s > 0 else None


def report_on(nodes: Iterable[Node], seconds: float) -> Report:
    """Return the report of a graph as it is now."""
    found: dict[str, NodeReport] = {}
    items_in = items_out = failed = 0
    for node in nodes:
        if isinstance(node, FeedNode):
            found[node.source_name] = NodeReport(0, node.items_in)
            items_in += node.items_in
        elif not node.inlets:
            items_in += node.items_out
        items_out += node.items_in if not node.outlets else 0
        if isinstance(node, MapNode):
            counts = node.stage.counts
            failed += counts.failures
            found |= _steps_of(node) or {
                node.name: NodeReport(node.items_in, node.items_out, counts.failures, counts.seconds, node.full_s)
            }
        else:
            found[node.name] = NodeReport(node.items_in, node.items_out, full_s=node.full_s)
    return Report(seconds, items_in, items_out, failed, found)


def _steps_of(node: MapNode) -> dict[str, NodeReport]:
    """Return an entry for each fused step; what held the others up is entered for the first."""
    entries: dict[str, NodeReport] = {}
    steps: dict[str, StepCounts] = node.stage.counts.steps
    for number, (name, counts) in enumerate(steps.items()):
        full_s = node.full_s if number == 0 else 0.0
        entries[name] = NodeReport(counts.items_in, counts.items_out, counts.failed, counts.seconds, full_s)
    return entries
