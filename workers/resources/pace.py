"""The pace of something that may happen so many times a second, with so many at once.

The generic cell rate algorithm (ITU-T I.371): one number says when the next turn would be due if turns came evenly; a
turn may be taken up to `burst` - 1 intervals before that. No time is kept but what callers give, in seconds of whatever
clock they use.
"""

from __future__ import annotations

import math
import sys

_ROUNDING = 1e-6
"""A turn that is due but for the rounding of times is due: else its taker would wait for nothing once more."""

_LONGEST_S = 1e9
"""Turns that are further apart than 31 years are that far apart."""


def is_rate(value: object) -> bool:
    """Whether it is a number of turns a second: finite, and greater than 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= sys.float_info.max


class Pace:
    """Hands out turns.

    Owner of the state: whoever calls it, under that one's lock.
    """

    __slots__ = ("_ahead_s", "due_s", "interval_s")

    def __init__(self, per_second: float, burst: int) -> None:
        """Start with a full burst."""
        self.interval_s = min(1.0 / per_second, _LONGEST_S)
        self._ahead_s = self.interval_s * (burst - 1)
        self.due_s = -math.inf
        """When the next turn would be due if turns came evenly."""

    def take(self, most: int, now_s: float) -> int:
        """Take as many turns as there are now, at most so many, and return how many."""
        due_s = max(self.due_s, now_s)
        there = math.floor((now_s + self._ahead_s - due_s) / self.interval_s + _ROUNDING) + 1
        taken = max(0, min(most, there))
        if taken:
            self.due_s = due_s + taken * self.interval_s
        return taken

    def wait_s(self, now_s: float) -> float:
        """Return how many seconds from now the next turn may be taken."""
        return max(0.0, self.due_s - self._ahead_s - now_s)
