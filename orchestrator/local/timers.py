"""What is looked at from time to time, in the coordinator's one wait: no thread, and no cost while there is nothing.

Owner of the state: the coordinator, under its lock; the acts run in the thread that drives it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic


@dataclass(slots=True, eq=False)
class Timer:
    """One thing that is done every so often."""

    every_s: float
    act: Callable[[], None]
    due_s: float
    """On the monotonic clock."""

    def hurry(self) -> None:
        """Have it done in the next turn; takes no lock."""
        self.due_s = 0.0


class Timers:
    """Knows when the next of them is due."""

    def __init__(self) -> None:
        self._timers: list[Timer] = []

    def start(self, every_s: float, act: Callable[[], None]) -> Timer:
        """Have `act` called every `every_s` seconds, for the first time after as many."""
        timer = Timer(every_s, act, monotonic() + every_s)
        self._timers.append(timer)
        return timer

    def cancel(self, timer: Timer) -> None:
        """Have it called no more; again is fine."""
        if timer in self._timers:
            self._timers.remove(timer)

    @property
    def wait_s(self) -> float | None:
        """Seconds until the next is due, None: there is none."""
        if not self._timers:
            return None
        return max(0.0, min(timer.due_s for timer in self._timers) - monotonic())

    def run_due(self) -> None:
        """Call what is due; what was late is not made up for."""
        if not self._timers:
            return
        now = monotonic()
        for timer in [each for each in self._timers if each.due_s <= now]:
            timer.due_s = now + timer.every_s
            timer.act()
