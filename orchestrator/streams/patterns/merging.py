"""Nodes of several inputs and one output.

Each owns the bounded buffers of its inputs.

An input's buffer takes `ROOM` items; `receive` may overshoot it by one list. Where the consumer has no room the items
wait in these buffers, not in the outlet, so that the rule of the pattern decides who goes first when there is room.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.graph.flow.node import ROOM, Node
from orchestrator.option_values import whole
from workers.errors.describe import describe

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


class Merge(Node):
    """Passes items on as they come, fair between the inputs that have some ready.

    Order is kept within an input.

    *Emits when* any input brings items. *Backpressures when* an input's buffer is full, that input only.
    *Completes when* all inputs have ended. *Fails when* an input does.
    """

    __slots__ = ("held", "turn")

    def __init__(self, inputs: int, *, name: str = "merge") -> None:
        super().__init__(name, inputs=inputs)
        self.held: list[list[Any]] = [[] for _ in range(inputs)]
        self.turn = 0  # the input that goes first at the next room

    def capacity(self, port: int) -> int:
        """Return the room in this input's buffer."""
        return max(0, ROOM - len(self.held[port]))

    def receive(self, items: list[Any], port: int) -> None:
        """Pass items on at once if nobody waits and there is room, else hold them."""
        outlet = self.outlets[0]
        if not any(self.held) and outlet.capacity() >= len(items):
            outlet.push(items)
        else:
            self.held[port] += items
            self.drain()

    def pump(self) -> bool:
        """Emit what there is room for."""
        moved = super().pump()
        return self.drain() or moved

    def drain(self) -> bool:
        """Emit held items while there is room, and end behind the last of them."""
        outlet = self.outlets[0]
        moved = False
        while any(self.held) and (room := outlet.capacity()) > 0:
            port, count = self.choose(room)
            held = self.held[port]
            items = held[:count]
            del held[:count]
            outlet.push(items)
            moved = True
        if all(self.ended) and not any(self.held):
            outlet.end()
        return moved

    def choose(self, room: int) -> tuple[int, int]:
        """Return the input that goes first, and how many of its items.

        Inputs take turns, with an equal share of the room each.
        """
        ports = len(self.held)
        port = next(p for p in (*range(self.turn, ports), *range(self.turn)) if self.held[p])
        self.turn = (port + 1) % ports
        ready = sum(1 for held in self.held if held)
        return port, max(1, room // ready)

    def end(self, port: int) -> None:
        """End the outlet once all inputs have ended and nothing is held."""
        self.ended[port] = True
        self.drain()

    def cancelled(self, outlet: Any) -> None:
        """Drop what is held and leave every input, as the consumer has left."""
        self.held = [[] for _ in self.held]
        super().cancelled(outlet)

    def snapshot(self) -> dict[str, Any]:
        """Return the state between two lists, picklable."""
        return {"held": [list(held) for held in self.held], "turn": self.turn}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.held = [list(held) for held in state["held"]]
        self.turn = state["turn"]


class Multiplex(Merge):
    """Merges inputs as they come and emits (tag, item).

    *Emits when* any input brings items. *Backpressures when* an input's buffer is full, that input only.
    *Completes when* all inputs have ended. *Fails when* an input does.
    """

    __slots__ = ("tags",)

    def __init__(self, tags: Sequence[Hashable], *, name: str = "multiplex") -> None:
        super().__init__(len(tags), name=name)
        self.tags = tuple(tags)

    def receive(self, items: list[Any], port: int) -> None:
        """Tag the items, then merge them."""
        super().receive(list(zip(repeat(self.tags[port]), items, strict=False)), port)


class PriorityMerge(Merge):
    """Passes on items of the input of the highest priority that has some ready.

    Order is kept within an input.

    Args:
        priorities: One number an input; the greater goes first, between equals each in turn.
        ageing: After so many items of others while it waits, an input counts one priority more, until it is served;
            None: an input of low priority may wait forever.

    *Emits when* any input brings items. *Backpressures when* an input's buffer is full, that input only.
    *Completes when* all inputs have ended. *Fails when* an input does.
    """

    __slots__ = ("ageing", "priorities", "waited")

    def __init__(
        self, priorities: Sequence[float], *, ageing: int | None = None, name: str = "merge_by_priority"
    ) -> None:
        whole(f"{name}: ageing", ageing, 1, none=True)
        super().__init__(len(priorities), name=name)
        self.priorities = tuple(priorities)
        self.ageing = ageing
        self.waited = [0] * len(priorities)  # items of others that went ahead since this input was served last

    def choose(self, room: int) -> tuple[int, int]:
        """Return the input of the highest priority now.

        With ageing, one item at a time, so that age counts.
        """
        ports = len(self.held)
        ready = [p for p in (*range(self.turn, ports), *range(self.turn)) if self.held[p]]
        if self.ageing is None:
            port = max(ready, key=self.priorities.__getitem__)
            self.turn = (port + 1) % ports
            equals = sum(1 for p in ready if self.priorities[p] == self.priorities[port])
            return port, max(1, room // equals)
        ageing = self.ageing
        port = max(ready, key=lambda p: self.priorities[p] + self.waited[p] // ageing)
        for p in ready:
            self.waited[p] += 1
        self.waited[port] = 0
        self.turn = (port + 1) % ports
        return port, 1

    def snapshot(self) -> dict[str, Any]:
        """Return the state between two lists, picklable."""
        return {**super().snapshot(), "waited": list(self.waited)}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        super().restore(state)
        self.waited = list(state["waited"])


class Concat(Node):
    """Passes on all of the first input, then all of the next one, and so on.

    *Emits when* the input whose turn it is brings items. *Backpressures when* its consumer does; an input whose turn
    has not come is not read. *Completes when* the last input ends. *Fails when* an input does.
    """

    __slots__ = ()

    def capacity(self, port: int) -> int:
        """Return the consumer's room to the input whose turn it is."""
        return self.outlets[0].capacity() if all(self.ended[:port]) else 0

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002 - whose turn it is
        """Pass the items on."""
        self.outlets[0].push(items)


LENGTHS = (True, "shortest", "longest")
"""What becomes of inputs of different lengths: an error, an end at the shortest, or a value in place of what lacks."""


class InStep(Merge):
    """Emits tuples of the k-th items of all inputs.

    Args:
        missing: Stands in place of an input that has left.
        strict: "longest": an input that ends earlier leaves without stopping the rest; "shortest": it ends all;
            True: it must not, or the run fails.

    *Emits when* every input that is still there has its next item. *Backpressures when* an input's buffer is full: the
    slowest decides. *Completes when* all inputs have ended, or the shortest if that decides.
    *Fails when* an input does, or ends before the others if that is not allowed.
    """

    __slots__ = ("missing", "strict")

    def __init__(
        self, inputs: int, *, missing: Any = None, strict: bool | str = "longest", name: str = "in_step"
    ) -> None:
        if strict not in LENGTHS:
            raise ConfigError(f"{name}: strict must be True, 'shortest' or 'longest', not {describe(strict)}")
        super().__init__(inputs, name=name)
        self.missing = missing
        self.strict = strict

    @property
    def leaves_early(self) -> bool:  # type: ignore[override]  # of some it is so
        """Whether the shortest input ends all."""
        return self.strict == "shortest"

    def receive(self, items: list[Any], port: int) -> None:
        """Hold items until the others are as far."""
        self.held[port] += items
        self.drain()

    def drain(self) -> bool:
        """Emit the rounds that are complete while there is room."""
        outlet = self.outlets[0]
        moved = False
        while True:
            there = [held for held, ended in zip(self.held, self.ended, strict=True) if held or not ended]
            if len(there) < len(self.held) and self._is_cut_short(there):
                return moved
            count = min((len(held) for held in there), default=0)
            count = min(count, outlet.capacity()) if count else 0
            if count <= 0:
                break
            places = [held[:count] if held else repeat(self.missing, count) for held in self.held]
            for held in there:
                del held[:count]
            outlet.push(list(zip(*places, strict=False)))
            moved = True
        if not there:
            outlet.end()
        return moved

    def _is_cut_short(self, there: list[list[Any]]) -> bool:
        """Handle the end of an input, and return whether it is the end of all.

        Raises:
            OrchestratorError: others have more items, which they must not.
        """
        if self.strict == "shortest":
            self.held = [[] for _ in self.held]
            self.outlets[0].end()
            for inlet in self.inlets:  # again in a run that is resumed behind the end
                inlet.cancel()
            return True
        if self.strict is True and any(there):
            ended = next(port for port, held in enumerate(self.held) if self.ended[port] and not held)
            longer = next(port for port, held in enumerate(self.held) if held)
            raise OrchestratorError(
                f"{self.name}: input {ended} ended after {self.inlets[ended].items:,} items, and input {longer} has "
                "more; make them equally long, or choose strict='shortest' or 'longest'"
            )
        return False
