"""Sliding windows, by count and by event time.

Each node owns the items that its open windows hold.

A window of time starts at k * step_s for a whole number k: starts are computed from k, never added up, so that a
thousand steps of 0.1 s end where they should.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.graph.flow.node import Node
from orchestrator.option_values import whole
from orchestrator.streams.patterns.event_time import length_in_seconds
from orchestrator.streams.patterns.timed.by_time import ByTime

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from orchestrator.graph.flow.node import Outlet
    from orchestrator.sinks.given import NodeSink


@dataclass(frozen=True, slots=True)
class Window:
    """The items of one window: their event time lies in [start_s, end_s), in the order in which they came."""

    start_s: float
    end_s: float
    items: list[Any]


class CountWindow(Node):
    """Emits lists of `size` items that start at items 0, step, 2 * step, and so on.

    Args:
        size: Items a window.
        step: Items from one start to the next; greater than size, some items are in no window.
        partial: Whether windows that the end cuts short come too, or not at all.

    *Emits when* a window is full, and at the end. *Backpressures when* its consumer does: full windows are made when
    there is room for them. *Completes when* its input has ended and the last window is out. *Fails when* never.
    """

    __slots__ = ("held", "partial", "size", "skip", "step")

    def __init__(self, size: int, step: int = 1, *, partial: bool = True, name: str = "window") -> None:
        whole(f"{name}: size", size, 1)
        whole(f"{name}: step", step, 1)
        super().__init__(name)
        self.size = size
        self.step = step
        self.partial = partial
        self.held: list[Any] = []  # from the next window's start on
        self.skip = 0  # items to come before the next window starts

    def capacity(self, port: int) -> int:
        """Return nothing while a full window waits for room."""
        return 0 if len(self.held) >= self.size else super().capacity(port)

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002
        """Hold items, and emit the windows that are full."""
        if self.skip:
            skipped = min(self.skip, len(items))
            self.skip -= skipped
            del items[:skipped]
        self.held += items
        self._drain()

    def _drain(self) -> bool:
        """Emit full windows while there is room.

        Behind the end, the partial ones too.
        """
        outlet = self.outlets[0]
        held, size, step = self.held, self.size, self.step
        ready = (len(held) - size) // step + 1 if len(held) >= size else 0
        if self.ended[0] and self.partial:
            ready = -(-len(held) // step)
        count = min(ready, outlet.capacity()) if ready else 0
        if count > 0:
            outlet.push([held[start : start + size] for start in range(0, count * step, step)])
            self.skip += max(0, count * step - len(held))
            del held[: count * step]
        if self.ended[0] and count == ready:
            held.clear()
            outlet.end()
        return count > 0

    def pump(self) -> bool:
        """Emit what there is room for."""
        moved = super().pump()
        return self._drain() or moved

    def end(self, port: int) -> None:
        """Emit the rest."""
        self.ended[port] = True
        self._drain()

    def cancelled(self, outlet: Outlet) -> None:
        """Stop: the consumer has left."""
        self.held.clear()
        super().cancelled(outlet)

    def snapshot(self) -> dict[str, Any]:
        """Return the state between two lists, picklable."""
        return {"held": list(self.held), "skip": self.skip}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.held, self.skip = list(state["held"]), state["skip"]


class TimeWindow(ByTime):
    """Emits `Window(start_s, end_s, items)` by event time, in order of start.

    Empty windows are left out.

    Args:
        length_s: Seconds a window.
        at: Item to its event time: seconds (a number or Decimal), a datetime or a timedelta; see `times.in_seconds`.
        step_s: Seconds from one start to the next; by default the length. Lengths may be timedeltas, too.
        lateness_s: How far behind the latest time seen an item may come; a window is given once the latest time seen,
            less this, has reached its end.
        late: Sink for items all of whose windows were given already; they are counted in `late_items`.
        late_outlet: Whether those items come out of a second outlet.

    *Emits when* the watermark passes a window's end, and at the end of the input. *Backpressures when* its consumer
    does; the open windows hold what their length and lateness ask for. *Completes when* its input ends.
    *Fails when* `at` raises or gives no time, or the sink raises.
    """

    __slots__ = ("length_s", "open", "step_s")

    def __init__(
        self,
        length_s: float | timedelta,
        at: Callable[[Any], Any],
        *,
        step_s: float | timedelta | None = None,
        lateness_s: float | timedelta = 0.0,
        late: NodeSink | None = None,
        late_outlet: bool = False,
        name: str = "window_by_time",
    ) -> None:
        length_s = length_in_seconds(length_s, "length_s", name)
        step_s = length_s if step_s is None else length_in_seconds(step_s, "step_s", name)
        super().__init__(name, at, lateness_s, late, outputs=1 + late_outlet)
        if not (0 < length_s < math.inf and 0 < step_s < math.inf and 0 <= self.lateness_s < math.inf):
            given = f"{length_s}, {step_s}, {self.lateness_s}"
            msg = f"{name}: length_s and step_s must be more than 0 s, lateness_s at least 0 s; got {given}"
            raise ConfigError(msg)
        self.length_s, self.step_s = length_s, step_s
        self.open: dict[int, list[Any]] = {}  # by k

    def first_and_last(self, time_s: float) -> tuple[int, int]:
        """Return the least and the greatest k whose windows hold this time.

        There are none if the least is greater.
        """
        step_s, length_s = self.step_s, self.length_s
        last = math.floor(time_s / step_s)
        while last * step_s > time_s:
            last -= 1
        while (last + 1) * step_s <= time_s:
            last += 1
        first = math.floor((time_s - length_s) / step_s) + 1
        while first * step_s + length_s <= time_s:
            first += 1
        while (first - 1) * step_s + length_s > time_s:
            first -= 1
        return first, last

    def receive(self, items: list[Any], port: int) -> None:
        """Put each item into its windows, and emit those that the watermark passed."""
        times, error = self.times_of(items, port)
        given: list[Window] = []
        late: list[Any] = []
        self._place(items, times, given, late)
        self.put_aside(late)
        for outlet in self.outlets[1:]:
            outlet.push(late)
        self.outlets[0].push(given)
        if error is not None:
            raise error

    def _place(self, items: list[Any], times: list[float], given: list[Window], late: list[Any]) -> None:
        low = high = math.inf  # times in [low, high) belong to the windows `targets`
        targets: list[list[Any]] = []
        seen_s, lateness_s = self.seen_s, self.lateness_s
        due_s = self._due_s()
        for item, time_s in zip(items, times, strict=False):
            if time_s > seen_s:
                if time_s - lateness_s >= due_s:
                    given += self._close(time_s - lateness_s)
                    low = math.inf
                    due_s = self._due_s()
                seen_s = self.seen_s = time_s
            if not low <= time_s < high:
                first, last = self.first_and_last(time_s)
                keep = self._still_open(first, seen_s - lateness_s)
                if keep > last >= first:
                    late.append(item)
                    continue
                targets = [self.open.setdefault(k, []) for k in range(keep, last + 1)]
                due_s = min(due_s, keep * self.step_s + self.length_s) if targets else due_s
                low = max(last * self.step_s, (first - 1) * self.step_s + self.length_s)
                high = min((last + 1) * self.step_s, first * self.step_s + self.length_s)
            for target in targets:
                target.append(item)

    def _due_s(self) -> float:
        return min(self.open) * self.step_s + self.length_s if self.open else math.inf

    def _still_open(self, first: int, watermark_s: float) -> int:
        """Return the least k from `first` on whose window hasn't been given."""
        if first * self.step_s + self.length_s > watermark_s:
            return first
        return max(first, self.first_and_last(watermark_s)[0])

    def _close(self, watermark_s: float) -> list[Window]:
        step_s, length_s = self.step_s, self.length_s
        over = sorted(k for k in self.open if k * step_s + length_s <= watermark_s)
        return [Window(k * step_s, k * step_s + length_s, self.open.pop(k)) for k in over]

    def finish(self) -> None:
        """Emit the windows that are open."""
        self.outlets[0].push(self._close(math.inf))

    def snapshot(self) -> dict[str, Any]:
        """Return the state between two lists, picklable."""
        return {**super().snapshot(), "open": {k: list(items) for k, items in self.open.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        super().restore(state)
        self.open = {k: list(items) for k, items in state["open"].items()}
