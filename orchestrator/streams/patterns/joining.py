"""The join of two inputs by key. The node owns the waiting items of both sides, in memory or spilled to disk.

An entry is [place in the order of arrival, item, event time, has it matched]; a key's entries stand oldest first.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.graph.flow.node import ROOM, Node
from orchestrator.graph.flow.ownership import copied, is_safe
from orchestrator.option_values import one_of, whole
from orchestrator.streams.patterns.calls import item_error
from orchestrator.streams.patterns.event_time import in_seconds, length_in_seconds
from orchestrator.streams.patterns.spill import Spill
from orchestrator.streams.patterns.splitting import close_all
from workers.errors.describe import describe

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from orchestrator.sinks.given import NodeSink

SIDES = ("left", "right")
OUTER = {"inner": (False, False), "left": (True, False), "right": (False, True), "full": (True, True)}


class JoinOverflowError(OrchestratorError):
    """More items wait for their partner than `max_items` allows."""


def merged(left: Any, right: Any) -> Any:
    """Return the merged dict of two mappings (right wins), else the pair."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return {**left, **right}
    return (left, right)


class Join(Node):
    """Joins input 0 (left) with input 1 (right) by key.

    One to one (the oldest waiting partner is taken, and the pair leaves the state) or, with `many`, every left with
    every right of its key, as in SQL. A key of None matches nothing.

    The set of matches doesn't depend on how the inputs interleave, with these exceptions: with `within_s` each input
    has to come in order of event time for that, and one to one within a time takes the oldest that fits; evicted items
    match nothing later. A match comes when its second item comes, partners oldest first. What can't match any more, as
    the other input has ended, leaves at once: what is unmatched comes then, in order of arrival, and an item that comes
    later does not wait. So a lookup join, many lefts with a few rights (`many=True`), holds the rights only.

    Args:
        key: Left item to its key, hashable.
        right_key: The same for right items; by default `key`.
        how: "inner", "left", "right" or "full": of which sides unmatched items come, with None for their partner.
        many: Whether an item stays after it has matched.
        combine: Called with (left, right), None for a missing side; by default the merged dict of two mappings (right
            wins), else the pair.
        within_s: Only pairs at most so many seconds (or a timedelta) apart in event time.
        at: Item to its event time, of both sides: seconds, a datetime or a timedelta; see `times.in_seconds`.
        max_items: How many items may wait in memory, both sides together.
        overflow: What happens beyond: "error", "evict" the oldest to `unmatched`, or "spill" the oldest to disk.
        unmatched: Sink for ("left" or "right", item) of items without a partner that don't come as results.

    *Emits when* an item meets its partner, or the other input has ended. *Backpressures when* its consumer does.
    *Completes when* both inputs have ended. *Fails when* a function raises, a key is unhashable, or by "error".
    """

    takes_turns = True
    __slots__ = (
        "at", "combine", "evicted", "held", "in_turns", "keys", "many", "max_items", "order", "outer", "over",
        "overflow", "quota", "seen_s", "seq", "side", "spill", "state", "unmatched", "within_s",
    )  # fmt: skip

    def __init__(
        self,
        key: Callable[[Any], Any],
        right_key: Callable[[Any], Any] | None = None,
        *,
        how: str = "inner",
        many: bool = False,
        combine: Callable[[Any, Any], Any] | None = None,
        within_s: float | timedelta | None = None,
        at: Callable[[Any], Any] | None = None,
        max_items: int | None = None,
        overflow: str = "error",
        unmatched: NodeSink | None = None,
        name: str = "join",
    ) -> None:
        one_of(f"{name}: how", how, tuple(OUTER))
        one_of(f"{name}: overflow", overflow, ("error", "evict", "spill"))
        within_s = None if within_s is None else length_in_seconds(within_s, "within_s", name)
        if (within_s is None) != (at is None) or (within_s is not None and not within_s >= 0):
            msg = f"{name}: give both within_s (at least 0 s) and at=, or neither; got within_s={within_s}, at={at}"
            raise ConfigError(msg)
        whole(f"{name}: max_items", max_items, 1, none=True)
        super().__init__(name, inputs=2)
        self.in_turns = 0
        """Take so many items of each input in turn (0: as they come), so that the order of results is always the same.
        Set by `take_turns` where nothing that feeds one input feeds the other too, and none waits for the outside
        world: there one input can wait for the other without waiting for itself."""
        self.side = 0
        self.quota = 0  # items that are still this side's before it is the other's turn: the right's, first
        self.held: list[list[Any]] = [[], []]
        self.keys = (key, right_key or key)
        self.outer = OUTER[how]
        self.many = many
        self.combine = combine or merged
        self.within_s, self.at = within_s, at
        self.max_items, self.overflow = max_items, overflow
        self.unmatched = [unmatched] if unmatched is not None else []
        self.evicted = 0
        self.state: tuple[dict[Any, list[list[Any]]], ...] = ({}, {})
        # Who is oldest in memory, by side: seq -> key; kept only where that matters.
        self.order: tuple[OrderedDict[int, Any], ...] = (OrderedDict(), OrderedDict())
        self.seen_s = [-math.inf, -math.inf]
        self.over = [False, False]
        """Whether an input has ended, and was matched to its end."""
        self.seq = 0
        self.spill: Spill | None = None

    def take_turns(self, items: int) -> None:
        """Take so many items of each input in turn."""
        self.in_turns = items

    def capacity(self, port: int) -> int:
        """Return what every outlet takes, or in turns how far this input may run ahead of the other."""
        room = super().capacity(port)
        return min(room, ROOM - len(self.held[port])) if self.in_turns else room

    def receive(self, items: list[Any], port: int) -> None:
        """Match items, at once or when it is this input's turn."""
        if self.in_turns:
            self.held[port] += items
            self._take_turns()
        else:
            self._match(items, port)

    def _take_turns(self) -> bool:
        """Match what there is, some items of one input and then of the other.

        An input that is due is waited for.
        """
        moved = False
        while self.outlets[0].capacity() > 0:
            side, held = self.side, self.held[self.side]
            if held and self.quota:
                items = held[: self.quota]
                del held[: len(items)]
                self.quota -= len(items)
                self._match(items, side)
            elif self.quota and not self.ended[side]:
                break
            elif all(self.over):
                return self._end_in_turns() or moved
            else:  # the end counts only when it is due: when it becomes known is chance
                if self.quota and not self.over[side]:
                    self._over(side)
                self.side, self.quota = 1 - side, self.in_turns
            moved = True
        return moved

    def _end_in_turns(self) -> bool:
        if self.outlets[0].ended:
            return False
        self.outlets[0].end()
        return True

    def pump(self) -> bool:
        """Pass on what waits, and take the turns that there is room for."""
        moved = super().pump()
        return (bool(self.in_turns) and self._take_turns()) or moved

    def end(self, port: int) -> None:
        """Emit the rest, once both inputs have ended."""
        if self.in_turns:
            self.ended[port] = True
            self._take_turns()
        else:
            self._over(port)
            super().end(port)

    def _over(self, side: int) -> None:
        """Release what waits on the other side, as nothing more comes on this one."""
        self.over[side] = True
        other, results = 1 - side, list[Any]()
        spilled = self.spill.of_side(other) if self.spill is not None else ()
        waiting = [entry for entries in self.state[other].values() for entry in entries]
        for entry in chain((entry for _, entry in spilled), sorted(waiting, key=_seq)):
            if not entry[3]:
                self._alone(entry[1], other, results)
        self.state[other].clear()
        self.order[other].clear()
        if self.spill is not None:
            self.spill.clear(other)
        self.outlets[0].push(results)

    def _match(self, items: list[Any], port: int) -> None:
        """Match items, and keep those that have no partner yet, or may have more."""
        results: list[Any] = []
        simple = self.at is None and self.max_items is None and not self.many
        place = -1
        try:
            for place, item in enumerate(items):  # noqa: B007 - told in the error
                (self._pair if simple else self._meet)(item, port, results)
        except OrchestratorError:
            self.outlets[0].push(results)
            raise
        except Exception as cause:
            self.outlets[0].push(results)
            behind = len(self.held[port])
            raise item_error(self, port, items, place, "its key, time or match failed", cause, behind) from cause
        self.outlets[0].push(results)

    def _pair(self, item: Any, side: int, results: list[Any]) -> None:
        """Match one to one, without time and bound, on the quick path."""
        key = self.keys[side](item)
        if key is None:
            self._alone(item, side, results)
            return
        others = self.state[1 - side]
        waiting = others.get(key)
        if waiting is None and self.over[1 - side]:
            self._alone(item, side, results)
            return
        if waiting is None:
            self.seq += 1
            mine = self.state[side].get(key)
            if mine is None:
                self.state[side][key] = [[self.seq, item, None, False]]
            else:
                mine.append([self.seq, item, None, False])
            return
        partner = waiting.pop(0)[1]
        if not waiting:
            del others[key]
        results.append(self._combined(partner, item) if side else self._combined(item, partner))

    def _meet(self, item: Any, side: int, results: list[Any]) -> None:
        """Match by every rule that was asked for."""
        key = self.keys[side](item)
        time_s = in_seconds(self.at(item)) if self.at is not None else None
        if time_s is not None:
            self._advance(time_s, side, results)
        if key is None:
            self._alone(item, side, results)
            return
        hash(key)
        self.seq += 1
        entry = [self.seq, item, time_s, False]
        for spilled, partner in self._partners(key, time_s, 1 - side):
            results.append(self._combined(partner[1], item) if side else self._combined(item, partner[1]))
            entry[3] = True
            if not self.many:
                self._leave(spilled, partner, key, 1 - side)
                return
            if not partner[3]:
                partner[3] = True
                if spilled and self.spill is not None:
                    self.spill.put_back(1 - side, key, partner)
        if not self.over[1 - side]:
            self._keep(entry, key, side)
        elif not entry[3]:
            self._alone(item, side, results)

    def _combined(self, left: Any, right: Any) -> Any:
        result = self.combine(left, right)
        return result if not self.copies or self.combine is merged or is_safe(result) else copied(result)

    def _keep(self, entry: list[Any], key: Any, side: int) -> None:
        """Keep an item for partners that may still come."""
        self.state[side].setdefault(key, []).append(entry)
        if self.max_items is not None or self.within_s is not None:
            self.order[side][entry[0]] = key
        if self.max_items is not None and len(self.order[0]) + len(self.order[1]) > self.max_items:
            self._overflow(entry[1])

    def _partners(self, key: Any, time_s: float | None, side: int) -> list[tuple[bool, list[Any]]]:
        """Return the waiting entries that fit, oldest first, each with whether it is on disk."""
        found = [(True, entry) for entry in self.spill.of_key(side, key)] if self.spill is not None else []
        found += [(False, entry) for entry in self.state[side].get(key, ())]
        within_s = self.within_s
        if within_s is None or time_s is None:
            return found
        return [(spilled, entry) for spilled, entry in found if abs(entry[2] - time_s) <= within_s]

    def _leave(self, spilled: bool, entry: list[Any], key: Any, side: int) -> None:
        if spilled and self.spill is not None:
            self.spill.remove(side, entry)
            return
        waiting = self.state[side][key]
        waiting.remove(entry) if waiting[0] is not entry else waiting.pop(0)
        if not waiting:
            del self.state[side][key]
        self.order[side].pop(entry[0], None)

    def _alone(self, item: Any, side: int, results: list[Any], *, report_only: bool = False) -> None:
        """Emit an item without a partner in an outer join, else write it to the sink."""
        if self.outer[side] and not report_only:
            results.append(self._combined(None, item) if side else self._combined(item, None))
        elif self.unmatched:
            self.unmatched[0].write([(SIDES[side], item)])

    def _advance(self, time_s: float, side: int, results: list[Any]) -> None:
        """Release the entries of the other side that this time leaves behind.

        They stand in order of arrival.
        """
        self.seen_s[side] = max(self.seen_s[side], time_s)
        within_s = self.within_s or 0.0
        other = 1 - side
        waiting = self.order[other]
        while waiting:
            key = next(iter(waiting.values()))
            entry = self.state[other][key][0]
            if entry[2] + within_s >= self.seen_s[side]:
                break
            self._leave(False, entry, key, other)
            if not entry[3]:
                self._alone(entry[1], other, results)

    def _overflow(self, item: Any) -> None:
        if self.overflow == "error":
            msg = (
                f"{self.name}: more than max_items={self.max_items} items wait for a partner (the last: "
                f"{describe(item)}); "
                'raise max_items, or choose overflow="evict" or "spill"'
            )
            raise JoinOverflowError(msg)
        oldest = [next(iter(order), math.inf) for order in self.order]
        side = 0 if oldest[0] < oldest[1] else 1
        key = next(iter(self.order[side].values()))
        entry = self.state[side][key][0]
        self._leave(False, entry, key, side)
        if self.overflow == "spill":
            self.spill = self.spill or Spill()
            self.spill.add(side, key, entry)
        else:
            self.evicted += 1
            if not entry[3]:
                self._alone(entry[1], side, [], report_only=True)

    def own_sinks(self) -> list[NodeSink]:
        """Return the sink of unmatched items, if there is one."""
        return self.unmatched

    def close(self) -> None:
        """Close the sink and the file, if they are open."""
        for entries in self.state:
            entries.clear()
        for order in self.order:
            order.clear()
        spill, self.spill = self.spill, None
        if spill is not None:
            spill.close()
        close_all(self.unmatched, failed=self.failed)

    def snapshot(self) -> dict[str, Any]:
        """Return the state between two lists, picklable.

        What is on disk is read into it.
        """
        waiting = [
            (side, key, list(entry)) for side in (0, 1) for key, all_of in self.state[side].items() for entry in all_of
        ]
        spilled = [(s, *row) for s in (0, 1) for row in (self.spill.of_side(s) if self.spill is not None else ())]
        turns = (self.side, self.quota, *map(list, self.held))
        seen_s = list(self.seen_s)
        known = {"seq": self.seq, "seen_s": seen_s, "turns": turns, "over": list(self.over)}
        return {"waiting": waiting, "spilled": spilled, **known}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.seq, self.seen_s, self.over = state["seq"], list(state["seen_s"]), list(state["over"])
        self.side, self.quota, left, right = state["turns"]
        self.held = [left, right]
        for side, key, entry in sorted(state["waiting"], key=lambda row: row[2][0]):
            self.state[side].setdefault(key, []).append(list(entry))
            if self.max_items is not None or self.within_s is not None:
                self.order[side][entry[0]] = key
        if state["spilled"]:
            self.spill = Spill()
            for side, key, entry in state["spilled"]:
                self.spill.add(side, key, entry)


def _seq(entry: list[Any]) -> int:
    return int(entry[0])
