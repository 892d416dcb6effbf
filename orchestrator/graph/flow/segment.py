"""A file of pickled lists that is only ever appended to.

    length u64 | list | length u64 | list ...

It has no name, so that nothing is left whatever happens; in a run with checkpoints it has one. Owner: whatever waits in
it, in the engine's thread.
"""

# Paths stay as they were given; pathlib would change them.

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import OrchestratorError
from orchestrator.sinks.disk.new_file import begin, reopen

_HEAD_BYTES = 8


@contextmanager
def on_disk(what: str, where: str | None) -> Iterator[None]:
    """Turn an error of the disk into one that says what to do.

    Args:
        what: is written, "the items waiting at …".
        where: the file or folder; None: the folder of temporary files.

    Raises:
        OrchestratorError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        hint = "free some space" if where else "free some space there, or point TMPDIR to a larger disk"
        folder = where or tempfile.gettempdir()
        raise OrchestratorError(f"can't write {what} to {folder}: {error.strerror or error}; {hint}") from None


class Segment:
    """One file of lists."""

    def __init__(self, path: str | None, size: int = 0, at: int = 0) -> None:
        """Create the file, or continue with an earlier run's: `size` bytes, read up to `at`."""
        self.path = path
        self.size, self.at = size, at
        if path is None:
            self._fd = _unnamed()
        elif not size:
            self._fd = begin(path)
        else:
            self._fd = reopen(path)
            found = os.fstat(self._fd).st_size
            if found < size:
                self.close()
                raise OSError(f"it has {found:,} bytes of {size:,}")
            os.ftruncate(self._fd, size)

    def append(self, data: bytes) -> int:
        """Write a list behind the others, and return its place."""
        place = self.size
        whole = len(data).to_bytes(_HEAD_BYTES, "little") + data
        done = 0
        while done < len(whole):
            done += os.pwrite(self._fd, memoryview(whole)[done:], self.size + done)
        self.size += done
        return place

    def next(self) -> bytes:
        """Read the list behind the one that was read last."""
        data = self.read(self.at)
        self.at += _HEAD_BYTES + len(data)
        return data

    def read(self, place: int) -> bytes:
        """Read the list at a place."""
        length = int.from_bytes(self._read(_HEAD_BYTES, place), "little")
        return self._read(length, place + _HEAD_BYTES)

    def _read(self, length: int, at: int) -> bytes:
        data = b""
        while len(data) < length:
            some = os.pread(self._fd, length - len(data), at + len(data))
            if not some:
                raise OSError(0, "the file was cut short")
            data = data + some if data else some
        return data

    def sync(self) -> None:
        """Make what was written durable."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file, which is gone then if it has no name."""
        os.close(self._fd)


def _unnamed() -> int:
    with tempfile.TemporaryFile(prefix="orchestrator-", buffering=0) as file:
        return os.dup(file.fileno())
