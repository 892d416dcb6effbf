"""Passes on what a command writes, whole lines at once, while it runs, as under --line-buffer.

Runs in the workers. A file of the coordinator's is locked around each write, so that lines of several workers don't
mix in a pipe; the kernel lets go of the lock of a worker that dies.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

_READ_BYTES = 1 << 16


class PassedLines:
    """One stream of one command."""

    def __init__(self, target_fd: int, lock: str, tag: bytes) -> None:
        """Open a pipe for the command.

        Args:
            target_fd: where the lines go.
            lock: the name of the file that is locked.
            tag: begins each line.
        """
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.read_fd, False)
        self._target = target_fd
        self._lock = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        self._tag = tag
        self._rest: list[bytes] = []

    def leave(self) -> None:
        """Close the writing end, which the command has a copy of."""
        os.close(self.write_fd)
        self.write_fd = -1

    def pass_on(self) -> bool:
        """Pass on the lines that are here, and return whether there may be more."""
        while True:
            try:
                data = os.read(self.read_fd, _READ_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            cut = data.rfind(b"\n") + 1
            if cut:
                self._write(b"".join((*self._rest, data[:cut])))
                self._rest.clear()
            if cut < len(data):
                self._rest.append(data[cut:])

    def finish(self) -> None:
        """Pass on the rest, as the command has ended.

        What it left in the background is not waited for.
        """
        with suppress(OSError):
            self.pass_on()
            if self._rest:
                self._write(b"".join(self._rest))
        for fd in (self.read_fd, self.write_fd, self._lock):
            if fd >= 0:
                os.close(fd)

    def _write(self, data: bytes) -> None:
        if self._tag:
            *whole, rest = data.split(b"\n")
            data = b"".join(self._tag + line + b"\n" for line in whole) + (self._tag + rest if rest else b"")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            while data:
                data = data[os.write(self._target, data) :]
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
