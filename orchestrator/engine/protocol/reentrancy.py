"""Handles calls on the pool that a signal handler makes in the middle of another one.

Holds no state.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from orchestrator.errors import ReentrantCallError

_NAMES = (
    "local.coordinator", "local.loop", "pool.calls.futures", "pool.calls.pool_future", "graph.runner",
    "engine.superstep", "engine.together", "serial.engine",
)  # fmt: skip
_INSIDE = frozenset(f"orchestrator.{name}" for name in _NAMES)
"""Modules that run while a call on a pool is under way, and in none of which a program's own call begins."""


def run_in_thread(action: Callable[[], object]) -> None:
    """Run what waits for a lock of this thread's interrupted frame, after the handler."""
    with contextlib.suppress(RuntimeError):  # the interpreter ends, and its exit functions end the pool
        threading.Thread(target=action, name="orchestrator-deferred", daemon=True).start()


@contextlib.contextmanager
def importing(what: str) -> Iterator[None]:
    """Report an import that the handler interrupted in this thread as what it is."""
    try:
        yield
    except ImportError as error:
        if "partially initialized" not in str(error):
            raise
        raise ReentrantCallError(what) from error


def calls_around(frame: FrameType | None) -> int:
    """Count the calls on a pool that are interrupted below this frame.

    A pool that a function makes for itself is made, used and closed in the middle of such a call, where the serial
    engine runs the function; only more of them than where it was made say that a call on it is interrupted.
    """
    count = 0
    while frame is not None:
        count += frame.f_globals.get("__name__") in _INSIDE
        frame = frame.f_back
    return count
