"""Branches that may fail without the rest, for `broadcast(n, on_failure="drop")`.

    source -> broadcast -> [ operators, stages, sinks of branch 0 ]      a node in there fails: all of it is closed, and
                        -> [ operators, stages, sinks of branch 1 ]      the others continue

A branch has the nodes that nothing but it leads to, and those that lead to nothing but it. What two branches of one
broadcast lead to belongs to neither; there a dropped branch just ends. Owner of the state: the engine's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import ClosedError, InternalError, WorkerStartError
from orchestrator.graph.flow.dropped_branch import DroppedBranch
from orchestrator.graph.flow.node import Node, NodeError, Outlet
from workers.errors.describe import text_of

if TYPE_CHECKING:
    from orchestrator.sinks.given import NodeSink

_SHOWN = 1000
"""Characters of an error that a report keeps."""
_NOT_OF_A_BRANCH = (ClosedError, InternalError, WorkerStartError)


@dataclass(frozen=True, slots=True, eq=False)
class _Branch:
    start: Outlet
    nodes: frozenset[Node]

    @property
    def splitter(self) -> Node:
        """The broadcast.

        Its `dropped` tells which of its branches are no more.
        """
        return self.start.owner


class Branches:
    """The branches of a graph that may be dropped."""

    def __init__(self, nodes: Collection[Node], forget: Callable[[frozenset[Node]], object]) -> None:
        """Find the branches, and make their outlets report failures.

        Args:
            nodes: of the graph, in order, connected.
            forget: told about nodes that are closed and take no more part.
        """
        self._nodes = nodes
        self._forget = forget
        splitters = [node for node in nodes if node.drops_branches]
        found = [branch for splitter in splitters for branch in _branches_of(splitter, nodes)]
        self._given_up: list[NodeSink] = []  # sinks of dropped branches
        self._branches = sorted(found, key=lambda branch: len(branch.nodes))  # those inside others first
        for outlet in (outlet for node in nodes if found for outlet in node.outlets):
            outlet.guard = self.takes

    def resume(self) -> None:
        """Close the branches that were dropped before this run was resumed."""
        for branch in list(self._branches):
            number = branch.splitter.outlets.index(branch.start)
            if any(each.branch == number for each in branch.splitter.dropped):
                self._close(branch)

    def discard(self) -> None:
        """Remove what dropped branches have kept for a later run."""
        for sink in self._given_up:
            sink.discard()

    def takes(self, error: NodeError, outlet: Outlet | None = None) -> bool:
        """Drop the branch in which a node failed.

        Returns False if it is in none, or nothing would continue without it.

        Args:
            error: what the node raised.
            outlet: where the error arrives on its way up; None: at the engine. Inside the branch it goes further up.
        """
        if not isinstance(error.cause, Exception) or isinstance(error.cause, _NOT_OF_A_BRANCH):
            return False
        branch = next((each for each in self._branches if error.node in each.nodes and _others_go_on(each)), None)
        if branch is None or (outlet is not None and outlet.owner in branch.nodes):
            return False
        splitter = branch.splitter
        told = f"{type(error.cause).__qualname__}: {text_of(error.cause)}"[:_SHOWN]
        number = splitter.outlets.index(branch.start)
        splitter.note_dropped(DroppedBranch(splitter.name, number, error.name or error.node.name, told))
        self._close(branch)
        return True

    def _close(self, branch: _Branch) -> None:
        """Cut the nodes of a branch off from the others, and abandon what they have written."""
        self._branches = [each for each in self._branches if not each.nodes <= branch.nodes]
        ways_out = []
        for node in (node for node in self._nodes if node in branch.nodes):
            for inlet in node.inlets:
                if inlet.owner not in branch.nodes:
                    inlet.cancel()
            for outlet in node.outlets:
                if outlet.consumer not in branch.nodes and not outlet.cancelled:
                    ways_out.append(outlet)
                outlet.drop()
            self._given_up += node.own_sinks()
            if not node.closed:
                node.closed = node.failed = True
                with suppress(Exception):  # the first error is told
                    node.close()
        self._forget(branch.nodes)
        for outlet in ways_out:
            if not outlet.consumer.ended[outlet.port]:
                outlet.cancelled = outlet.ended = False
                outlet.end()


def _others_go_on(branch: _Branch) -> bool:
    splitter = branch.splitter
    return len(splitter.dropped) + 1 < len(splitter.outlets)


def _branches_of(splitter: Node, nodes: Collection[Node]) -> Iterable[_Branch]:
    reached = [_behind(outlet) for outlet in splitter.outlets]
    for number, outlet in enumerate(splitter.outlets):
        own = reached[number].difference(*reached[:number], *reached[number + 1 :])
        for node in reversed(list(nodes)):  # consumers first
            if node.outlets and all(each.consumer in own for each in node.outlets):
                own.add(node)
        own.discard(splitter)
        if own:
            yield _Branch(outlet, frozenset(own))


def _behind(outlet: Outlet) -> set[Node]:
    """Return all nodes that an outlet leads to."""
    found: set[Node] = set()
    left = [outlet.consumer]
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += [each.consumer for each in node.outlets]
    return found
