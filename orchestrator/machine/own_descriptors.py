"""Keeps track of descriptors that belong to this process alone.

A forked child replaces them by nothing. Owner: the process.
"""

from __future__ import annotations

import contextlib
import os

_own: set[int] = set()


def own(*fds: int) -> None:
    """Record descriptors that belong to this process alone."""
    _own.update(fds)


def disown(*fds: int) -> None:
    """Forget descriptors that are closed now."""
    _own.difference_update(fds)


def replace_in_child() -> None:
    """Replace these descriptors in a forked child.

    Closing them would free numbers that inherited objects will close some day.
    """
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in _own:
        with contextlib.suppress(OSError):
            os.dup2(nothing, fd, inheritable=False)
    os.close(nothing)
    _own.clear()
