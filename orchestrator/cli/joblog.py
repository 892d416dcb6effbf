"""The log of chunks, or of commands, in the columns of GNU parallel's --joblog: a line a try, as they end.

A chunk or command that was tried several times has several lines of one Seq, of which the last counts.
"""

# ruff: noqa: PTH123
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, OrchestratorError
from workers.chunks import Block, ByteRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.events import Lost
    from workers.chunks import BlockResult, Chunk, Origin
    from workers.commands import CommandResult

COLUMNS = ("Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the log."""

    seq: int
    """From 1."""
    started_s: float
    """Unix time."""
    run_s: float
    sent_bytes: int
    received_bytes: int
    exitval: int
    """-1: it took too long."""
    signal: int
    """What ended it; 0: nothing did."""
    command: str


class Joblog:
    """The file."""

    def __init__(self, path: str, *, resumes: bool = False) -> None:
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
        if not resumes or not os.fstat(self._file.fileno()).st_size:
            self._line(COLUMNS)

    def write(self, entry: Entry) -> None:
        """Append a line."""
        times = (f"{entry.started_s:.3f}", f"{entry.run_s:.3f}")
        sizes = (entry.sent_bytes, entry.received_bytes)
        self._line((entry.seq, ":", *times, *sizes, entry.exitval, entry.signal, entry.command))

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
        line = "\t".join(map(as_field, values)) + "\n"
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


def as_field(value: object) -> str:
    """Return a value as it stands in a line: without what would end a field or the line."""
    return str(value).replace("\t", " ").replace("\n", " ")


def of_chunk(target: str, result: BlockResult) -> Entry:
    """Return the line of a chunk that ran; its exit value is 1 if records of it failed."""
    received = 0 if result.payload is None else memoryview(result.payload).nbytes
    place = f"{result.origin.path}:{result.start}+{result.read_bytes}" if result.read_bytes else result.origin.path
    return Entry(
        seq=result.origin.seq + 1,
        started_s=result.started_s,
        run_s=result.run_s,
        sent_bytes=result.read_bytes,
        received_bytes=received,
        exitval=int(bool(result.failed)),
        signal=0,
        command=f"{target} {place}",
    )


def of_failed(target: str, origin: Origin, started_s: float) -> Entry:
    """Return the line of the chunk that the run stopped at; how long it ran is not known."""
    return Entry(origin.seq + 1, started_s, 0.0, origin.size_bytes, 0, 1, 0, f"{target} {origin.path}")


def of_killed(target: str, chunk: Chunk, run_s: float, exitval: int, signal: int) -> Entry:
    """Return the line of a chunk whose worker is gone, `run_s` seconds after it was sent."""
    origin = chunk.origin
    place = f"{origin.path}:{chunk.start}+{origin.size_bytes}" if isinstance(chunk, ByteRange | Block) else origin.path
    return Entry(
        seq=origin.seq + 1,
        started_s=time.time() - run_s,
        run_s=run_s,
        sent_bytes=origin.size_bytes,
        received_bytes=0,
        exitval=exitval,
        signal=signal,
        command=f"{target} {place}",
    )


def how_lost(event: Lost) -> tuple[int, int]:
    """Return exit value and signal of what a worker was lost with: -1 if that took too long."""
    code = event.exitcode or 0
    late = event.ended is not None and event.ended.reason != "memory"
    return -1 if late else max(code, 0), max(-code, 0)


def of_command(result: CommandResult, received_bytes: int) -> Entry:
    """Return the line of a command that ended, however it did."""
    return Entry(
        seq=result.seq + 1,
        started_s=result.started_s,
        run_s=result.run_s,
        sent_bytes=0,
        received_bytes=received_bytes,
        exitval=result.exitval,
        signal=result.signal,
        command=result.line,
    )
