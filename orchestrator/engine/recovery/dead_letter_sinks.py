"""The sinks of dead letters: a file, a function, or whatever has `write(letter)` and `close()`.

**How safe a file is.** A letter is handed to the kernel in one write, as the item is given up: it outlives this
process, however that ends. The file is synced to the disk at each checkpoint and at the end, so a power cut may cost
the letters since. A line that such an end cut short is told about when the file is read.

Owner: the thread that consumes the results.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, Protocol

from orchestrator.engine.recovery.dead_letters import DeadLetter, dumps
from orchestrator.errors import ConfigError
from orchestrator.sinks.given import GivenSink, NodeSink
from workers.errors.describe import describe

_HINT = "the run stops, as failed items would be lost. Earlier dead letters are intact: free some space and run again"


class LetterSink(Protocol):
    """The sink of dead letters."""

    def write(self, letter: DeadLetter, /) -> object:
        """Take one dead letter.

        The run ends with what this raises.
        """

    def close(self) -> object:
        """Record that nothing more comes."""


def open_dead_letters(target: Any) -> NodeSink:
    """Return the sink of dead letters that a path, a function, or an object means.

    An object has `write(letter)` and `close()`.

    Raises:
        ConfigError: it is none of these, or the file can't be written to.
    """
    if isinstance(target, str | os.PathLike):
        return DeadLetterFile(os.fspath(target))
    if hasattr(target, "write") and hasattr(target, "close"):
        return GivenSink(target)
    if callable(target):
        return GivenSink(CalledLetters(target))
    raise ConfigError(f"dead_letters must be a path or a function that takes a dead letter, not {describe(target)}")


def refuse_unwritable(target: Any) -> None:
    """Raise ConfigError if a path for dead letters can't be written to.

    Nothing is made yet.
    """
    if isinstance(target, str | os.PathLike):
        path = os.path.realpath(os.fspath(target))
        folder = os.path.dirname(path)  # noqa: PTH120
        if os.path.isdir(path):  # noqa: PTH112
            raise _refusal(target, os.strerror(errno.EISDIR))
        if not os.path.isdir(folder):  # noqa: PTH112
            raise _refusal(target, f"there is no folder {folder}")
        if not os.access(path if os.path.exists(path) else folder, os.W_OK):  # noqa: PTH110
            raise _refusal(target, os.strerror(errno.EACCES))


class CalledLetters:
    """Passes each dead letter to a function, in the thread that consumes the results.

    What it raises ends the run.
    """

    def __init__(self, call: Callable[[DeadLetter], object]) -> None:
        self.write = call

    def close(self) -> None:
        """Return nothing, as nothing is held."""

    def keep(self) -> None:
        """Refuse, as the run has checkpoints.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("dead letters passed to a function can't be rolled back on resume; give a path")

    def snapshot(self) -> None:
        """Never called, as letters passed to a function can't be rolled back."""

    def restore(self, state: None) -> None:
        """Never called, as letters passed to a function can't be rolled back."""


class DeadLetterFile:
    """A file that dead letters are appended to, a line each."""

    kind = "DeadLetterFile"
    appends = True
    resumes = True

    def __init__(self, path: str, mode: int = 0o644) -> None:
        """Open the file, or create it with this mode.

        Raises:
            ConfigError: it can't be written to.
        """
        self.path: str | None = path
        try:
            from orchestrator.sinks.disk.append_file import AppendFile  # noqa: PLC0415 - only where there is such a file

            self._file = AppendFile(path, "the dead letters", goes_on=True, mode=mode, hint=_HINT)
        except ConfigError as error:
            raise ConfigError(str(error).replace("write the dead letters", "write dead letters to", 1)) from None
        self._torn = self._file.is_regular and not self._file.ends_in_line()
        self.narrow, self.close, self.abort = self._file.narrow, self._file.close, self._file.abort
        self.snapshot, self.remove = self._file.snapshot, self._file.remove

    def write(self, letter: DeadLetter) -> None:
        """Append a letter.

        Raises:
            OrchestratorError: the disk is full or broken, and no half of it is left; or somebody has meddled with the
                file.
        """
        self._file.write((b"\n" if self._torn else b"") + dumps(letter))
        self._torn = False

    def discard(self) -> None:
        """Keep the letters: they are not part of the output."""

    def sync_ahead(self) -> None:
        """Do nothing, as the letters are few."""

    def keep_as(self, secret: str) -> None:  # noqa: ARG002 - the file has its name from the start
        """Let what is written outlive this process.

        Raises:
            ConfigError: it is a device or a pipe.
        """
        if not self._file.is_regular:
            raise _refusal(self.path, "it is not a regular file, so a run that writes to it can't be resumed")

    def restore(self, state: dict[str, Any]) -> None:
        """Cut off what was written behind a snapshot.

        Raises:
            OrchestratorError: what was there then is not there any more.
        """
        self._file.restore(state)
        self._torn = False

    def empty(self) -> None:
        """Truncate the file: its run starts over."""
        self._file.cut_at(0)
        self._torn = False


def _refusal(path: Any, why: str | None) -> ConfigError:
    return ConfigError(f"can't write dead letters to {os.fspath(path)}: {why}")
