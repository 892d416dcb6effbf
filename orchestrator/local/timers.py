"""Timers in the coordinator's one wait, without a thread.

Owner of the state: the coordinator, under its lock; the acts run in the thread that drives it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic


@dataclass(slots=True, eq=False)
class Timer:
    """One thing that is done periodically."""

    every_s: float
    act: Callable[[], None]
    due_s: float
    """On the monotonic clock."""

    def hurry(self) -> None:
        """Do it in the next turn.

        Takes no lock.
        """
        self.due_s = 0.0


class Timers:
    """Knows when the next of them is due."""

    def __init__(self) -> None:
        self._timers: list[Timer] = []

    def start(self, every_s: float, act: Callable[[], None]) -> Timer:
        """Call `act` every `every_s` seconds, for the first time after as many."""
        timer = Timer(every_s, act, monotonic() + every_s)
        self._timers.append(timer)
        return timer

    def cancel(self, timer: Timer) -> None:
        """Stop calling it.

        Calling this again does nothing.
        """
        if timer in self._timers:
            self._timers.remove(timer)

    @property
    def wait_s(self) -> float | None:
        """Seconds until the next is due, or None."""
        if not self._timers:
            return None
        return max(0.0, min(timer.due_s for timer in self._timers) - monotonic())

    def run_due(self) -> None:
        """Call what is due.

        Missed times are not made up for.
        """
        if not self._timers:
            return
        now = monotonic()
        for timer in [each for each in self._timers if each.due_s <= now]:
            timer.due_s = now + timer.every_s
            timer.act()
