"""The counts of a stage.

Owner: the stage, in its consumer's thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from workers.functions.steps import StepCounts

SHOWN_FAILURES = 5
"""The first so many are told one by one."""


@dataclass(slots=True)
class StageCounts:
    """The counts of a stage so far."""

    items: int = 0
    failures: int = 0
    retries: int = 0
    deaths: int = 0
    chunks: int = 0
    seconds: float = 0.0
    """That chunks ran, in the workers, summed."""
    first_failures: list[str] = field(default_factory=list)
    """The first few failures, in a line each, as people are told about them."""
    steps: dict[str, StepCounts] = field(default_factory=dict)
    """By name, in the order of the steps; empty if the function is one function."""

    def add(self, other: StageCounts) -> None:
        """Add the counts of another stage, without its steps."""
        for name in ("chunks", "deaths", "failures", "items", "retries", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.first_failures = (self.first_failures + other.first_failures)[:SHOWN_FAILURES]

    def take_over(self, other: StageCounts) -> None:
        """Continue from the counts of the same stage in an earlier run, its steps too."""
        self.add(other)
        for name, counts in other.steps.items():
            self.steps[name].take_over(counts)

    def behind(self, before: StageCounts) -> StageCounts:
        """Return the counts of this stage behind a barrier and the one before, with this one's items."""
        both = StageCounts()
        both.add(before)
        both.add(self)
        both.items = self.items
        both.steps = before.steps | self.steps
        return both
