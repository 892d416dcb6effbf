"""The named steps of a fused chain, which a stage takes as its function.

    Steps((Step("parse", "map", json.loads), Step("good", "filter", is_good), Step("words", "flat_map", words)))

Such a `Steps` is passed wherever a function goes (`Stage(..., function=steps)`, `pool.map(steps, items)`), and runs as
one function in the worker (`workers.functions.fused`): an item crosses the process boundary once, however many steps it
takes. Chains are put together by adding their tuples: `Steps(one.steps + other.steps)`; `Step.workflow` names the
workflow that a step came from, and its errors say so. What comes back for a chunk is flat, longer or shorter than its
items.

All are frozen, made in the coordinator and read in the workers, but for `StepCounts`: owner is whoever counts in it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

MOST_HELD = 65_536
"""As many results of one slice of items are held in memory; those of an item beyond it go to disk."""

StepKind = Literal["map", "filter", "flat_map", "branch", "chain", "fold"]


Row = tuple[Any, ...]


class Reducer(Protocol):
    """Makes one value of the rows of many values."""

    @property
    def columns(self) -> Sequence[Callable[[Any], Any] | None]:
        """Functions of a value, which give its row.

        None: the value itself.
        """

    @property
    def numbers(self) -> Sequence[int]:
        """Which columns must hold numbers."""

    @property
    def reaches(self) -> Sequence[Any]:
        """All that the value is computed with: functions, classes and values.

        A run that is resumed is compared by these.
        """

    def together(self, rows: Sequence[Row]) -> tuple[Any, dict[int, BaseException]]:
        """Return the one value, and what was raised by which rows.

        Where some raised, the value is not whole.
        """


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a chain."""

    name: str
    """Told in errors and statistics; steps inside a branch carry their path: "kind/label/step"."""
    kind: StepKind
    """"map": each item to one; "filter": keep it if true; "flat_map": to an iterable of items; "branch": by label into
    one of `branches`; "chain": through the one chain in `branches`, for the sake of `when`; "fold": all to one, at the
    end of a chain."""
    function: Callable[..., Any] | Reducer | None
    """Called with one item; for "branch" it gives the label; None for "chain"; what makes one of all for "fold"."""
    when: Callable[..., Any] | None = None
    """An item for which this is false passes unchanged."""
    branches: tuple[tuple[Hashable, tuple[Step, ...]], ...] = ()
    """(label, chain); an empty chain passes its items on."""
    default: tuple[Step, ...] | None = None
    """The chain for labels that have no branch; None: such an item fails with `UnknownLabelError`."""
    workflow: str | None = None
    drop_none: bool = False
    """Whether None among what the step gives is dropped, as by a filter behind it."""


@dataclass(frozen=True, slots=True)
class Steps:
    """A chain of steps, which a stage takes as its function."""

    steps: tuple[Step, ...]
    most_held: int = field(default_factory=lambda: MOST_HELD)
    """As `MOST_HELD` says; it travels with the steps."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every step's name, those inside a branch behind it.

        One that stood before gets a number: "parse-2".
        """
        times: dict[str, int] = {}
        found = []
        for step in _walk(self.steps):
            times[step.name] = times.get(step.name, 0) + 1
            found.append(step.name if times[step.name] == 1 else f"{step.name}-{times[step.name]}")
        return tuple(found)

    def dropping_none(self) -> Steps:
        """Return the chain with the Nones that come out of it dropped."""
        return Steps((*self.steps[:-1], replace(self.steps[-1], drop_none=True)))


@dataclass(slots=True)
class StepCounts:
    """The counts of one step.

    Items that are retried count again.
    """

    items_in: int = 0
    items_out: int = 0
    failed: int = 0
    """Of those that went in; a branch's include its steps'."""
    skipped: int = 0
    """Of those that went in: passed unchanged, since the step's condition was false."""
    seconds: float = 0.0
    """In the workers, summed; a branch's include its steps'."""

    def add(self, items_in: int, items_out: int, failed: int, skipped: int, seconds: float) -> None:
        """Count what was done elsewhere, given in the order of the fields."""
        self.items_in += items_in
        self.items_out += items_out
        self.failed += failed
        self.skipped += skipped
        self.seconds += seconds

    def take_over(self, other: StepCounts) -> None:
        """Continue from the counts that the same step had before."""
        self.add(other.items_in, other.items_out, other.failed, other.skipped, other.seconds)


class UnknownLabelError(LookupError):
    """A branch has no chain for the label that its function gave."""


def _walk(steps: tuple[Step, ...]) -> Iterator[Step]:
    for step in steps:
        yield step
        for _, inner in step.branches:
            yield from _walk(inner)
        if step.default:
            yield from _walk(step.default)
