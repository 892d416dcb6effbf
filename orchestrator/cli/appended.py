"""A file that grows while a run goes on, and is whole up to its last write at any time."""

# ruff: noqa: PTH123
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Iterator


class AppendedFile:
    """Written without a buffer: what a full disk refuses is told at once, and not once more when the file is closed."""

    def __init__(self, path: str, what: str, *, goes_on: bool = False) -> None:
        """Open it.

        Args:
            path: its name.
            what: what it is, for messages.
            goes_on: keep what is in it.

        Raises:
            ConfigError: it can't be written to.
        """
        self._path = path
        self._what = what
        try:
            self._file = open(path, "ab" if goes_on else "wb", buffering=0)  # noqa: SIM115 - for as long as the run
        except OSError as error:
            raise ConfigError(f"can't write {what} {path}: {error.strerror}") from None

    @property
    def size(self) -> int:
        """How many bytes are in it."""
        return os.fstat(self._file.fileno()).st_size

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        view = memoryview(data)
        with self._failing():
            while view:
                view = view[self._file.write(view) :]

    def snapshot(self) -> int:
        """Make last what was written; return how many bytes that is.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        with self._failing():
            os.fdatasync(self._file.fileno())
        return self.size

    def restore(self, size_bytes: int) -> None:
        """Go on behind so many bytes.

        Raises:
            OrchestratorError: they are not there any more.
        """
        found = self.size
        if found < size_bytes:
            raise OrchestratorError(
                f"can't go on with {self._what} {self._path}: it has {found:,} bytes of {size_bytes:,}"
            )
        self._file.truncate(size_bytes)

    def close(self) -> None:
        """Close it; again is fine."""
        self._file.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OrchestratorError(f"can't write {self._what} {self._path}: {error.strerror}; make room") from None
