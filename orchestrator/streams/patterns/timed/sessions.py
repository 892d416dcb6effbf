"""Sessions: items that follow each other without a long pause. The node owns the items of the open sessions.

An item alone is the session [time, time + gap_s). Sessions that overlap are one; so the order in which items come
decides only in which order a session holds them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.streams.patterns.calls import apply, item_error
from orchestrator.streams.patterns.event_time import length_in_seconds
from orchestrator.streams.patterns.timed.by_time import ByTime
from orchestrator.streams.patterns.timed.windows import Window

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from orchestrator.sinks.given import NodeSink


class _Session:
    """An open session."""

    __slots__ = ("end_s", "entries", "key", "start_s")

    def __init__(self, key: Any, start_s: float, end_s: float, entries: list[tuple[int, Any]]) -> None:
        self.key = key
        self.start_s = start_s
        self.end_s = end_s
        self.entries = entries
        """(number of the item, item), as they came; none of one that another has absorbed."""

    def absorb(self, other: _Session) -> None:
        """Become one with another session, which is none from now on."""
        self.start_s = min(self.start_s, other.start_s)
        self.end_s = max(self.end_s, other.end_s)
        in_order = self.entries[-1][0] < other.entries[0][0]
        self.entries += other.entries
        other.entries = []
        if not in_order:
            self.entries.sort(key=lambda entry: entry[0])


class SessionWindow(ByTime):
    """Emits a `Window(start_s, end_s, items)` for each run of items with less than `gap_s` between two of them.

    It ends `gap_s` after its last item.

    Args:
        gap_s: Seconds, or a timedelta, without an item that end a session.
        at: Item to its event time, as of `window_by_time`.
        key: Item to whose session it belongs to (a user, say); None: all items are one's.
        lateness_s: How far behind the latest time seen an item may come; a session is given once the latest time seen,
            less this, has reached its end.
        late: Sink for items that come later than that; they are counted in `late_items`.

    *Emits when* the watermark passes a session's end, and at the end of the input. *Backpressures when* its consumer
    does; the open sessions hold what they have. *Completes when* its input ends.
    *Fails when* `at` or `key` raises, `at` gives no time, or the sink raises.
    """

    __slots__ = ("due", "gap_s", "key", "number", "open")

    def __init__(
        self,
        gap_s: float | timedelta,
        at: Callable[[Any], Any],
        *,
        key: Callable[[Any], Any] | None = None,
        lateness_s: float | timedelta = 0.0,
        late: NodeSink | None = None,
        name: str = "window_by_session",
    ) -> None:
        super().__init__(name, at, lateness_s, late)
        self.gap_s = length_in_seconds(gap_s, "gap_s", name)
        if not (0 < self.gap_s < math.inf and 0 <= self.lateness_s < math.inf):
            given = f"{self.gap_s}, {self.lateness_s}"
            raise ConfigError(f"{name}: gap_s must be more than 0 s, lateness_s at least 0 s; got {given}")
        self.key = key
        self.open: dict[Any, list[_Session]] = {}
        """By key, in order of time; no two overlap."""
        self.due: list[tuple[float, int, _Session]] = []
        """A heap of (when it ends at the earliest, number of an item of its own, session)."""
        self.number = 0  # of the next item

    def receive(self, items: list[Any], port: int) -> None:
        """Put each item into its session, and emit those that the watermark passed."""
        times, error = self.times_of(items, port)
        keys: list[Any] = [None] * len(times)
        if self.key is not None:
            keys, of_key = apply(self, port, self.key, items, "the key function")
            error = of_key if len(keys) < len(times) else error
        given: list[Window] = []
        late: list[Any] = []
        refused_at = self._place(items, times, keys, given, late)
        if refused_at is not None:
            place, cause = refused_at
            error = item_error(self, port, items, place, "its key can't be hashed", cause)
        self.put_aside(late)
        self.outlets[0].push(given)
        if error is not None:
            raise error

    def _place(
        self, items: list[Any], times: list[float], keys: list[Any], given: list[Window], late: list[Any]
    ) -> tuple[int, Exception] | None:
        """Enter the items, and return which one has a key that can't be, and why."""
        for place, (item, time_s, key) in enumerate(zip(items, times, keys, strict=False)):
            if time_s > self.seen_s:
                self.seen_s = time_s
                given += self._close(time_s - self.lateness_s)
            try:
                sessions = self.open.setdefault(key, [])
            except Exception as cause:
                return place, cause
            session = _Session(key, time_s, time_s + self.gap_s, [(self.number, item)])
            self.number += 1
            if not self._enter(sessions, session):
                late.append(item)
                if not sessions:
                    del self.open[key]
        return None

    def _enter(self, sessions: list[_Session], fresh: _Session) -> bool:
        """Join a session of one item with those that it overlaps, and return whether it came in time."""
        place = bisect_right(sessions, fresh.start_s, key=lambda session: session.start_s)
        after = sessions[place] if place < len(sessions) and sessions[place].start_s < fresh.end_s else None
        before = sessions[place - 1] if place and sessions[place - 1].end_s > fresh.start_s else None
        if before is not None:
            before.absorb(fresh)
            if after is not None:
                before.absorb(after)
                del sessions[place]
        elif after is not None:
            after.absorb(fresh)
        elif fresh.end_s <= self.seen_s - self.lateness_s:
            return False
        else:
            sessions.insert(place, fresh)
            heappush(self.due, (fresh.end_s, fresh.entries[0][0], fresh))
        return True

    def _close(self, watermark_s: float) -> list[Window]:
        """Take the sessions that end by a time, in the order of their ends.

        Equal ones come by their first items.
        """
        over: list[_Session] = []
        while self.due and self.due[0][0] <= watermark_s:
            _, number, session = heappop(self.due)
            if session.end_s > watermark_s:
                heappush(self.due, (session.end_s, number, session))
            elif session.entries:
                over.append(session)
                sessions = self.open[session.key]
                sessions.remove(session)
                if not sessions:
                    del self.open[session.key]
        over.sort(key=lambda session: (session.end_s, session.entries[0][0]))
        return [Window(each.start_s, each.end_s, [item for _, item in each.entries]) for each in over]

    def finish(self) -> None:
        """Emit the sessions that are open."""
        self.outlets[0].push(self._close(math.inf))

    def snapshot(self) -> dict[str, Any]:
        """Return the state between two lists, picklable."""
        opened = [
            (key, [(each.start_s, each.end_s, list(each.entries)) for each in sessions])
            for key, sessions in self.open.items()
        ]
        return {**super().snapshot(), "open": opened, "number": self.number}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        super().restore(state)
        self.open = {
            key: [_Session(key, start_s, end_s, list(entries)) for start_s, end_s, entries in sessions]
            for key, sessions in state["open"]
        }
        self.due = [(each.end_s, each.entries[0][0], each) for some in self.open.values() for each in some]
        heapify(self.due)
        self.number = state["number"]
