"""Stops children that a function forks in a worker and that return from it, too.

Owner of the state: the worker's main thread.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

_ADVICE = "Leave the child with os._exit() inside the function, or use subprocess or multiprocessing"


class Present:
    """The arguments of the function, one after the other, and the number of forks from a worker."""

    def __init__(self) -> None:
        self.values: Any = ()
        self.forks = 0
        self.worker_id = -1

    def forked(self) -> None:
        """Stop calling the function in a forked child, if it returns here."""
        self.forks += 1
        if type(self.values) is list:
            self.values.clear()


present = Present()


def describe(worker_id: int, pid: int) -> str:
    """Return the message about such a function.

    `pid` is the worker's.
    """
    return (
        f"a function forked in worker {worker_id} (pid {pid}), and the child returned from it too, which would "
        f"duplicate results; the child was stopped. {_ADVICE}"
    )


def leave(pid: int, *, say: bool = True) -> NoReturn:
    """Exit in a forked child of the worker that has this pid."""
    try:
        if say:
            os.write(2, f"orchestrator: {describe(present.worker_id, pid)}\n".encode())
    finally:
        os._exit(1)
