"""Wakes the coordinator from another thread or a signal handler, by a pipe."""

from __future__ import annotations

import contextlib
import os

_HELPING_BYTES = 4096


class WakeUp:
    """The wake-up pipe.

    It never blocks, and any number of rings before the next look are one.
    """

    def __init__(self) -> None:
        self.fd, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    @property
    def fds(self) -> tuple[int, int]:
        """The descriptors of both ends, which a forked worker closes."""
        return self.fd, self._writer

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._writer < 0

    def ring(self) -> None:
        """Wake the waiter, now or as soon as it waits."""
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._writer, b"!")

    def drain(self) -> None:
        """Read all rings so far."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self.fd, _HELPING_BYTES)) == _HELPING_BYTES:
                pass

    def close(self) -> None:
        """Close both ends."""
        os.close(self.fd)
        os.close(self._writer)
        self.fd = self._writer = -1
