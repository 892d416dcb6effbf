"""Stops the workers at Ctrl-Z, and continues them at `fg`.

A terminal's SIGTSTP reaches only the foreground process group, and each worker leads a session of its own. So this
process stops its workers before it stops itself, and continues them when it is continued. The handler is installed only
where Ctrl-Z can come (a terminal, the main thread) and where the program has none of its own.

Owner of the state: the main thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import weakref
from collections.abc import Iterable
from time import monotonic_ns
from typing import Protocol

STANDARD_FDS = (0, 1, 2)


class Suspended(Protocol):
    """The processes that are stopped together with this one."""

    @property
    def owner_pid(self) -> int:
        """The process that it belongs to."""

    def worker_pids(self) -> Iterable[int]:
        """Return the workers' pids.

        Called in a signal handler, so it must not take a lock.
        """

    def suspended(self, began_ns: int, length_ns: int) -> None:
        """Note that nothing ran from `began_ns` on (monotonic clock), for `length_ns`.

        Takes no lock.
        """


_followed: weakref.WeakSet[Suspended] = weakref.WeakSet()


def follow(pool: Suspended) -> None:
    """Stop and continue the workers of this pool with this process, from now on."""
    _followed.add(pool)
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTSTP) != signal.SIG_DFL:
        return
    if any(os.isatty(fd) for fd in STANDARD_FDS):
        signal.signal(signal.SIGTSTP, suspend)


def unfollow(pool: Suspended) -> None:
    """Forget a closed pool, and remove the handler with the last one."""
    _followed.discard(pool)
    if not _followed and threading.current_thread() is threading.main_thread():
        with contextlib.suppress(ValueError):
            if signal.getsignal(signal.SIGTSTP) is suspend:
                signal.signal(signal.SIGTSTP, signal.SIG_DFL)


def suspend(number: int, _: object) -> None:
    """Stop the workers, then this process, and continue them with it: the handler of SIGTSTP."""
    pools = [pool for pool in _followed if pool.owner_pid == os.getpid()]
    began_ns = monotonic_ns()
    groups = [pid for pool in pools for pid in pool.worker_pids()]
    _signal(groups, signal.SIGSTOP)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)  # here everything stands still until somebody sends SIGCONT
    signal.signal(number, suspend)
    for pool in pools:  # before they run again: nobody may count the pause as theirs
        pool.suspended(began_ns, monotonic_ns() - began_ns)
    _signal(groups, signal.SIGCONT)


def _signal(groups: list[int], number: signal.Signals) -> None:
    for pid in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
