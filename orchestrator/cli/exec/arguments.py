"""The sources of commands' arguments: the command line, files, standard input.

A row of arguments makes a command.

    ::: a b ::: 1 2     a 1, a 2, b 1, b 2           :::+ a group that goes in step with the one before it
    :::: FILE           the lines of a file, or of standard input for "-";         ::::+ in step

Runs in the coordinator. Only standard input is read while commands run.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import deque
from typing import TYPE_CHECKING, Protocol

from orchestrator.errors import ConfigError
from orchestrator.sources.byte_stream import StdinPieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MARKERS = (":::", ":::+", "::::", "::::+")
_READ_AHEAD_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16

Row = tuple[str, ...]


class Rows(Protocol):
    """Rows of arguments, one for each command."""

    total: int | None
    """How many; None: that is known when they have been read."""
    width: int
    """Arguments a row."""

    def ready(self) -> bool:
        """Tell whether the next row, or the end, is available without waiting."""

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call `call`, from any thread, whenever `ready` may have become true."""

    def close(self) -> None:
        """Read nothing more."""

    def __iter__(self) -> Iterator[Row]:
        """Return an iterator over the rows."""


def rows_of(words: Sequence[str], *, null: bool = False) -> Rows:
    """Return the rows that the words behind the command mean.

    `null`: lines end with NUL.

    Raises:
        ConfigError: a file can't be read, or a marker stands where it can't.
    """
    end = b"\0" if null else b"\n"
    if not words or words == ["::::", "-"]:
        return StreamedRows(0, end)
    if words[0] not in MARKERS:
        return ListedRows([[list(words)]])
    clusters: list[list[list[str]]] = []
    for marker, values in _marked(words):
        for group in _groups(marker, values, end):
            if not marker.endswith("+"):
                clusters.append([group])
            elif clusters:
                clusters[-1].append(group)
            else:
                raise ConfigError(f"{marker} pairs with the arguments before it, but there are none")
    return ListedRows(clusters)


def _marked(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each marker with the words up to the next."""
    starts = [at for at, word in enumerate(words) if word in MARKERS]
    for start, end in itertools.pairwise([*starts, len(words)]):
        yield words[start], list(words[start + 1 : end])


def _groups(marker: str, values: list[str], end: bytes) -> list[list[str]]:
    if marker.startswith("::::"):
        if not values:
            raise ConfigError(f"{marker} needs the name of an argument file, or - for standard input")
        return [_lines(path, end) for path in values]
    return [values]


def _lines(path: str, end: bytes) -> list[str]:
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            data = file.read()
    except OSError as error:
        raise ConfigError(f"can't read arguments from {path}: {error.strerror}") from None
    lines = data.split(end)
    if not lines[-1]:
        lines.pop()
    return [os.fsdecode(line) for line in lines]


class ListedRows:
    """Yields every combination of groups that are known."""

    def __init__(self, clusters: list[list[list[str]]]) -> None:
        """Take clusters of groups.

        Groups of one cluster go in step, the clusters are combined.
        """
        self._clusters = clusters
        self.width = sum(map(len, clusters))
        self.total: int | None = math.prod(min(map(len, cluster)) for cluster in clusters)

    def ready(self) -> bool:
        """Return True, as the arguments are here."""
        return True

    def when_ready(self, call: Callable[[], None]) -> None:
        """Do nothing, as the arguments are here."""

    def close(self) -> None:
        """Do nothing."""

    def __iter__(self) -> Iterator[Row]:
        """Yield the combinations, the last group running fastest."""
        linked = [list(zip(*cluster, strict=False)) for cluster in self._clusters]
        for combination in itertools.product(*linked):
            yield tuple(itertools.chain.from_iterable(combination))


class StreamedRows:
    """Yields lines of a descriptor as they arrive, each a row of one argument."""

    width = 1
    total: int | None = None

    def __init__(self, fd: int, end: bytes) -> None:
        self._fd = fd
        self._end = end
        self._lines: deque[bytes] = deque()
        self._pieces: StdinPieces | None = None

    def _opened(self) -> StdinPieces:
        """Begin to read at the first need, so that a dry run leaves standard input alone."""
        if self._pieces is None:
            self._pieces = StdinPieces(self._fd, _READ_AHEAD_BYTES, end=self._end)
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

    def __iter__(self) -> Iterator[Row]:
        """Yield the lines, waiting where nothing is ready.

        Raises:
            OrchestratorError: it can't be read.
        """
        pieces, rest = self._opened(), b""
        while piece := pieces.take_bytes(_PIECE_BYTES):
            *whole, rest = (rest + piece).split(self._end)
            self._lines.extend(whole)
            while self._lines:
                yield (os.fsdecode(self._lines.popleft()),)
        if rest:
            yield (os.fsdecode(rest),)


def all_at_once(rows: Rows) -> Rows:
    """Return the same rows, all read, where their number must be known."""
    if rows.total is not None:
        return rows
    return ListedRows([[[row[0] for row in rows]]])
