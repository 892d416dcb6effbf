"""Results to standard output, past Python's own buffers.

Owner of the state: the coordinator's thread.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.sinks.columns import Columns

if TYPE_CHECKING:
    from workers.chunks import BlockResult


class ReaderGoneError(OrchestratorError):
    """Whoever read our output has left, as `head` does; not a failure."""


class StdoutSink:
    """File descriptor 1, or another one in tests."""

    path = "standard output"

    def __init__(self, fd: int = 1) -> None:
        """Check that the descriptor is open.

        Raises:
            ConfigError: standard output is closed.
        """
        self._fd = fd
        self._columns = Columns(None)
        try:
            os.fstat(fd)
        except OSError:
            raise ConfigError("standard output is closed; name a file with -o") from None

    def write(self, result: BlockResult) -> None:
        """Write one chunk's output.

        Raises:
            ReaderGoneError: nobody reads any more.
            OrchestratorError: it can't be written, as on a full disk.
        """
        if result.payload is None:
            return
        block: memoryview | bytes = memoryview(result.payload)
        if result.csv_fields is not None:
            header, block = self._columns.fitted(memoryview(block), result.csv_fields, result.origin.path)
            self.write_bytes(header)
        self.write_bytes(block)

    def close(self) -> None:
        """Nothing is buffered here."""

    def abort(self) -> None:
        """What was written can't be taken back."""

    def write_bytes(self, data: memoryview | bytes) -> None:
        """Write them as they are.

        Raises:
            ReaderGoneError: nobody reads any more.
            OrchestratorError: it can't be written, as on a full disk.
        """
        view = memoryview(data)
        try:
            while view:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:  # our end was made non-blocking by whoever gave it to us
                    select.select([], [self._fd], [])
        except BrokenPipeError:
            raise ReaderGoneError("the reader of standard output has left") from None
        except OSError as error:
            raise OrchestratorError(f"can't write to standard output: {error.strerror}") from None


def discard_stdout(fd: int = 1) -> None:
    """Point a broken standard output at /dev/null, so that the flush at exit doesn't complain."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, fd)
    os.close(null)
