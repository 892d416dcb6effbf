"""A timeline of a run, in the Trace Event Format that Perfetto (ui.perfetto.dev) and chrome://tracing open.

A track a worker; on it a slice for each try at a chunk or a command, and marks where one was retried, took too long
or died with its worker. Written as it happens: what a run that was killed has left opens too.
"""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

from orchestrator.sinks.disk.append_file import AppendFile

if TYPE_CHECKING:
    from orchestrator.cli.logs.attempts import Attempt

_NAME_CHARS = 200


class Trace:
    """The file."""

    def __init__(self, path: str, name: str, mode: int = 0o666) -> None:
        """Open the file.

        `name` is what the whole is called, `mode` that of a file that is made.

        Raises:
            ConfigError: it can't be written to.
        """
        self._file = AppendFile(path, "the trace", goes_on=False, mode=mode)
        self._begun_s = time.time()
        self._tracks: set[int] = set()
        self._closed = False
        self._file.write(b"[\n")
        self._event("process_name", "M", args={"name": name})

    def write(self, attempt: Attempt) -> None:
        """Draw one attempt.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        track = attempt.worker + 1
        if track not in self._tracks:
            self._tracks.add(track)
            name = f"worker {attempt.worker}" if track else "unknown worker"
            self._event("thread_name", "M", tid=track, args={"name": name})
        at: dict[str, Any] = {"tid": track, "ts": self._microseconds(attempt.started_s)}
        details = {
            "seq": attempt.seq,
            "attempt": attempt.number,
            "sent_bytes": attempt.sent_bytes,
            "received_bytes": attempt.received_bytes,
            "exitval": attempt.exitval,
            "signal": attempt.signal,
        }
        self._event(attempt.command[:_NAME_CHARS], "X", dur=round(attempt.run_s * 1e6), args=details, **at)
        if attempt.number > 1:
            self._event(f"retry, attempt {attempt.number}", "i", s="t", **at)
        if (ending := _how_it_ended(attempt)) is not None:
            self._event(ending, "i", s="t", tid=track, ts=self._microseconds(attempt.started_s + attempt.run_s))

    def close(self) -> None:
        """Make the file valid JSON.

        Calling it again does nothing.
        """
        if not self._closed:
            self._closed = True
            self._event("end", "i", last=True, s="g", ts=self._microseconds(time.time()))
            self._file.close()

    def abort(self) -> None:
        """Close the file as it is, which viewers open too.

        Calling it again does nothing.
        """
        self._closed = True
        self._file.abort()

    def _microseconds(self, at_s: float) -> int:
        return max(0, round((at_s - self._begun_s) * 1e6))

    def _event(self, name: str, phase: str, *, last: bool = False, **fields: Any) -> None:
        event = {"name": name, "ph": phase, "pid": 1, "tid": 0, "ts": 0, **fields}
        self._file.write(json.dumps(event).encode() + (b"\n]\n" if last else b",\n"))


def _how_it_ended(attempt: Attempt) -> str | None:
    """Say what ended an attempt, if something did."""
    if attempt.exitval == -1:
        return "timed out"
    if not attempt.signal:
        return None
    try:
        return f"killed by {signal.Signals(attempt.signal).name}"
    except ValueError:
        return f"killed by signal {attempt.signal}"
