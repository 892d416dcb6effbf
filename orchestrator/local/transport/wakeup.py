"""Ends the coordinator's wait from another thread, or from a signal handler: a pipe that the wait listens to."""

from __future__ import annotations

import contextlib
import os

_HELPING_BYTES = 4096


class WakeUp:
    """The pipe; it never blocks, and any number of rings before the next look are one."""

    def __init__(self) -> None:
        self.fd, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    @property
    def fds(self) -> tuple[int, int]:
        """Both ends: a forked worker closes them."""
        return self.fd, self._writer

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._writer < 0

    def ring(self) -> None:
        """End the wait, now or as soon as it begins."""
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._writer, b"!")

    def drain(self) -> None:
        """Take in all rings so far."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self.fd, _HELPING_BYTES)) == _HELPING_BYTES:
                pass

    def close(self) -> None:
        """Close both ends."""
        os.close(self.fd)
        os.close(self._writer)
        self.fd = self._writer = -1
