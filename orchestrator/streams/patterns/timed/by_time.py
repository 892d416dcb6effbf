"""What nodes that go by event time have in common: the times of items, and the items that come too late."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from orchestrator.graph.flow.node import Node
from orchestrator.streams.patterns.calls import apply, item_error
from orchestrator.streams.patterns.event_time import all_in_seconds, length_in_seconds
from orchestrator.streams.patterns.splitting import close_all
from workers.errors.describe import describe

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from orchestrator.sinks.given import NodeSink


class ByTime(Node):
    """Goes by the event time of its items, up to `lateness_s` behind the latest that was seen.

    Owns the sink of late items.
    """

    __slots__ = ("at", "late", "late_items", "lateness_s", "seen_s")

    def __init__(
        self,
        name: str,
        at: Callable[[Any], Any],
        lateness_s: float | timedelta,
        late: NodeSink | None,
        *,
        outputs: int = 1,
    ) -> None:
        super().__init__(name, outputs=outputs)
        self.at = at
        self.lateness_s = length_in_seconds(lateness_s, "lateness_s", name)
        self.late = [late] if late is not None else []
        self.late_items = 0
        """Items that came too late for all their windows."""
        self.seen_s = -math.inf  # the latest event time

    def times_of(self, items: list[Any], port: int) -> tuple[list[float], Exception | None]:
        """Return the times of items in seconds, up to the first that has none, and the error that tells it."""
        made, error = apply(self, port, self.at, items, "the function `at`")
        times, refused = all_in_seconds(made)
        if refused is not None:
            place = len(times)
            error = item_error(self, port, items, place, f"{describe(made[place])} is not an event time", refused)
        return times, error

    def put_aside(self, late: list[Any]) -> None:
        """Count items that came too late, and write them to the sink, if there is one."""
        self.late_items += len(late)
        if late and self.late:
            self.late[0].write(late)

    def own_sinks(self) -> list[NodeSink]:
        """Return the sink of late items, if there is one."""
        return self.late

    def close(self) -> None:
        """Close the sink of late items."""
        close_all(self.late, failed=self.failed)

    def snapshot(self) -> dict[str, Any]:
        """Return the state between two lists, picklable."""
        return {"seen_s": self.seen_s, "late_items": self.late_items}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.seen_s, self.late_items = state["seen_s"], state["late_items"]
