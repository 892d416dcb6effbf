"""Identifies the file that a path meant when a run began, and checks that it is unchanged.

    coordinator   opens the file once, keeps the descriptor, notes its `Identity`
    worker        opens the path; if another file has the name now, opens the coordinator's descriptor instead
                  reads, then checks that nothing it read has changed

A file may grow: only what was there at the start is read. Of a file whose time of change is another, a checksum tells
whether it was rewritten: of all bytes, or of both ends of a large one. If a large file's time changes and its size does
not, it counts as rewritten: nobody knows what became of its middle.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, NamedTuple
from zlib import crc32

_EDGE_BYTES = 4096
_SMALL_BYTES = 2**20
"""Files up to this size are compared whole."""
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO that took the name must not block whoever opens it


class FileChangedError(OSError):
    """A file is not what it was when the run began.

    Not an error of the disk.
    """

    def __init__(self, _code: int, what: str, path: str) -> None:
        super().__init__(errno.ESTALE, what, path)

    def __str__(self) -> str:
        return f"{self.filename} {self.strerror}"


class Identity(NamedTuple):
    """A file as it was when the run began.

    A tuple, as one travels with every block.
    """

    device: int
    inode: int
    size_bytes: int
    changed_ns: int
    edges: int = 0
    """Checksum of its first and last bytes; of all, if it is small."""
    pid: int = 0
    """The process that keeps it open."""
    fd: int = -1
    """That process's descriptor; -1: nobody keeps it open."""

    def is_file(self, status: os.stat_result) -> bool:
        """Tell whether this is the status of the same file, whatever it holds by now."""
        return stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) == (self.device, self.inode)

    def open(self, path: str) -> int:
        """Return a new descriptor of the file that `path` meant.

        Raises:
            FileChangedError: the path means another file now, or none.
        """
        what = "was replaced by another file while it was read"
        for name in (path, f"/proc/{self.pid}/fd/{self.fd}"):
            try:
                fd = os.open(name, _FLAGS)
            except FileNotFoundError:
                if name is path:
                    what = "was removed or renamed while it was read"
                continue
            if self.is_file(os.fstat(fd)):
                return fd
            os.close(fd)
        raise changed(path, what)

    def check(self, path: str, fd: Any) -> None:
        """Check that the file is unchanged, after reading.

        Raises:
            FileChangedError: the file was truncated or rewritten.
        """
        status, size = os.fstat(fd), self.size_bytes
        if status.st_size < size:
            raise changed(path, f"was truncated from {size:,} to {status.st_size:,} bytes while it was read")
        if status.st_size == size and status.st_mtime_ns == self.changed_ns:
            return
        if status.st_size == size > _SMALL_BYTES:
            raise changed(path, "was rewritten, or its time was changed, while it was read")
        if edges_of(fd, size) != self.edges:
            raise changed(path, "was rewritten while it was read")


def identity_of(status: os.stat_result) -> Identity:
    """Return the identity of a regular file."""
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def edges_of(fd: int, size_bytes: int) -> int:
    """Return a checksum of the first and last bytes of a file, or of all if it is small."""
    if size_bytes <= _SMALL_BYTES:
        return crc32(os.pread(fd, size_bytes, 0))
    head = os.pread(fd, _EDGE_BYTES, 0)
    return crc32(os.pread(fd, _EDGE_BYTES, size_bytes - _EDGE_BYTES), crc32(head))


def changed(path: str, what: str) -> FileChangedError:
    """Return the error that says what happened to a file."""
    return FileChangedError(errno.ESTALE, what, path)
