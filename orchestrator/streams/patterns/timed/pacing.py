"""A node that lets only so many items through each second. It owns those that wait for their turn."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.graph.flow.node import ROOM, Node
from workers.errors.describe import describe
from workers.resources.pace import Pace, is_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.graph.flow.node import Outlet

_AT_ONCE_S = 0.1
"""How much of a second may go at once: what a turn of the graph that came late makes up for."""


class Throttle(Node):
    """Passes on at most `per_second` items a second.

    At most a tenth of a second's items go at once (at least one): what was not used before is lost. The time that a run
    was stopped for does not count.

    *Emits when* an item's time has come. *Backpressures when* items wait here for their time, or its consumer does.
    *Completes when* its input has ended and nothing waits. *Fails when* never.
    """

    __slots__ = ("clock", "held", "pace")

    def __init__(
        self, per_second: float, *, name: str = "throttle", clock: Callable[[], float] = monotonic
    ) -> None:
        if not is_rate(per_second):
            raise ConfigError(f"{name}: per_second must be a number greater than 0, not {describe(per_second)}")
        super().__init__(name)
        self.clock = clock
        self.pace = Pace(per_second, max(1, int(per_second * _AT_ONCE_S)))
        self.held: list[Any] = []

    def capacity(self, port: int) -> int:  # noqa: ARG002 - one port
        """Return room for another list if nothing waits here."""
        return 0 if self.held or self.outlets[0].backlog else ROOM

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002 - one port
        """Hold the items, and pass on those whose time has come."""
        self.held += items
        self._drain()

    def _drain(self) -> bool:
        outlet = self.outlets[0]
        room = min(len(self.held), outlet.capacity()) if self.held else 0
        count = self.pace.take(room, self.clock()) if room > 0 else 0
        if count:
            items = self.held[:count]
            del self.held[:count]
            outlet.push(items)
        if self.ended[0] and not self.held:
            outlet.end()
        return count > 0

    @property
    def is_waiting(self) -> bool:
        """Whether time alone lets something go."""
        return bool(self.held) and self.outlets[0].capacity() > 0

    @property
    def has_news(self) -> bool:
        """Whether the next item's time has come."""
        return self.is_waiting and self.wait_s == 0.0

    @property
    def wait_s(self) -> float | None:
        """Seconds until the next item may go."""
        return self.pace.wait_s(self.clock()) if self.held else None

    def pump(self) -> bool:
        """Pass on what may go now."""
        moved = super().pump()
        return self._drain() or moved

    def end(self, port: int) -> None:
        """Note the end.

        The outlet ends when nothing waits.
        """
        self.ended[port] = True
        self._drain()

    def cancelled(self, outlet: Outlet) -> None:
        """Stop: the consumer has left."""
        self.held = []
        super().cancelled(outlet)

    def snapshot(self) -> dict[str, Any]:
        """Return what waits."""
        return {"held": list(self.held)}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.held = list(state["held"])
