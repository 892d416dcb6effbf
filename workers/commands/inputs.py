"""Gives a command its standard input: a range of a file, moved into a pipe by the kernel while the command runs.

Runs in the workers.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

_PIPE_BYTES = 1 << 20
_SMALL_PIPE_BYTES = 1 << 16
_STEP_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Input:
    """A range of bytes of a file."""

    path: str
    start: int
    end: int
    before: bytes = b""
    """What the command reads before it."""
    is_whole: bool = False
    """Whether it is the whole file."""
    is_pipe: bool = False
    """Whether it is a pipe, which the command reads itself."""

    @property
    def size_bytes(self) -> int:
        """How much the command reads."""
        return len(self.before) + self.end - self.start


class Feeder:
    """A pipe that ranges are moved into."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.write_fd, False)
        self.is_broken = False
        """Whether nobody reads any more."""
        self._file = -1
        self._before = b""
        self._at = self._end = 0

    def give(self, given: Input) -> bool:
        """Begin to move a range, and return whether there is more than the pipe has room for now."""
        if given.size_bytes > _SMALL_PIPE_BYTES:
            with suppress(OSError):  # a limit for users: then the pipe is as it is
                fcntl.fcntl(self.write_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._file = os.open(given.path, os.O_RDONLY | os.O_CLOEXEC)
        self._before, self._at, self._end = given.before, given.start, given.end
        return self.feed()

    def feed(self) -> bool:
        """Move on what the pipe has room for, and return whether there is more."""
        try:
            while self._before:
                self._before = self._before[os.write(self.write_fd, self._before) :]
            while self._at < self._end:
                step = min(self._end - self._at, _STEP_BYTES)
                moved = os.splice(self._file, self.write_fd, step, offset_src=self._at)
                if not moved:  # the file was cut short
                    break
                self._at += moved
        except BlockingIOError:
            return True
        except BrokenPipeError:  # the command has closed its input
            self.is_broken = True
        os.close(self._file)
        self._file = -1
        return False

    def feed_or_end(self) -> bool:
        """Feed, and end the input where there is no more."""
        if self.feed():
            return True
        self.end()
        return False

    def end(self) -> None:
        """Let the reader see the end."""
        self.write_fd = _closed(self.write_fd)

    def leave(self) -> None:
        """Close the reading end, which the command has a copy of."""
        self.read_fd = _closed(self.read_fd)

    def close(self) -> None:
        """Close everything."""
        self.leave()
        self.end()
        self._file = _closed(self._file)


def _closed(fd: int) -> int:
    if fd >= 0:
        os.close(fd)
    return -1


def as_file(given: Input, folder: str | None = None) -> IO[bytes]:
    """Return a file without a name that holds the range, as under --cat."""
    file = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115 - the caller closes it
    file.write(given.before)
    source = os.open(given.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        at = given.start
        while at < given.end and (moved := os.sendfile(file.fileno(), source, at, given.end - at)):
            at += moved
    finally:
        os.close(source)
    return file
