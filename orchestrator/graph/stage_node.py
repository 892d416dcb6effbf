"""The node that runs neighbouring steps as one function in the workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.engine.recovery.item_errors import Failure
from orchestrator.graph.flow.node import ROOM, Node
from orchestrator.graph.flow.passing import Passing
from orchestrator.graph.handing_on import HandingOn, without

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.protocol.counts import StageCounts
    from orchestrator.engine.recovery.delivery import Delivery
    from orchestrator.engine.stage import Stage
    from orchestrator.sinks.given import NodeSink

LARGE_BYTES = 1 << 16
"""Chunks above this, items and results together, are passed on one by one."""


class MapNode(Node):
    """Feeds a stage of the pool, and passes on what comes back.

    A `Failure` that an earlier stage put in an item's place passes this stage by, and keeps its place.

    Emits when: the results of the chunk whose turn it is are here (or of any chunk, if not ordered).
    Backpressures when: no lane has a credit, or what is out fills the pool's window or byte budget.
    Completes when: its input has ended and every chunk is back.
    Fails when: an item fails under `on_error="raise"`, or the pool can't continue.
    """

    __slots__ = (
        "_at", "_given", "_handing_on", "_is_open", "_next_index", "_open", "_passing", "_pending", "_refused",
        "_resumed", "_unsettled", "items_done", "stage",
    )  # fmt: skip
    is_stage = True

    def __init__(self, name: str, open_stage: Callable[[], Stage], *, inputs: int = 1) -> None:
        super().__init__(name, inputs=inputs)
        self._open = open_stage
        self._is_open = False
        self.stage: Stage
        """There once the node is open."""
        self._pending: list[Any] = []
        self._at = 0  # items before this one are cut
        self._next_index = 0  # of the next item to be cut, among all that came
        self._refused = False
        """Whether room was asked for in vain since the last turn, so that items wait before this node."""
        self._passing = Passing()
        self._resumed: deque[tuple[int, Sequence[Any]]] = deque()  # cut in an earlier run, by their first index
        self._unsettled: dict[int, Sequence[Any]] = {}  # chunks that are not passed on yet, by their first index
        self._handing_on: HandingOn | None = None
        self._given: dict[int, int] = {}  # by an item's index, how many results an earlier run has passed on
        self.items_done = 0
        """Items whose fate is settled and passed on."""

    def set_up(self, graph: object) -> None:  # noqa: ARG002 - calls of several graphs run side by side
        """Open the call on the pool."""
        self.stage = self._open()
        self._is_open = True
        self.stage.tell_split(self._split)

    def capacity(self, port: int) -> int:  # noqa: ARG002 - one port
        """Return how many items the next chunks take, if a lane would take one now."""
        if len(self._passing) >= ROOM:
            return 0
        if not self.stage.wants_room(source_ended=False):
            self._refused = True
            return 0
        return max(0, self.stage.wanted_items - (len(self._pending) - self._at))

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002 - one port
        """Send the items, if they make a whole chunk.

        What does not is sent in the next turn.
        """
        if Failure in map(type, items):
            arrived = self._next_index + len(self._pending) - self._at + self._passing.ahead
            items = self._passing.pick(items, arrived)
        if self._at == len(self._pending):
            self._pending, self._at = items, 0
        else:
            self._pending += items
        if len(self._pending) - self._at >= self.stage.chunk_items:
            self._send()

    def feed(self) -> None:
        """Handle what came back, and send what is here while lanes have credit, without waiting."""
        if self.outlets[0].cancelled:
            return
        if self.stage.events:
            self.stage.settle()  # first, as it knows how large the next chunk should be
        self._send()

    def _send(self) -> None:
        stage = self.stage
        while (size := stage.room()) > 0:
            first_index, items = self._cut(size)
            if not items:
                break
            self._unsettled[first_index] = items
            stage.submit(items, first_index)
        stage.send()

    def _cut(self, size: int) -> tuple[int, Sequence[Any]]:
        """Return the next items, at most `size`, and the index of the first."""
        if self._resumed:
            return self._cut_again(size)
        self._next_index, room = self._passing.up_to_the_next(self._next_index)
        start, size = self._at, size if room is None else min(size, room)
        items = self._pending[start : start + size] if start or size < len(self._pending) else self._pending
        self._at = start + len(items)
        first = self._next_index
        self._next_index += len(items)
        return first, items

    def _cut_again(self, size: int) -> tuple[int, Sequence[Any]]:
        first, items = self._resumed.popleft()
        if len(items) > size:
            self._resumed.appendleft((first + size, items[size:]))
            items = items[:size]
        return first, items

    def end(self, port: int) -> None:
        """Note the end of the input.

        The outlet ends when every chunk is back.
        """
        self.ended[port] = True

    @property
    def has_news(self) -> bool:
        """Whether `pump` could do something now."""
        if self.outlets[0].cancelled:
            return False
        if self.stage.events:
            return True
        return self.stage.wants_room(source_ended=not (self._has_items or self._refused))

    @property
    def is_waiting(self) -> bool:
        """Whether the pool will bring something, or take something, without a turn of ours before."""
        return not self.outlets[0].cancelled and self.stage.is_waiting(
            source_ended=not (self._has_items or self._refused)
        )

    @property
    def wait_s(self) -> float | None:
        """Seconds until an item is to be retried."""
        return self.stage.timeout_s

    def rest(self) -> bool:
        """Send nothing more.

        What is at work, or to be retried, is waited for.
        """
        self.stage.drop_ahead()
        return not self.stage.in_lanes and self.stage.timeout_s is None

    def pump(self) -> bool:
        """Send, take in what came back, pass it on while the consumer has room."""
        outlet, stage = self.outlets[0], self.stage
        self._refused = False
        if outlet.cancelled:
            return False
        moved = bool(outlet.backlog) and outlet.flush()
        if stage.events or not stage.is_ready:  # else no lane has got room since the last time
            self.feed()
        while outlet.capacity() > 0:
            if self._handing_on is not None:
                self._hand_on(self._handing_on)
                moved = True
                continue
            if self._passing and (passed := self._passing.due(any_order=not stage.ordered)):
                outlet.push(passed)
                moved = True
                continue
            delivery = stage.take()
            if delivery is None:
                break
            moved = True
            self._take_in(delivery)
            if delivery.size_bytes > LARGE_BYTES:  # its consumer first, before memory is taken for the next
                break
        if self._all_cut and not stage.outstanding and not self._is_holding and not outlet.ended:
            outlet.end()
            moved = True
        return moved

    @property
    def _is_holding(self) -> bool:
        """Whether something here waits only for the consumer."""
        return bool(self._passing) or self._handing_on is not None

    def _take_in(self, delivery: Delivery) -> None:
        """Pass on the results of a chunk, or begin to, if they are partly on disk."""
        skip = self._given.pop(delivery.first_index, 0) if self._given else 0
        if delivery.pieces is not None:
            self._handing_on = HandingOn(delivery, skip)
            return
        self._settled(delivery)
        self.outlets[0].push(without(delivery.results, skip) if skip else delivery.results)
        if delivery.error is not None:
            raise delivery.error

    def _split(self, first: int, kept: int) -> None:
        items = self._unsettled[first]
        self._unsettled[first], self._unsettled[first + kept] = items[:kept], items[kept:]

    def _settled(self, delivery: Delivery) -> None:
        self.items_done += delivery.items
        self._passing.settled_to = delivery.first_index + delivery.items
        del self._unsettled[delivery.first_index]

    def _hand_on(self, handing_on: HandingOn) -> None:
        """Pass on the next results of a delivery that is partly on disk."""
        results = handing_on.next()
        if results is not None:
            self.outlets[0].push(results)
            return
        self._handing_on = None
        delivery = handing_on.delivery
        self._settled(delivery)
        if delivery.error is not None:
            raise delivery.error

    @property
    def _all_cut(self) -> bool:
        return self.ended[0] and not self._has_items

    @property
    def _has_items(self) -> bool:
        return self._at < len(self._pending) or bool(self._resumed)

    def close(self) -> None:
        """End the call, without waiting for chunks that run."""
        self._handing_on = None
        if self._is_open:
            self.stage.close()

    def end_running(self, grace_s: float) -> None:
        """End the workers that still run something of it so many seconds after it was closed."""
        if self._is_open:
            self.stage.end_running(grace_s)

    @property
    def counts(self) -> StageCounts:
        """What the workers have done for it."""
        return self.stage.counts

    def own_sinks(self) -> list[NodeSink]:
        """Return the sink of dead letters."""
        return [] if self.stage.dead_letters is None else [self.stage.dead_letters]

    def snapshot(self) -> Any:
        """Return the unsettled items, which have to run again after a crash."""
        runs_again = {**self._unsettled, **dict(self._resumed)}
        given = dict(self._given)
        if (partly := self._handing_on) is not None:  # the item that is partly passed on runs again by itself
            first = partly.delivery.first_index
            items = runs_again.pop(first)[partly.index - first :]
            runs_again[partly.index] = items[:1]
            given[partly.index] = partly.given
            if len(items) > 1:
                runs_again[partly.index + 1] = items[1:]
        unsettled = sorted((first, list(items)) for first, items in runs_again.items())
        own = {"unsettled": unsettled, "pending": self._pending[self._at :], "next_index": self._next_index}
        return {**own, "given": sorted(given.items()), "passing": self._passing.snapshot(), "counts": self.stage.counts}

    def restore(self, state: Any) -> None:
        """Run those items first, under the indexes that they had."""
        self._resumed.extend(state["unsettled"])
        self._pending, self._at = list(state["pending"]), 0
        self._given = dict(state.get("given", ()))
        self._next_index = state["next_index"]
        self._passing.restore(state["passing"], self._next_index)
        self.stage.counts.take_over(state["counts"])
