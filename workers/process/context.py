"""The context of user code in a worker: worker, attempt, and the other workers.

Owner of the state: the worker's loop, which sets `_current` once, before the first chunk.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.sync.barrier import Barrier
    from workers.sync.collectives import Reduction, Step


@dataclass(slots=True)
class WorkerContext:
    """The worker that the calling code runs in."""

    id: int
    """0, 1, 2 …; a replacement takes over the id of the worker that it replaces."""
    pool_size: int
    """How many workers the pool had when this one was started."""
    attempt: int = 1
    """Which try at the present items this is, from 1; above it, they have run before, or may have (a worker died)."""
    seed: int | None = None
    """In a pool with a seed: a number for the present item, the same wherever and whenever that runs."""
    step: Step | None = field(default=None, repr=False)
    """The superstep that runs here now; for programs, its parts below."""

    @property
    def barrier(self) -> Barrier:
        """The barrier of all workers of this `run_on_all`.

        Its `wait` raises `BrokenBarrierError` if one of them dies.

        Raises:
            RuntimeError: the caller was not started by `run_on_all`.
        """
        return self._in_step("barrier").barrier

    def all_gather(self, value: object) -> list[Any]:
        """Exchange `value` with all workers of this `run_on_all`.

        Return all values by worker id.

        All of them have to call it. Arrays of 64 KiB and more are read-only views of shared memory, which may be kept.

        Raises:
            BrokenBarrierError: another worker died, failed or left the step.
            RuntimeError: the caller was not started by `run_on_all`, or another worker is at another point of it.
        """
        return self._in_step("all_gather").all_gather(value)

    def all_reduce(self, value: object, op: Reduction = "sum") -> Any:
        """Reduce all workers' values to one, in the order of worker ids, and return it in every worker.

        Args:
            value: this worker's; arrays are folded element by element.
            op: "sum", "min", "max", or a function of two values, which runs in every worker.

        Raises:
            BrokenBarrierError: another worker died, failed or left the step.
            RuntimeError: as for `all_gather`.
            ValueError: there is no such `op`.
        """
        return self._in_step("all_reduce").all_reduce(value, op)

    def _in_step(self, name: str) -> Step:
        if self.step is None:
            msg = f"workers.current().{name} works only in a function that Pool.run_on_all runs in all workers at once"
            raise RuntimeError(msg)
        return self.step


_current: WorkerContext | None = None


class _Here(threading.local):
    context: WorkerContext | None = None


_here = _Here()
"""The context of a thread that is a worker, where several are in one process."""


def current() -> WorkerContext:
    """Return the context of the worker that runs the caller.

    Raises:
        RuntimeError: the caller does not run in a worker process.
    """
    found = _here.context or _current
    if found is None:
        msg = "workers.current() was called outside a worker; it works in functions that a Pool runs"
        raise RuntimeError(msg)
    return found


def begin(attempt: int) -> None:
    """Set the number of the attempt at a chunk, for the worker's loop."""
    found = _here.context or _current
    if found is not None:
        found.attempt = attempt


def seeded(number: int) -> None:
    """Set the present item's number from the pool's seed."""
    if _current is not None:
        _current.seed = number


@contextmanager
def entered(context: WorkerContext) -> Iterator[None]:
    """Make `current()` return `context` within it, for functions that run in the program's own process."""
    before = _current
    enter(context)  # one function runs at a time
    try:
        yield
    finally:
        _restore(before)


@contextmanager
def entered_by_thread(context: WorkerContext) -> Iterator[None]:
    """Make `current()` return `context` within it, in this thread."""
    _here.context = context
    try:
        yield
    finally:
        _here.context = None


def _restore(context: WorkerContext | None) -> None:
    global _current  # noqa: PLW0603 - as `enter`
    _current = context


def enter(context: WorkerContext) -> None:
    """Make `current()` return `context` in this process.

    The worker's entry calls this once.
    """
    global _current  # noqa: PLW0603 - one worker a process, so one context a process
    _current = context
