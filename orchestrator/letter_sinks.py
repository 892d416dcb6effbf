"""Where dead letters go: a file that they are appended to, a function, or whatever has `write(letter)` and `close()`.

**How safe a file is.** A letter is handed to the kernel in one write, as the item is given up: it outlives this
process, however that ends. The file is synced to the disk at each checkpoint and at the end, so a power cut may cost
the letters since. A line that such an end cut short is told of when the file is read.

Owner: the thread that consumes the results.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any, Protocol

from orchestrator.dead_letters import DeadLetter, dumps
from orchestrator.errors import ConfigError, OrchestratorError


class LetterSink(Protocol):
    """Where dead letters go."""

    def write(self, letter: DeadLetter, /) -> object:
        """Take one; the run ends with what this raises."""

    def close(self) -> object:
        """Nothing more comes."""


def open_dead_letters(target: Any) -> LetterSink:
    """Return where the letters go that a path, a function, or an object with `write(letter)` and `close()` means.

    Raises:
        ConfigError: it is none of these, or the file can't be written to.
    """
    if isinstance(target, str | os.PathLike):
        return DeadLetterFile(os.fspath(target))
    if hasattr(target, "write") and hasattr(target, "close"):
        return target  # type: ignore[no-any-return]
    if callable(target):
        return CalledLetters(target)
    raise ConfigError(f"dead_letters is a path, or a function that is given each; not {target!r}")


def refuse_unwritable(target: Any) -> None:
    """Raise ConfigError if a path for dead letters can't be written to; nothing is made yet."""
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
    """Gives each letter to a function, in the thread that consumes the results; what it raises ends the run."""

    def __init__(self, call: Callable[[DeadLetter], object]) -> None:
        self.write = call

    def close(self) -> None:
        """Nothing is held."""

    def keep(self) -> None:
        """Refuse: the run has checkpoints.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("dead letters that a function was given can't be taken back on resume; give a path")

    def snapshot(self) -> None:
        """Not reached."""

    def restore(self, state: None) -> None:
        """Not reached."""


class DeadLetterFile:
    """A file that letters are appended to, a line each."""

    appends = True
    """What it holds before the run stays, so a resumed run has to know how much that was."""

    def __init__(self, path: str) -> None:
        """Open it; it is made if it is not there.

        Raises:
            ConfigError: it can't be written to.
        """
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise _refusal(path, error.strerror) from None
        status = os.fstat(self._fd)
        self._regular = stat.S_ISREG(status.st_mode)
        self._unsynced = False
        self._torn = self._regular and status.st_size > 0 and os.pread(self._fd, 1, status.st_size - 1) != b"\n"

    def write(self, letter: DeadLetter) -> None:
        """Append a letter.

        Raises:
            OrchestratorError: the disk is full or broken; no half of it is left.
        """
        data = (b"\n" if self._torn else b"") + dumps(letter)
        before = os.fstat(self._fd).st_size
        self._unsynced = True
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError as error:
            if self._regular:
                os.ftruncate(self._fd, before)
            raise self._failed(error) from None
        self._torn = False

    def keep(self) -> None:
        """Let what is written outlive this process.

        Raises:
            ConfigError: it is a device or a pipe.
        """
        if not self._regular:
            raise _refusal(self.path, "it is no regular file, so a run that writes to it can't be resumed")

    def snapshot(self) -> int:
        """Make last what was written; return how many bytes the file has.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        self._sync()
        return os.fstat(self._fd).st_size

    def restore(self, size_bytes: int) -> None:
        """Cut off what was written behind so many bytes.

        Raises:
            OrchestratorError: they are not there any more.
        """
        found = os.fstat(self._fd).st_size
        if found < size_bytes:
            raise OrchestratorError(
                f"can't go on with the dead letters {self.path}: it has {found:,} bytes of {size_bytes:,}"
            )
        os.ftruncate(self._fd, size_bytes)
        self._torn = False

    def close(self) -> None:
        """Make last what was written, and close the file.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        if self._fd < 0:
            return
        try:
            self._sync()
        finally:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _sync(self) -> None:
        if self._unsynced and self._regular:
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                raise self._failed(error) from None
        self._unsynced = False

    def _failed(self, error: OSError) -> OrchestratorError:
        return OrchestratorError(
            f"can't write the dead letters {self.path}: {error.strerror}; the run stops, since items would be lost "
            "untold. The letters before are whole: make room and run again"
        )


def _refusal(path: Any, why: str | None) -> ConfigError:
    return ConfigError(f"can't write dead letters to {os.fspath(path)}: {why}")
