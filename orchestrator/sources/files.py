"""Input files as chunks: plain files as byte ranges that workers read, all others as blocks of records.

Owner of the state: whoever iterates; a source is iterated once. Runs in the coordinator. Every file gives at
least one chunk, an empty one too, so that a sink hears of it.
"""

# ruff: noqa: PTH112, PTH116, PTH118, PTH123, PTH207
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import glob
import mmap
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pickle import PickleBuffer
from typing import IO, TYPE_CHECKING

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.sources.cutting import csv_boundary, cutter, fields_of
from orchestrator.sources.stdin import StdinPieces
from workers import compression, file_names
from workers.chunks import Block, ByteRange, Chunk, Origin, Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Input:
    """One input file."""

    path: str
    size_bytes: int | None
    """None where it isn't known: a pipe, standard input."""
    compression: str | None
    is_regular: bool


def expand(inputs: Sequence[str]) -> list[Input]:
    """Return the files that the user named, patterns resolved.

    Raises:
        ConfigError: one is missing, a folder or unreadable, a pattern matches nothing, "-" stands there
            twice.
    """
    found: list[Input] = []
    for name in inputs:
        found.extend(_look_at(path) for path in _matches(name))
    if sum(entry.path == STDIN for entry in found) > 1:
        raise ConfigError("standard input (-) can be given once only")
    return found


def _matches(name: str) -> list[str]:
    if name == STDIN or os.path.lexists(name) or not glob.has_magic(name):
        return [name]
    paths = sorted(path for path in glob.glob(name, recursive=True) if not os.path.isdir(path))
    if not paths:
        raise ConfigError(f"no file matches {name}")
    return paths


def _look_at(path: str) -> Input:
    """Find out what kind of file this is, and that it can be read."""
    if path == STDIN:
        return Input(path, None, None, is_regular=False)
    try:
        status = os.stat(path)
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"{path} is a folder; name the files in it, as in {os.path.join(path, '*')}")
    if not os.access(path, os.R_OK):
        raise ConfigError(f"can't read {path}: Permission denied")
    kind = file_names.compression_of(path)
    try:
        compression.require(kind)
    except compression.CompressionError as error:
        raise ConfigError(str(error)) from None
    regular = stat.S_ISREG(status.st_mode)
    return Input(path, status.st_size if regular else None, kind, regular)


def of_inputs(inputs: Sequence[Input]) -> dict[str, str]:
    """Return what input files are known by, for a run that is to be resumed.

    Raises:
        ConfigError: one can't be read a second time.
    """
    from orchestrator.fingerprint import of_file  # noqa: PLC0415 - only for runs that can be resumed

    for entry in inputs:
        if not entry.is_regular:
            name = "standard input" if entry.path == STDIN else entry.path
            raise ConfigError(f"{name} can't be read a second time, so a run of it can't be resumed; save it to a file")
    return {f"the input {entry.path}": of_file(entry.path) for entry in inputs}


