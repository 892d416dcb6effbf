"""Draws bars on stderr while a graph runs: one for each node, or one for a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.graph.flow.node import Node
    from orchestrator.graph.source_stage import FeedNode
    from orchestrator.progress import Progress

INTERVAL_S = 0.2


class NodeBars:
    """Shows the items that each node has passed on (a sink: taken), and marks the node that held others up longest.

    The overall bar counts the items that the sinks took. Owner: the engine's thread.
    """

    interval_s = INTERVAL_S

    def __init__(self, nodes: list[Node]) -> None:
        from orchestrator.progress import Progress  # noqa: PLC0415 - tqdm is imported only when a bar is drawn

        self._nodes = nodes
        self._progress: Progress = Progress(None, desc="all", style="workers", rows=tuple(node.name for node in nodes))
        self._told = [0] * len(nodes)
        self._full_s = [0.0] * len(nodes)
        self._fullest: int | None = None

    def poll(self) -> None:
        """Update the progress of the nodes, and draw if a picture is due."""
        taken = 0
        for row, node in enumerate(self._nodes):
            items = node.items_out if node.outlets else node.items_in
            new = items - self._told[row]
            self._told[row] = items
            taken += 0 if node.outlets else new
            if new:
                self._progress.worker(row, new)
        self._mark()
        self._progress.update(taken)

    def write(self, text: str, stream: Any) -> None:
        """Write what user code printed, above the bars."""
        self._progress.write(text, stream=stream)

    def close(self) -> None:
        """Draw the last state and stop."""
        self.poll()
        self._progress.close()

    def _mark(self) -> None:
        """Mark the node that has held others up since the last look, and longest of all."""
        waited = [node.full_s - before for node, before in zip(self._nodes, self._full_s, strict=True)]
        self._full_s = [node.full_s for node in self._nodes]
        longest = max(range(len(waited)), key=waited.__getitem__)
        fullest = longest if waited[longest] > 0 else self._fullest
        if fullest == self._fullest:
            return
        for row in (self._fullest, fullest):
            if row is not None:
                mark = " (full)" if row == fullest else ""
                self._progress.name_row(row, self._nodes[row].name + mark)
        self._fullest = fullest



class ItemBar:
    """One bar for one map: the items that are settled, of those that will come.

    Owner: the runner's thread.
    """

    interval_s = INTERVAL_S

    def __init__(self, node: FeedNode, total: int | None, desc: str | None) -> None:
        from orchestrator.progress import Progress  # noqa: PLC0415 - tqdm is imported only when a bar is drawn

        self._node = node
        self._progress = Progress(total, desc=desc)
        self._told = 0

    def poll(self) -> None:
        """Update the progress of the map, and draw if a picture is due."""
        done = self._node.items_done
        self._progress.update(done - self._told)
        self._told = done

    def write(self, text: str, stream: Any) -> None:
        """Write what user code printed, above the bar."""
        self._progress.write(text, stream=stream)

    def close(self) -> None:
        """Draw the last state and stop."""
        self.poll()
        self._progress.close()
