"""Reads regular files as they were when the run began.

Runs in the coordinator. Owner of the descriptors: the `KeptOpen` of a source.
"""

from __future__ import annotations

import io
from collections import deque
from typing import IO, TYPE_CHECKING, Any

from workers.records.identity import FileChangedError
from workers.records.ranges import close, pread

if TYPE_CHECKING:
    from orchestrator.sources.inputs import Input
    from workers.records.identity import Identity
    from workers.records.ranges import Handle
    from workers.records.remote import RemoteIdentity

KEPT_OPEN = 64
"""Files: more than are likely to be at work in the lanes at once."""


class KeptOpen:
    """Keeps the descriptors of the files that were opened last."""

    def __init__(self) -> None:
        self._descriptors: deque[Handle] = deque()

    def keep(self, fd: Handle) -> None:
        """Keep one more open, and close the oldest if these are too many."""
        self._descriptors.append(fd)
        if len(self._descriptors) > KEPT_OPEN:
            close(self._descriptors.popleft())

    def close(self) -> None:
        """Close all."""
        while self._descriptors:
            close(self._descriptors.pop())

    def __del__(self) -> None:
        self.close()


class UpTo(io.RawIOBase):
    """Reads a file up to its size at the start of the run."""

    def __init__(self, fd: Handle, size_bytes: int) -> None:
        self._fd = fd
        self._size = size_bytes
        self.at = 0
        """What was read so far."""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, into: Any, /) -> int:
        """Read into a buffer, and return how many bytes."""
        data = pread(self._fd, min(len(into), self._size - self.at), self.at)
        into[: len(data)] = data
        self.at += len(data)
        return len(data)


def why_not(entry: Input, file: Identity | RemoteIdentity, fd: Handle, error: BaseException) -> str:
    """Say why a compressed file can't be read: it was changed, or it is damaged."""
    try:
        file.check(entry.path, fd)
    except FileChangedError as changed:
        return str(changed)
    said = " ".join(str(error).split()) or type(error).__name__
    return f"can't read {entry.path} to its end: {said}"


def read_full(stream: IO[bytes], size: int) -> bytes:
    """Read `size` bytes, or fewer at the end."""
    data = stream.read(size)
    while 0 < len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            break
        data += more
    return data
