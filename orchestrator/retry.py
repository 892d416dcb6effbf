"""What to do with an item that failed, or that was lost with its worker. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_MAX_DOUBLINGS = 64
"""More than anyone lives to see; keeps the number a float, however many retries there are."""


class Verdict(Enum):
    """What happens next to a chunk that was lost."""

    RUN_ALONE = "run each of its items again, each alone in a worker, so that the one at fault is known"
    GIVE_UP = "it killed enough workers"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits of one call."""

    retries: int = 0
    delay_s: float = 0.0
    max_deaths: int = 3

    def delay_before(self, attempt: int) -> float | None:
        """Return the seconds to wait before try number `attempt` (2, 3 …), doubling; None: give up."""
        if attempt > self.retries + 1:
            return None
        return self.delay_s * 2.0 ** min(attempt - 2, _MAX_DOUBLINGS)

    def after_death(self, deaths: int, *, alone: bool) -> Verdict:
        """Judge a chunk that has now gone down with `deaths` workers; `alone`: nothing else was in this one."""
        return Verdict.GIVE_UP if alone and deaths >= self.max_deaths else Verdict.RUN_ALONE
