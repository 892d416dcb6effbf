"""Reads the lines of one source: words of the command line, a file, a pipe.

Runs in the coordinator. Only a pipe can make its reader wait; it is read ahead by a thread.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Protocol

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.sources.byte_stream import StdinPieces

_READ_AHEAD_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16


class Lines(Protocol):
    """The lines of a source, which can be read once."""

    @property
    def total(self) -> int | None:
        """How many, or None where that is known when they have been read."""

    def ready(self) -> bool:
        """Tell whether the next line, or the end, is available without waiting."""

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call `call`, from any thread, whenever `ready` may have become true."""

    def close(self) -> None:
        """Read nothing more."""

    def __iter__(self) -> Iterator[str]:
        """Return an iterator over the lines."""


class ListedLines:
    """Words of the command line."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self.total: int | None = len(words)

    def ready(self) -> bool:
        """Return True, as they are here."""
        return True

    def when_ready(self, call: Callable[[], None]) -> None:
        """Do nothing, as they are here."""

    def close(self) -> None:
        """Do nothing."""

    def __iter__(self) -> Iterator[str]:
        """Return an iterator over the words."""
        return iter(self._words)


class FileLines:
    """The lines of a regular file, read piece by piece."""

    def __init__(self, fd: int, path: str, end: bytes) -> None:
        """Take over an open file.

        Args:
            fd: is closed at the end.
            path: its name, for errors.
            end: what ends a line.
        """
        self._fd = fd
        self._path = path
        self._end = end

    @cached_property
    def total(self) -> int | None:
        """How many there are, by a look through the file."""
        if self._fd < 0:
            return None
        at, ends, last = 0, 0, self._end
        while piece := os.pread(self._fd, _READ_AHEAD_BYTES, at):
            at, ends, last = at + len(piece), ends + piece.count(self._end), piece
        return ends + (not last.endswith(self._end))

    def ready(self) -> bool:
        """Return True, as a file makes nobody wait."""
        return True

    def when_ready(self, call: Callable[[], None]) -> None:
        """Do nothing, as a file makes nobody wait."""

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __iter__(self) -> Iterator[str]:
        """Yield the lines.

        Raises:
            OrchestratorError: it can't be read.
        """
        rest = b""
        while piece := self._piece():
            *whole, rest = (rest + piece).split(self._end)
            yield from map(os.fsdecode, whole)
        self.close()
        if rest:
            yield os.fsdecode(rest)

    def _piece(self) -> bytes:
        try:
            return os.read(self._fd, _PIECE_BYTES) if self._fd >= 0 else b""
        except OSError as error:
            raise OrchestratorError(f"can't read arguments from {self._path}: {error.strerror}") from None


class StreamedLines:
    """The lines of a pipe as they arrive."""

    total: int | None = None

    def __init__(self, fd: int, end: bytes, *, owned: bool = False) -> None:
        """Take the descriptor.

        `owned`: it is closed at the end.
        """
        self._fd = fd
        self._end = end
        self._owned = owned
        self._lines: deque[bytes] = deque()
        self._pieces: StdinPieces | None = None

    def _opened(self) -> StdinPieces:
        """Begin to read at the first need, so that a dry run leaves standard input alone."""
        if self._pieces is None:
            self._pieces = StdinPieces(self._fd, _READ_AHEAD_BYTES, end=self._end, owned=self._owned)
        return self._pieces

    def ready(self) -> bool:
        """Tell whether a line, or the end, is here."""
        return bool(self._lines) or self._opened().ready()

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call from the reading thread."""
        self._opened().when_ready(call)

    def close(self) -> None:
        """Read nothing more."""
        if self._pieces is not None:
            self._pieces.close()
        elif self._owned:
            self._owned = False
            with suppress(OSError):
                os.close(self._fd)

    def __iter__(self) -> Iterator[str]:
        """Yield the lines, waiting where nothing is ready.

        Raises:
            OrchestratorError: it can't be read.
        """
        pieces, rest = self._opened(), b""
        while piece := pieces.take_bytes(_PIECE_BYTES):
            *whole, rest = (rest + piece).split(self._end)
            self._lines.extend(whole)
            while self._lines:
                yield os.fsdecode(self._lines.popleft())
        if rest:
            yield os.fsdecode(rest)


def lines_of(path: str, end: bytes) -> Lines:
    """Return the lines of a file, or of standard input for "-".

    Raises:
        ConfigError: it can't be read.
    """
    if path == "-":
        return StreamedLines(0, end)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            os.close(fd)
            raise IsADirectoryError(21, "Is a directory")
    except OSError as error:
        raise ConfigError(f"can't read arguments from {path}: {error.strerror}") from None
    return FileLines(fd, path, end) if stat.S_ISREG(mode) else StreamedLines(fd, end, owned=True)
