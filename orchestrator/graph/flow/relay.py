"""Relays that pass a list on in the next turn, so that calls in long chains don't nest without end.

A push leads through all operators up to the next node that holds items, and asking for room does too. In a chain of
thousands of operators Python's stack would not be deep enough; the plan puts a relay into it every `LONGEST_WAY` nodes.
Owner of the state: the engine's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.graph.flow.node import ROOM, Node

if TYPE_CHECKING:
    from orchestrator.graph.flow.node import Outlet

LONGEST_WAY = 50
"""Nodes that a push may lead through; each takes three Python frames, of the 1,000 that there are."""


class Relay(Node):
    """Takes one list and passes it on in the next turn.

    Emits when: its consumer has room.
    Backpressures when: it has not passed on what it took.
    Completes when: its input has ended and everything was passed on.
    Fails when: never.
    """

    __slots__ = ("_held",)
    is_shown = False

    def __init__(self, name: str = "relay") -> None:
        super().__init__(name)
        self._held: list[Any] = []

    def capacity(self, port: int) -> int:  # noqa: ARG002 - one port
        """Return room for another list if there is none here.

        `pump` asks the consumer.
        """
        return 0 if self._held or self.outlets[0].backlog else ROOM

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002 - one port
        """Keep the items until the next turn."""
        self._held = items

    def end(self, port: int) -> None:
        """Note the end, and tell the consumer in the next turn."""
        self.ended[port] = True

    def cancelled(self, outlet: Outlet) -> None:  # noqa: ARG002 - one outlet
        """Note that the consumer left, and leave the input in the next turn."""
        self._held = []

    def pump(self) -> bool:
        """Pass on what was noted since the last turn."""
        outlet, inlet = self.outlets[0], self.inlets[0]
        if outlet.cancelled:
            moved = not inlet.cancelled
            inlet.cancel()
            return moved
        moved = super().pump()
        if self._held and outlet.capacity() > 0:
            held, self._held = self._held, []
            outlet.push(held)
            moved = True
        if self.ended[0] and not self._held and not outlet.ended:
            outlet.end()
            moved = True
        return moved

    def snapshot(self) -> Any:
        """Return what is held."""
        return self._held

    def restore(self, state: Any) -> None:
        """Restore the state."""
        self._held = state