class FileSource:
    """The chunks of several files, one file after the other."""

    def __init__(
        self, inputs: Sequence[Input], record_format: str, block_bytes: int, *, paths_a_chunk: int = 1
    ) -> None:
        """Plan the reading; nothing is opened yet.

        Args:
            inputs: from `expand`.
            record_format: "lines", "jsonl", "csv", "blocks" or "files".
            block_bytes: how much of a file a chunk holds; records make it a little more or less.
            paths_a_chunk: for "files", how many go together.
        """
        self._inputs = inputs
        self._format = record_format
        self._block_bytes = block_bytes
        self._paths_a_chunk = paths_a_chunk
        self._seq = 0
        self._stdin: StdinPieces | None = None
        self._on_ready: Callable[[], None] | None = None
        self._chunks = self._cut()
        sizes = [entry.size_bytes for entry in inputs]
        self.total_bytes = None if None in sizes else sum(size or 0 for size in sizes)
        """Of all files as they lie on the disk; None if standard input or a pipe is among them."""

    def chunk_count(self) -> int | None:
        """Return how many chunks there will be, or None if only reading will tell."""
        if self._format == "files":
            return None if self.total_bytes is None else -(-len(self._inputs) // self._paths_a_chunk)
        if self._format == "csv" or any(not entry.is_regular or entry.compression for entry in self._inputs):
            return None
        return sum(max(1, -(-(entry.size_bytes or 0) // self._block_bytes)) for entry in self._inputs)

    def ready(self) -> bool:
        """Say whether the next chunk can be had without waiting; only standard input makes anyone wait."""
        return self._stdin is None or self._stdin.ready()

    def when_ready(self, call: Callable[[], None]) -> None:
        """Have `call` called, from another thread, whenever `ready` may have become true."""
        self._on_ready = call
        if self._stdin is not None:
            self._stdin.when_ready(call)

    def close(self) -> None:
        """Let go of standard input and of open files; from the thread that iterates."""
        if self._stdin is not None:
            self._stdin.close()
        self._chunks.close()

    def __iter__(self) -> FileSource:
        return self

    def __next__(self) -> Chunk:
        return next(self._chunks)

    def _cut(self) -> Generator[Chunk]:
        """Cut one input after the other."""
        if self._format == "files":
            yield from self._path_chunks()
            return
        for index, entry in enumerate(self._inputs):
            if entry.path == STDIN:
                yield from self._stdin_blocks(entry, index)
            elif entry.compression or not entry.is_regular:
                yield from self._stream_blocks(entry, index)
            elif self._format == "csv":
                yield from self._csv_ranges(entry, index)
            else:
                yield from self._ranges(entry, index)

    def _origin(self, entry: Input, file_index: int, index: int, size_bytes: int, *, last: bool) -> Origin:
        origin = Origin(self._seq, entry.path, file_index, index, last, size_bytes)
        self._seq += 1
        return origin

    def _ranges(self, entry: Input, file_index: int) -> Iterator[Chunk]:
        """Cut a plain file anywhere; the workers find the records."""
        size, block = entry.size_bytes or 0, self._block_bytes
        exact = self._format == "blocks"
        for index, start in enumerate(range(0, max(size, 1), block)):
            end = min(start + block, size)
            yield ByteRange(
                self._origin(entry, file_index, index, end - start, last=end == size), start, end, exact
            )

    def _csv_ranges(self, entry: Input, file_index: int) -> Iterator[Chunk]:
        """Cut a plain CSV file between rows."""
        size = entry.size_bytes or 0
        if not size:
            yield ByteRange(self._origin(entry, file_index, 0, 0, last=True), 0, 0, on_boundaries=True)
            return
        with _opened(entry.path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            size = len(data)
            start = csv_boundary(data, 0)
            start = size if start < 0 else start
            names, counted, index = fields_of(data[:start]), 0, 0
            while True:
                end = csv_boundary(data, start, start + self._block_bytes) if start < size else size
                end = size if end < 0 or start + self._block_bytes >= size else end
                origin = self._origin(entry, file_index, index, end - counted, last=end == size)
                yield ByteRange(origin, start, end, on_boundaries=True, fieldnames=names)
                if end == size:
                    return
                start, counted, index = end, end, index + 1

    def _stream_blocks(self, entry: Input, file_index: int) -> Iterator[Chunk]:
        """Read a compressed file or a pipe here, and cut it between records."""
        kind = entry.compression
        with _opened(entry.path) as raw:
            stream = compression.reader(raw, kind) if kind else raw
            damaged = compression.read_errors(kind) if kind else (OSError,)

            def read() -> bytes:
                try:
                    return _read_full(stream, self._block_bytes)
                except damaged as error:
                    said = " ".join(str(error).split()) or type(error).__name__
                    raise OrchestratorError(f"can't read {entry.path} to its end: {said}") from None

            def position() -> int:
                return raw.tell() if entry.is_regular else 0

            yield from self._blocks(entry, file_index, read, position)

    def _stdin_blocks(self, entry: Input, file_index: int) -> Iterator[Chunk]:
        """Take what standard input has, as soon as it has a whole record."""
        pieces = self._open_stdin(max(4 * self._block_bytes, 2**20))
        try:
            yield from self._blocks(
                entry, file_index, lambda: pieces.take(self._block_bytes), lambda: pieces.taken
            )
        finally:
            pieces.close()
            self._stdin = None

    def _blocks(
        self, entry: Input, file_index: int, read: Callable[[], bytes], position: Callable[[], int]
    ) -> Iterator[Chunk]:
        """Cut a stream of pieces into blocks; the last is empty where nothing was left over."""
        cut, index, offset, line, counted = cutter(self._format, self._block_bytes), 0, 0, 1, 0
        header_seen = False
        while True:
            piece = read()
            blocks = cut.feed(piece) if piece else [cut.finish()]
            if not header_seen and cut.header:
                header_seen, offset, line = True, len(cut.header), 1 + cut.header.count(b"\n")
            for data in blocks:
                size, counted = position() - counted, position()
                origin = self._origin(entry, file_index, index, size, last=not piece)
                yield Block(origin, PickleBuffer(data), offset, line, cut.fieldnames)
                index, offset, line = index + 1, offset + len(data), line + data.count(b"\n")
            if not piece:
                return

    def _path_chunks(self) -> Iterator[Chunk]:
        """Give the files' names, several to a chunk; names come from standard input too, one a line."""
        held: list[tuple[Input, int]] = []
        for index, entry in enumerate(self._inputs):
            names = [entry] if entry.path != STDIN else self._names_from_stdin()
            for name in names:
                held.append((name, index))
                if len(held) == self._paths_a_chunk:
                    yield self._paths(held)
                    held = []
        if held:
            yield self._paths(held)

    def _paths(self, held: list[tuple[Input, int]]) -> Paths:
        first, index = held[0]
        size = sum(entry.size_bytes or 0 for entry, _ in held)
        return Paths(self._origin(first, index, 0, size, last=True), tuple(entry.path for entry, _ in held))

    def _open_stdin(self, limit_bytes: int) -> StdinPieces:
        self._stdin = StdinPieces(0, limit_bytes)
        if self._on_ready is not None:
            self._stdin.when_ready(self._on_ready)
        return self._stdin

    def _names_from_stdin(self) -> Iterator[Input]:
        pieces = self._open_stdin(2**20)
        cut = cutter("lines", 2**16)
        with_rest = True
        try:
            while with_rest:
                piece = pieces.take(2**16)
                with_rest = bool(piece)
                for block in cut.feed(piece) if piece else [cut.finish()]:
                    for name in os.fsdecode(block).split("\n"):
                        if name:
                            yield _look_at(name.removesuffix("\r"))
        finally:
            pieces.close()
            self._stdin = None


def mean_record_bytes(inputs: Sequence[Input]) -> int:
    """Estimate a record's size from the first 64 KiB of the first plain file; 256 if there is none."""
    for entry in inputs:
        if entry.is_regular and not entry.compression and entry.size_bytes:
            with suppress(OSError), open(entry.path, "rb") as file:
                head = file.read(64 * 1024)
                return max(1, len(head) // max(1, head.count(b"\n")))
    return 256


def _opened(path: str) -> IO[bytes]:
    try:
        return open(path, "rb")
    except OSError as error:
        raise OrchestratorError(f"can't read {path}: {error.strerror}") from None


def _read_full(stream: IO[bytes], size: int) -> bytes:
    """Read `size` bytes; fewer only at the end."""
    data = stream.read(size)
    while 0 < len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            break
        data += more
    return data
