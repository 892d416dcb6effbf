"""Decides what to do with an item that failed, or was lost with its worker.

Pure.

An item's tries are counted together, whatever ended them; the class of the latest failure says how many are allowed.
Classes are known by name ("builtins.ConnectionError"), the whole chain of them, since an exception crosses between
processes as data and its class need not be importable here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

_MAX_DOUBLINGS = 64
"""More than the longest wait ever has; keeps the number a float, however many retries there are."""
_LONGEST_S = 600.0
"""Doubling ends here, if the first wait is not longer itself: nobody means to wait for days."""


class Verdict(Enum):
    """The decision about a chunk that was lost."""

    RUN_ALONE = "run each of its items again, each alone in a worker, so that the one at fault is known"
    GIVE_UP = "it killed enough workers"


class RetryPolicy(NamedTuple):
    """Limits of one call."""

    retries: int | Mapping[str, int] = 0
    """How often a failed item is retried; or that by the full name of the exception's class."""
    delay_s: float = 0.0
    max_deaths: int = 3
    seed: int = 0
    """Of the jitter: one seed gives each wait of each item the same length again."""

    @property
    def at_most_once(self) -> bool:
        """Whether a worker's death never makes an item run again that had begun."""
        return self.max_deaths == 1

    def retries_of(self, classes: Sequence[str]) -> int:
        """Return how often an item is retried that failed with an exception of these classes, nearest first."""
        if isinstance(self.retries, int):
            return self.retries
        return next((self.retries[name] for name in classes if name in self.retries), 0)

    def delay_after(self, failures: int, classes: Sequence[str] = (), index: int = 0) -> float | None:
        """Return the seconds to wait before an item is retried that failed so often.

        None: give it up.

        Exponential back-off with equal jitter: half of the doubled delay, and a random part of the other half (Marc
        Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). Full jitter, which that article
        prefers, may wait for nothing at all; whoever asks for a delay means some.
        """
        if failures > self.retries_of(classes):
            return None
        if not self.delay_s:
            return 0.0
        from random import Random  # noqa: PLC0415 - only for calls with a delay

        doubled = self.delay_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS)
        most = min(doubled, max(_LONGEST_S, self.delay_s))
        chance = Random(f"{self.seed} {index} {failures}")  # noqa: S311 - nobody is to be kept from guessing it
        return most / 2 + most / 2 * chance.random()

    def after_death(self, deaths: int, *, single: bool) -> Verdict:
        """Decide about a chunk that has killed `deaths` workers.

        `single`: it is one item.
        """
        return Verdict.GIVE_UP if single and deaths >= self.max_deaths else Verdict.RUN_ALONE
