"""A pipe that tells nodes on this machine that their pool has ended, or its program.

Nobody writes to it. A node opens its reading end by the program's pid and the descriptor's number, and sees the end of
it when the writing end is closed, by the pool or with the process. On another machine, where they mean something else,
a node finds no such pipe, and relies on being idle.

Owner of the descriptors: the engine, in the program's process.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from orchestrator.machine import own_descriptors


class Where(NamedTuple):
    """How a node finds the pipe."""

    pid: int
    fd: int
    name: str
    """What the kernel calls it: no other pipe of this machine has the name."""


class Lifeline:
    """The pipe of one pool."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        for fd in (self._reading, self._writing):
            own_descriptors.own(fd)
        path = f"/proc/self/fd/{self._reading}"
        name = os.readlink(path) if os.path.lexists(path) else ""  # noqa: PTH115 - a link of the kernel's
        self.where = Where(os.getpid(), self._reading, f"{_boot()} {name}")

    def close(self) -> None:
        """Tell the nodes.

        A second call does nothing.
        """
        fds, self._reading, self._writing = (self._reading, self._writing), -1, -1
        for fd in fds:
            if fd >= 0:
                own_descriptors.disown(fd)
                os.close(fd)


def opened(where: Where) -> int | None:
    """Return a descriptor of the reading end, in the process of a node.

    None: the program is elsewhere, or gone.
    """
    path = f"/proc/{where.pid}/fd/{where.fd}"
    try:
        if f"{_boot()} {os.readlink(path)}" != where.name:  # noqa: PTH115
            return None
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None


def _boot() -> str:
    """Return what names this run of this machine."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""


os.register_at_fork(after_in_child=own_descriptors.replace_in_child)  # a child must not keep the writing end
