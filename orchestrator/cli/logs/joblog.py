"""The log of chunks or commands in the columns of GNU parallel's --joblog.

It has a line for each attempt, as they end.

A chunk or command that was tried several times has several lines of one Seq, of which the last counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.sinks.disk.append_file import AppendFile

if TYPE_CHECKING:
    from orchestrator.cli.logs.attempts import Attempt

COLUMNS = ("Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command")


class Joblog:
    """The file."""

    def __init__(self, path: str, *, resumes: bool = False, mode: int = 0o666) -> None:
        """Open the log.

        Args:
            path: its name.
            resumes: continue with what is there; half a line at its end is cut off.
            mode: of a log that is made.

        Raises:
            ConfigError: it can't be written to.
        """
        self._file = AppendFile(path, "the job log", goes_on=resumes, mode=mode)
        if resumes and self._file.is_regular:
            self._file.cut_torn_line()
        self.close, self.abort = self._file.close, self._file.abort
        self.snapshot, self.restore = self._file.snapshot, self._file.restore
        if not self._file.size:
            self._line(COLUMNS)

    def write(self, attempt: Attempt) -> None:
        """Append a line.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        times = (f"{attempt.started_s:.3f}", f"{attempt.run_s:.3f}")
        sizes = (attempt.sent_bytes, attempt.received_bytes)
        self._line((attempt.seq, ":", *times, *sizes, attempt.exitval, attempt.signal, attempt.command))

    def _line(self, values: tuple[object, ...]) -> None:
        line = "\t".join(map(as_field, values)) + "\n"
        self._file.write(line.encode(errors="surrogateescape"))


def as_field(value: object) -> str:
    """Return a value as one field of a line."""
    return str(value).replace("\t", " ").replace("\n", " ")
