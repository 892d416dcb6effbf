"""Outputs that are written to in place, as a stream: own descriptors, FIFOs, devices.

What was written can't be taken back, so they are no outputs of runs that can be resumed.

Owner of the state: the coordinator's thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import time

from orchestrator.errors import ConfigError, OrchestratorError

_READER_POLL_S = 0.05
"""The kernel tells nobody that a FIFO has got a reader."""
_WRITE_WAIT_S = 1.0
"""A signal that comes just before a wait doesn't end it; its handler runs when this is over."""


class ReaderGoneError(OrchestratorError):
    """The reader of our output has left, as `head` does.

    That is not a failure.
    """


class InPlaceFile:
    """One output that is written to in place.

    `open` or the first write opens it.
    """

    in_place = True

    def __init__(self, path: str, descriptor: int | None = None) -> None:
        """Take a name, or a descriptor of this process, which stays open when the output is closed.

        Raises:
            ConfigError: it can't be written to.
        """
        self.path = path
        self._own = descriptor
        self._own_status = None if descriptor is None else _writable(path, descriptor)
        self._fd = -1
        if descriptor is None and not os.access(path, os.W_OK):
            raise ConfigError(f"can't write to {path}: {os.strerror(errno.EACCES)}")

    def open(self) -> None:
        """Open the output, and wait for a reader of a FIFO.

        Raises:
            OrchestratorError: it can't be opened.
        """
        if self._fd >= 0:
            return
        try:
            if self._own is None:
                self._fd = _opened(self.path)
            elif self._own_status is not None and not os.path.samestat(os.fstat(self._own), self._own_status):
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # closed since, and opened as something else
            else:
                self._fd = os.dup(self._own)
        except OSError as error:
            raise OrchestratorError(f"can't write to {self.path}: {error.strerror}") from None

    def write(self, data: memoryview | bytes) -> None:
        """Append data.

        Raises:
            ReaderGoneError: nobody reads any more.
            OrchestratorError: it can't be written, as on a full disk.
        """
        self.open()
        view = memoryview(data)
        try:
            while view:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:
                    _wait_writable(self._fd)
        except BrokenPipeError:
            raise ReaderGoneError(f"the reader of {self.path} has left") from None
        except OSError as error:
            to = "" if self._own is None else "to "
            raise OrchestratorError(f"can't write {to}{self.path}: {error.strerror}") from None

    def close(self) -> None:
        """Close the output.

        One that was never written to is opened first, so that its reader sees the end.
        """
        self.open()
        self.abort()

    def sync_ahead(self) -> None:
        """Do nothing, as the reader has what was written at once."""

    def discard(self) -> None:
        """Do as `abort`."""
        self.abort()

    def abort(self) -> None:
        """Close the output.

        What was written can't be taken back.
        """
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def is_final(self) -> bool:
        """Whether the output is final: always, as it is written in place."""
        return False

    def keep_as(self, secret: str) -> None:  # noqa: ARG002 - as of every output
        """Refuse: what is written in place can't be resumed.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{self.path} is not a regular file, so a run that writes to it can't be resumed")

    def snapshot(self) -> None:
        """Never called, as `keep_as` refuses."""

    def restore(self, state: None) -> None:
        """Never called, as `keep_as` refuses."""


def _writable(path: str, descriptor: int) -> os.stat_result:
    try:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        status = os.fstat(descriptor)
    except OSError:
        raise ConfigError(f"can't write to {path}: descriptor {descriptor} is closed") from None
    if flags & os.O_ACCMODE == os.O_RDONLY:
        raise ConfigError(f"can't write to {path}: descriptor {descriptor} is closed or open only for reading")
    return status


def _opened(path: str) -> int:
    """Open a file without blocking.

    A plain open of a FIFO would wait in the kernel for a reader, whatever signals come.
    """
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):  # noqa: PTH116 - as it was given
                raise
        time.sleep(_READER_POLL_S)


def _wait_writable(fd: int) -> None:
    poll = select.poll()  # select() knows no descriptors above 1,023
    poll.register(fd, select.POLLOUT)
    poll.poll(_WRITE_WAIT_S * 1000)
