"""Tells an orderly exit of this process from one by an exception, for what it shares with others.

A process that is killed is noticed by the kernel's locks. One that ends in order leaves first (`leave_in_order`); one
that an uncaught exception ends does not, and so counts as dead. Owner of the state: the process that ends.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from multiprocessing import process, util
from typing import Any

_failed: list[BaseException] = []
"""What this process's `run` raised: since Python 3.13 it is no longer in flight when the exit functions run."""
_leaving: list[Callable[[bool], None]] = []


def at_departure(leave: Callable[[bool], None]) -> None:
    """Call `leave(in_order)` when this process, or a forked child, ends otherwise than by a signal."""
    _leaving.append(leave)


def _depart() -> None:
    flying = sys.exc_info()[1] or getattr(sys, "last_value", None)
    in_order = not _failed and (flying is None or (isinstance(flying, SystemExit) and not flying.code))
    for leave in _leaving:
        leave(in_order)


def _watch_run(watched: Any) -> None:
    """Note what the `run` of a process object, or of the class in a spawned child, raises."""
    run = watched.run

    def noting(*self: Any) -> None:
        try:
            run(*self)
        except BaseException as error:
            if not isinstance(error, SystemExit) or error.code:
                _failed.append(error)
            raise

    watched.run = noting


def watch_end() -> None:
    """Watch for this process's end, anew in a child that `multiprocessing` forked."""
    util.Finalize(None, _depart, exitpriority=0)


watch_end()
util.register_after_fork(_watch_run, lambda _: _watch_run(process.current_process()))
if getattr(process.current_process(), "_inheriting", False):  # a spawned child, which has no process object yet
    _watch_run(process.BaseProcess)
