"""The worker processes of Dask, and which is to get the next chunk. Pure.

Owner of the state: the session, under its lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SILENT_S = 30.0
"""A worker process that has said nothing to the scheduler for so long is given up."""
_RUNNING = "running"


@dataclass(slots=True)
class Node:
    """One worker process of Dask."""

    address: str
    slots: int
    host: str = ""
    pid: int = 0
    seen: float = 0.0
    """When the scheduler heard of it last, by the scheduler's clock."""
    changed_s: float = 0.0
    """When that was last seen to change, by ours."""
    usable: bool = True
    """Whether it runs what we send, and answers."""
    held: set[int] = field(default_factory=set)
    """Idents of the chunks that were sent to it."""

    @property
    def load(self) -> float:
        """Chunks a slot."""
        return len(self.held) / self.slots


class Nodes:
    """All of them, by address."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._refused: set[str] = set()
        self.slots = 0
        """How many tasks the usable ones run at once."""

    def all(self) -> list[Node]:
        """Return those that are usable."""
        return [each for each in self._nodes.values() if each.usable]

    def holder(self, ident: int) -> Node | None:
        """Return the one that a chunk was sent to."""
        return next((each for each in self._nodes.values() if ident in each.held), None)

    def next(self) -> Node | None:
        """Return the one that holds least for its slots."""
        return min(self.all(), key=lambda node: node.load, default=None)

    def forget(self, ident: int) -> None:
        """Take in that a chunk is back."""
        for each in self._nodes.values():
            each.held.discard(ident)

    def unknown(self, workers: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Return the addresses of worker processes that were not greeted yet, of those that the scheduler knows."""
        return [each for each in workers if each not in self._nodes and each not in self._refused]

    def refuse(self, addresses: Iterable[str]) -> None:
        """Send nothing to these: they have other versions."""
        self._refused.update(addresses)

    def greeted(self, address: str, slots: int, host: str, pid: int, now_s: float) -> None:
        """Take in one that can run chunks."""
        self._nodes[address] = Node(address, slots, host, pid, changed_s=now_s)
        self._count()

    def look(self, workers: Mapping[str, Mapping[str, Any]], now_s: float) -> list[Node]:
        """Take in what the scheduler says of its workers.

        Returns those that have gone, and those that are silent for too long: what they hold is lost, if Dask does not
        run it elsewhere.
        """
        lost = [self._nodes.pop(each) for each in [*self._nodes] if each not in workers]
        self._refused.intersection_update(workers)
        for address, node in self._nodes.items():
            said = workers[address]
            node.slots = max(1, int(said["nthreads"]))
            if node.seen != said["last_seen"]:
                node.seen, node.changed_s = said["last_seen"], now_s
            answers = now_s - node.changed_s < SILENT_S
            if node.usable and not answers:
                lost.append(node)
            node.usable = answers and said.get("status", _RUNNING) == _RUNNING
        self._count()
        return lost

    def _count(self) -> None:
        self.slots = sum(each.slots for each in self.all())


def addresses(nodes: Collection[Node]) -> list[str]:
    """Return where they are."""
    return [each.address for each in nodes]
