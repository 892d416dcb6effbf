"""Wait for a condition, never for a time: `until` here, `Gate` and `Meeting` between processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

DEADLINE_S = 30.0
POLL_S = 0.002


def until(condition: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """Return the condition's first true value; fail at the deadline."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{getattr(condition, '__name__', condition)!r} did not come true in {deadline_s} s")
        time.sleep(POLL_S)
    return value


@dataclass(frozen=True)
class Gate:
    """Closed until somebody opens it; processes and threads may wait. A file, so that a death can't lock it."""

    path: Path

    def open(self) -> None:
        self.path.touch()

    @property
    def is_open(self) -> bool:
        return self.path.exists()

    def wait(self, deadline_s: float = DEADLINE_S) -> None:
        until(self.path.exists, deadline_s)


@dataclass(frozen=True)
class Tally:
    """Counts across processes: a byte a count, appended to a file in one system call."""

    path: Path

    def add(self) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, b"+")
        os.close(fd)

    @property
    def count(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


def is_running(pid: int) -> bool:
    """Whether the process does anything yet; a zombie that nobody has waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_at_rest(pool: Any) -> bool:
    """Whether nothing is on the way in the pool any more."""
    _ = pool.workers  # has the pool look at its lanes
    stats = pool.stats()
    return stats.bytes_in_flight == 0 and stats.chunks_in_flight == 0
