"""What a call on the pool does that a signal handler makes in the middle of another one. Holds no state."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from orchestrator.errors import ReentrantCallError

_NAMES = (
    "local.coordinator", "local.loop", "pool.futures", "pool.pool_future", "graph.runner", "engine.superstep",
    "engine.together",
)  # fmt: skip
_INSIDE = frozenset(f"orchestrator.{name}" for name in _NAMES)
"""Modules that run while a call on a pool is under way, and in none of which a program's own call begins."""


def run_in_thread(action: Callable[[], object]) -> None:
    """Run what waits for a lock that the interrupted frame of this thread holds: it gets it behind the handler."""
    with contextlib.suppress(RuntimeError):  # the interpreter ends, and its exit functions end the pool
        threading.Thread(target=action, name="orchestrator-deferred", daemon=True).start()


@contextlib.contextmanager
def importing(what: str) -> Iterator[None]:
    """Have an import that this very thread is in the middle of, interrupted by the handler, told as what it is."""
    try:
        yield
    except ImportError as error:
        if "partially initialized" not in str(error):
            raise
        raise ReentrantCallError(what) from error


def is_inside_the_pool(frame: FrameType | None) -> bool:
    """Tell whether a frame was called, by way of others, out of the middle of a call on a pool."""
    while frame is not None:
        if frame.f_globals.get("__name__") in _INSIDE:
            return True
        frame = frame.f_back
    return False
