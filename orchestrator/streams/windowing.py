"""The methods of a stream that collect neighbouring items."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from orchestrator.streams.described import Described, refuse_uncallable, sink_behind
from orchestrator.streams.patterns import inline
from orchestrator.streams.patterns.timed import sessions, windows

if TYPE_CHECKING:
    from datetime import timedelta

    from orchestrator.graph.flow.node import Node


class Windowing(Described):
    """Items to windows of them."""

    __slots__ = ()

    def batch(self, n: int) -> Self:
        """Collect items into lists of `n`.

        The last may be shorter.
        """
        windows.CountWindow(n, n, name="batch")
        return self._node("batch", None, lambda name: windows.CountWindow(n, n, name=name))

    def unbatch(self) -> Self:
        """Replace each list, or other iterable, by its items."""
        return self._node("unbatch", None, lambda name: inline.FlatMapInline(_itself, name=name))

    def window(self, size: int, step: int = 1, partial: bool = True) -> Self:
        """Collect items into lists of `size`, starting at items 0, step, 2·step ….

        With `partial`, lists that are cut short too.
        """
        windows.CountWindow(size, step, partial=partial)
        return self._node("window", None, lambda name: windows.CountWindow(size, step, partial=partial, name=name))

    def window_by_time(
        self,
        length_s: float | timedelta,
        at: Callable[[Any], Any],
        step_s: float | timedelta | None = None,
        lateness_s: float | timedelta = 0.0,
        late: Any = None,
    ) -> Self:
        """Collect items into a `Window(start_s, end_s, items)` by event time.

        Empty windows are left out.

        Args:
            length_s: seconds a window, or a timedelta, as `step_s` and `lateness_s` may be too.
            at: item to its time: seconds (a number or Decimal), a timedelta, or a datetime, which is counted in seconds
                from 1970-01-01 UTC, or from that day by its own clock if it has no zone.
            step_s: seconds from start to start; by default the length.
            lateness_s: how far behind the latest time seen an item may come.
            late: a sink (whatever `to` takes) for items that come later than that: whose windows were given all. The
                report counts them. `window_by_time_and_late` gives them as a stream.
        """
        refuse_uncallable("window_by_time", "length_s, at", at)
        windows.TimeWindow(length_s, at, step_s=step_s, lateness_s=lateness_s)  # refuses what can't be

        def make(name: str) -> Node:
            aside = None if late is None else sink_behind(self._port, late)
            return windows.TimeWindow(length_s, at, step_s=step_s, lateness_s=lateness_s, late=aside, name=name)

        return self._node("window_by_time", None, make)

    def window_by_time_and_late(
        self,
        length_s: float | timedelta,
        at: Callable[[Any], Any],
        step_s: float | timedelta | None = None,
        lateness_s: float | timedelta = 0.0,
    ) -> tuple[Self, Self]:
        """Return what `window_by_time` returns, and a second stream of the items that came too late."""

        def make(name: str) -> Node:
            return windows.TimeWindow(
                length_s, at, step_s=step_s, lateness_s=lateness_s, late_outlet=True, name=name
            )

        refuse_uncallable("window_by_time_and_late", "length_s, at", at)
        make("window_by_time")  # refuses what can't be
        given, late = self._split("window_by_time", ("", "late"), make)
        return given, late

    def window_by_session(
        self,
        gap_s: float | timedelta,
        at: Callable[[Any], Any],
        *,
        key: Callable[[Any], Any] | None = None,
        lateness_s: float | timedelta = 0.0,
        late: Any = None,
    ) -> Self:
        """Collect items that follow each other by less than `gap_s` into a `Window(start_s, end_s, items)`.

        A window ends `gap_s` after its last item. Windows come in the order of their ends.

        Args:
            gap_s: seconds without an item that end a session, or a timedelta, as `lateness_s` may be too.
            at: item to its time, as for `window_by_time`.
            key: item to whose session it belongs to, such as a user; by default all items are one's.
            lateness_s: how far behind the latest time seen an item may come.
            late: a sink (whatever `to` takes) for items that come later than that, to no session that is open. The
                report counts them.
        """
        refuse_uncallable("window_by_session", "gap_s, at", at, *(() if key is None else (key,)))
        sessions.SessionWindow(gap_s, at, lateness_s=lateness_s)  # refuses what can't be

        def make(name: str) -> Node:
            aside = None if late is None else sink_behind(self._port, late)
            return sessions.SessionWindow(gap_s, at, key=key, lateness_s=lateness_s, late=aside, name=name)

        return self._node("window_by_session", None, make)


def _itself(items: Any) -> Any:
    return items
