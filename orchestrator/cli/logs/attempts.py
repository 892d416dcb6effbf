"""The record of an attempt at a chunk or a command, which the logs get."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from workers.records.blocks import Block, ByteRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.engine.protocol.events import Lost
    from workers.commands.runner import CommandResult
    from workers.records.blocks import BlockResult, Chunk, RecordError


@dataclass(frozen=True, slots=True)
class Attempt:
    """One finished attempt at a chunk or command."""

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
    """The signal that ended it; 0: none did."""
    command: str
    worker: int = -1
    """-1: not known."""
    number: int = 1
    """Which try it was; 1 where nobody counts."""


class AttemptLog(Protocol):
    """A file that gets an entry for each attempt."""

    def write(self, attempt: Attempt) -> None:
        """Append the attempt.

        Raises:
            OrchestratorError: the disk is full or broken.
        """

    def close(self) -> None:
        """Finish the file, and close it.

        Raises:
            OrchestratorError: the disk is full or broken, or somebody has meddled with the file.
        """

    def abort(self) -> None:
        """Close the file, whatever its state."""


class AttemptLogs:
    """All logs of a run."""

    def __init__(self, logs: Sequence[AttemptLog]) -> None:
        self._logs = logs

    def write(self, attempt: Attempt) -> None:
        """Pass the attempt to each log."""
        for log in self._logs:
            log.write(attempt)

    def close(self) -> None:
        """Close all, then raise the first error."""
        with ExitStack() as closing:
            for log in self._logs:
                closing.callback(log.close)

    def abort(self) -> None:
        """Close each file, whatever its state."""
        for log in self._logs:
            log.abort()


def of_chunk(target: str, result: BlockResult) -> Attempt:
    """Return the attempt at a chunk that ran.

    Its exit value is 1 if records of it failed.
    """
    received = 0 if result.payload is None else memoryview(result.payload).nbytes
    place = f"{result.origin.path}:{result.start}+{result.read_bytes}" if result.read_bytes else result.origin.path
    return Attempt(
        seq=result.origin.seq + 1,
        started_s=result.started_s,
        run_s=result.run_s,
        sent_bytes=result.read_bytes,
        received_bytes=received,
        exitval=int(bool(result.failed)),
        signal=0,
        command=f"{target} {place}",
        worker=result.worker,
    )


def of_failed(target: str, error: RecordError) -> Attempt:
    """Return the attempt at the chunk that the run stopped at."""
    origin = error.origin
    return Attempt(
        seq=origin.seq + 1,
        started_s=time.time() if error.began_s is None else error.began_s,
        run_s=error.run_s,
        sent_bytes=origin.size_bytes,
        received_bytes=0,
        exitval=1,
        signal=0,
        command=f"{target} {origin.path}",
    )


def of_killed(target: str, chunk: Chunk, run_s: float, worker: int, *, exitval: int, signal: int) -> Attempt:
    """Return the attempt at a chunk whose worker is gone, `run_s` seconds after it was sent."""
    origin = chunk.origin
    place = f"{origin.path}:{chunk.start}+{origin.size_bytes}" if isinstance(chunk, ByteRange | Block) else origin.path
    return Attempt(
        seq=origin.seq + 1,
        started_s=time.time() - run_s,
        run_s=run_s,
        sent_bytes=origin.size_bytes,
        received_bytes=0,
        exitval=exitval,
        signal=signal,
        command=f"{target} {place}",
        worker=worker,
    )


def how_lost(event: Lost) -> tuple[int, int]:
    """Return exit value and signal of what a worker was lost with, or -1 for a timeout."""
    code = event.exitcode or 0
    late = event.ended is not None and event.ended.reason in {"timeout", "stopped"}
    return -1 if late else max(code, 0), max(-code, 0)


def of_command(result: CommandResult, sent_bytes: int, received_bytes: int) -> Attempt:
    """Return the attempt at a command that ended."""
    return Attempt(
        seq=result.seq + 1,
        started_s=result.started_s,
        run_s=result.run_s,
        sent_bytes=sent_bytes,
        received_bytes=received_bytes,
        exitval=result.exitval,
        signal=result.signal,
        command=result.line,
        worker=result.worker,
        number=result.attempt,
    )
