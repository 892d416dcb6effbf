"""The log of chunks, in the columns of GNU parallel's --joblog."""

# ruff: noqa: PTH123
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.chunks import BlockResult, Origin

_COLUMNS = ("Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command")


class Joblog:
    """One line a chunk, written when its result is."""

    def __init__(self, path: str, target: str, *, resumes: bool = False) -> None:
        """Open the log; `resumes`: to go on with what is there.

        Raises:
            ConfigError: it can't be written to.
        """
        try:
            # Unbuffered: what a full disk refuses is told with the line at fault, and not once more when it is closed.
            self._file = open(path, "ab" if resumes else "wb", buffering=0)  # noqa: SIM115 - for as long as the run
        except OSError as error:
            raise ConfigError(f"can't write the job log {path}: {error.strerror}") from None
        self._path = path
        self._target = target
        if not resumes:
            self._line(_COLUMNS)

    def done(self, result: BlockResult) -> None:
        """Note a chunk that ran; its exit value is 1 if records of it failed."""
        received = 0 if result.payload is None else memoryview(result.payload).nbytes
        place = f"{result.origin.path}:{result.start}+{result.read_bytes}" if result.read_bytes else result.origin.path
        self._line(
            (
                result.origin.seq + 1,
                ":",
                f"{result.started_s:.3f}",
                f"{result.run_s:.3f}",
                result.read_bytes,
                received,
                int(bool(result.failed)),
                0,
                f"{self._target} {place}",
            )
        )

    def failed(self, origin: Origin, started_s: float) -> None:
        """Note the chunk that the run stopped at; how long it ran is not known."""
        command = f"{self._target} {origin.path}"
        self._line((origin.seq + 1, ":", f"{started_s:.3f}", "0.000", origin.size_bytes, 0, 1, 0, command))

    def snapshot(self) -> int:
        """Make last what was written; return how many bytes that is.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        with self._failing():
            os.fdatasync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def restore(self, size_bytes: int) -> None:
        """Go on behind so many bytes."""
        self._file.truncate(size_bytes)

    def close(self) -> None:
        """Close the log."""
        self._file.close()

    def _line(self, values: tuple[object, ...]) -> None:
        line = "\t".join(str(value).replace("\t", " ").replace("\n", " ") for value in values) + "\n"
        data = memoryview(line.encode(errors="surrogateescape"))
        with self._failing():
            while data:
                data = data[self._file.write(data) :]

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OrchestratorError(f"can't write the job log {self._path}: {error.strerror}; make room") from None
