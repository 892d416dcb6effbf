"""Shares a limited number of descriptors among files.

The file used least recently is closed, and reopened when needed.

    10,000 outputs of a demultiplexer  ->  at most a quarter of the process's descriptors open at once

Each thread has a pool of its own, so that no file is closed while another thread writes to it. The soft limit of the
process is raised to the hard one when a quarter of it is not enough.
"""

from __future__ import annotations

import errno
import resource
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

_SHARE = 4
_LEAST = 8
_MOST = 2048
_MOST_DESCRIPTORS = 1 << 20
"""The limit to ask for where the hard limit is infinite."""


class Rests(Protocol):
    """A file that can be closed for a while and reopened."""

    def rest(self) -> None:
        """Close the descriptor.

        The next use opens the file again.
        """


class DescriptorPool:
    """The files that one thread has open, least recently used first."""

    def __init__(self, most: int | None = None) -> None:
        """Take how many files may be open.

        None: as many as the limits of the process allow.
        """
        self._open: OrderedDict[Rests, None] = OrderedDict()
        self._most = most

    def open(self, file: Rests, make: Callable[[], int]) -> int:
        """Return the descriptor that `make` opens, after others have made room for it.

        Raises:
            OSError: it can't be opened.
        """
        if self._most is None and len(self._open) >= _share_of_soft_limit():
            raise_soft_limit()
        allowed = _share_of_soft_limit() if self._most is None else self._most
        while len(self._open) >= allowed:
            self._rest_one()
        while True:
            try:
                descriptor = make()
            except OSError as error:
                if error.errno != errno.EMFILE or not self._open:
                    raise
                self._rest_one()
            else:
                self._open[file] = None
                return descriptor

    def used(self, file: Rests) -> None:
        """Record that a file was used just now."""
        with suppress(KeyError):  # opened by another thread
            self._open.move_to_end(file)

    def forget(self, file: Rests) -> None:
        """Record that a file was closed for good."""
        self._open.pop(file, None)

    def rest_all(self) -> None:
        """Close the descriptors of all files, to free them for other uses."""
        while self._open:
            self._rest_one()

    def _rest_one(self) -> None:
        self._open.popitem(last=False)[0].rest()


_of_thread = threading.local()


def descriptor_pool() -> DescriptorPool:
    """Return the pool of the calling thread."""
    pool: DescriptorPool | None = getattr(_of_thread, "pool", None)
    if pool is None:
        pool = _of_thread.pool = DescriptorPool()
    return pool


def raise_soft_limit() -> None:
    """Let this process open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _share_of_soft_limit() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if soft == resource.RLIM_INFINITY else min(_MOST, max(_LEAST, soft // _SHARE))
