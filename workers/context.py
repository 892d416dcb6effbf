"""What user code can ask inside a worker: which worker it runs in, and which attempt this is.

Owner of the state: the worker's loop, which sets `_current` once, before the first chunk.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class WorkerContext:
    """The worker that the calling code runs in."""

    id: int
    """0, 1, 2 …; a replacement takes over the id of the worker that it replaces."""
    pool_size: int
    """How many workers the pool had when this one was started."""
    attempt: int = 1
    """Which try at the present chunk this is, from 1."""


_current: WorkerContext | None = None


def current() -> WorkerContext:
    """Return the context of the worker that runs the caller.

    Raises:
        RuntimeError: the caller does not run in a worker process.
    """
    if _current is None:
        msg = "workers.current() was called outside a worker; it works in functions that a Pool runs"
        raise RuntimeError(msg)
    return _current


def enter(context: WorkerContext) -> None:
    """Make `context` what `current()` gives in this process; the worker's entry calls it once."""
    global _current  # noqa: PLW0603 - one worker a process, so one context a process
    _current = context
