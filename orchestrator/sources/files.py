"""Gives input files as chunks: byte ranges of plain files, blocks of records of all others.

Owner of the state: whoever iterates; a source is iterated once. Runs in the coordinator. Every file gives at
least one chunk, an empty one too, so that a sink hears of it.

A regular file is opened once, and what is read of it is what it held when the run began, or an error. The first files
are opened before anything is read, others when it is their turn, and so many stay open: a worker reads through the
source's descriptor where the path means another file by then.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from contextlib import suppress
from functools import partial
from pickle import PickleBuffer
from typing import IO, TYPE_CHECKING, Any, cast

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.sources.byte_stream import StdinPieces
from orchestrator.sources.inputs import STDIN, Input, is_own, look_at, open_plain, open_stream
from orchestrator.sources.open_files import KEPT_OPEN, KeptOpen, UpTo, read_full, why_not
from workers.errors.describe import describe
from workers.records import compression
from workers.records.blocks import Block, ByteRange, Chunk, Origin, Paths
from workers.records.formats import encodings
from workers.records.formats.cutting import TooLong
from workers.records.formats.format import FormatError, PlainFile, Range
from workers.records.identity import FileChangedError
from workers.records.ranges import pread

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from workers.records.blocks import Head
    from workers.records.formats.cutting import Cut, Cutter
    from workers.records.formats.format import Format
    from workers.records.identity import Identity
    from workers.records.ranges import Handle
    from workers.records.remote import RemoteIdentity

MAX_RECORD_BYTES = 256 * 2**20
_HEAD_BYTES = 16
_BUFFER_BYTES = 128 * 1024
_NAMES_BYTES = 64 * 1024


class FileSource:
    """The chunks of several files, one file after the other."""

    def __init__(
        self,
        inputs: Sequence[Input],
        record_format: Format,
        block_bytes: int,
        *,
        paths_a_chunk: int = 1,
        max_record_bytes: int = MAX_RECORD_BYTES,
        names_end: bytes = b"\n",
        on_columns: Callable[[tuple[str, ...]], object] = tuple,
    ) -> None:
        """Plan the reading, and open the first files.

        Args:
            inputs: from `expand`.
            record_format: the format of all files.
            block_bytes: how much of a file a chunk holds; records make it a little more or less.
            paths_a_chunk: for "files", how many go together.
            max_record_bytes: a longer record is not read, and fails; 0: there is no limit.
            names_end: what ends a file's name on standard input.
            on_columns: is told the columns of each file that has some, as it is begun; in the thread that iterates.
        """
        self._inputs = inputs
        self._format = record_format
        self._is_names = record_format.unit == "file"
        self._block_bytes = block_bytes
        self._paths_a_chunk = paths_a_chunk
        self._names_end = names_end
        self._cut_chunks = self._cut_bytes = 0
        """Of the file whose turn it is."""
        self._most = max_record_bytes
        self._seq = 0
        self._stream: StdinPieces | None = None
        self._kept = KeptOpen()
        self._coming = 0
        """Which of the inputs the next chunk is of; of the format "files", whose names come from standard input."""
        self._opened: dict[int, tuple[Handle, Identity | RemoteIdentity]] = {}
        """The first files, until it is their turn."""
        if not self._is_names:
            self._open_first()
        else:
            for entry in inputs:
                _refuse_own(entry)
            self._coming = next((at for at, entry in enumerate(inputs) if entry.path == STDIN), len(inputs))
        self._warned = False
        self._on_columns = on_columns
        self._on_ready: Callable[[], None] | None = None
        self._chunks = self._cut()
        sizes = [entry.size_bytes for entry in inputs]
        self.total_bytes = None if None in sizes else sum(size or 0 for size in sizes)
        """Of all files as they lie on the disk; None if standard input or a pipe is among them."""

    def chunk_count(self) -> int | None:
        """Return how many chunks there will be, or None if only reading will tell."""
        if self._is_names:
            return None if self.total_bytes is None else -(-len(self._inputs) // self._paths_a_chunk)
        if self._format.recodes or any(not entry.is_regular or entry.compression for entry in self._inputs):
            return None
        counts = [self._format.ranges_of(entry.size_bytes or 0, self._block_bytes) for entry in self._inputs]
        return None if None in counts else sum(count or 0 for count in counts)

    wait_s = None
    """Nothing is known of when a stream brings more."""

    def ready(self) -> bool:
        """Tell whether the next chunk is available without waiting.

        Only what is read as a stream makes anyone wait.
        """
        if self._stream is None and self._coming < len(self._inputs):
            try:
                self._open_stream(self._inputs[self._coming])
            except OrchestratorError:
                return True  # the next chunk raises it
        return self._stream is None or self._stream.ready()

    def when_ready(self, call: Callable[[], None]) -> None:
        """Have another thread call `call` whenever `ready` may have become true."""
        self._on_ready = call
        if self._stream is not None:
            self._stream.when_ready(call)

    def close(self) -> None:
        """Close standard input and open files.

        Called from the thread that iterates, when no chunk is at work.
        """
        self._coming = len(self._inputs)
        self._end_stream()
        self._chunks.close()
        self._kept.close()

    def __iter__(self) -> FileSource:
        return self

    def __next__(self) -> Chunk:
        chunk = next(self._chunks)
        if chunk.origin.last_of_file and not self._is_names:
            self._coming = chunk.origin.file_index + 1
            self._end_stream()
        return chunk

    def _cut(self) -> Generator[Chunk]:
        """Cut one input after the other."""
        if self._is_names:
            yield from self._path_chunks()
            return
        for index, entry in enumerate(self._inputs):
            self._cut_chunks = self._cut_bytes = 0
            try:
                yield from self._cut_file(entry, index, self._format.of_file(entry.path))
            except (OrchestratorError, FormatError) as error:
                yield self._unreadable(entry, index, str(error))
            except OSError as error:  # of a server that fails for good
                yield self._unreadable(entry, index, f"can't read {entry.path}: {error.strerror or error}")

    def _unreadable(self, entry: Input, file_index: int, why: str) -> Block:
        """Return a placeholder for the rest of a file that can't be read.

        Whether the run continues is decided elsewhere.
        """
        left = max(0, (entry.size_bytes or 0) - self._cut_bytes)
        origin = self._origin(entry, file_index, self._cut_chunks, left, last=True)
        return Block(origin, b"", 0, 1, unreadable=why)

    def _cut_file(self, entry: Input, index: int, form: Format) -> Iterator[Chunk]:
        if not entry.is_regular:
            yield from self._stream_blocks(entry, index, form)
            return
        fd, file = self._opened.pop(index) if index in self._opened else self._open(entry)
        head = pread(fd, _HEAD_BYTES, 0)
        kind = entry.compression or (compression.kind_of(head) if form.is_text else None)
        if head and not file.size_bytes:  # a pseudo-file: its size says nothing
            yield from self._stream_blocks(entry, index, form)
        elif kind is not None or (form.recodes and file.size_bytes):
            yield from self._decoded_blocks(entry, index, kind, fd, file, form)
        else:
            yield from self._ranges(entry, index, fd, file, form)

    def _open_first(self) -> None:
        for index, entry in enumerate(self._inputs[:KEPT_OPEN]):
            if entry.is_regular:
                with suppress(OrchestratorError):  # it is raised when it is the turn of that file
                    self._opened[index] = self._open(entry)

    def _open(self, entry: Input) -> tuple[Handle, Identity | RemoteIdentity]:
        fd, file = open_plain(entry)
        self._kept.keep(fd)
        return fd, file

    def _origin(self, entry: Input, file_index: int, index: int, size_bytes: int, *, last: bool) -> Origin:
        origin = Origin(self._seq, entry.path, file_index, index, last, size_bytes)
        self._seq += 1
        self._cut_chunks, self._cut_bytes = index + 1, self._cut_bytes + size_bytes
        return origin

    def _ranges(
        self, entry: Input, file_index: int, fd: Handle, file: Identity | RemoteIdentity, form: Format
    ) -> Iterator[Chunk]:
        """Cut a plain file as its format says."""
        size = file.size_bytes
        if not size:
            yield ByteRange(self._origin(entry, file_index, 0, 0, last=True), 0, 0, on_boundaries=True, file=file)
            return
        cuts = form.cut(PlainFile(entry.path, fd, size), self._block_bytes, self._most)
        if cuts.head is not None:
            self._columns(entry, cuts.head)
        for index, (each, last) in enumerate(_with_last(cuts.ranges)):
            origin = self._origin(entry, file_index, index, each.size_bytes, last=last)
            yield ByteRange(origin, each.start, each.end, each.exact, cuts.head, self._most, each.too_long, file)

    def _columns(self, entry: Input, header: Head) -> None:
        """Tell the columns of a file, and warn once in a run of duplicate names."""
        if header.repeated and not self._warned:
            self._warned = True
            name = header.repeated[0]
            warnings.warn(
                f"{_name_of(entry)}: the column {describe(name)} stands there more than once; "
                f"repeated names are numbered, as in {describe(name + '.1')}",
                stacklevel=_levels_to_caller(),
            )
        if header.names is not None:
            self._on_columns(header.names)

    def _decoded_blocks(  # noqa: PLR0917 - what is known of one file
        self, entry: Input, file_index: int, kind: str | None, fd: Handle, file: Identity | RemoteIdentity, form: Format
    ) -> Iterator[Chunk]:
        """Decompress a file here, make its text UTF-8 if need be, and cut it between records."""
        raw = UpTo(fd, file.size_bytes)
        cut = self._cutter(entry, form)
        damaged: tuple[type[BaseException], ...] = (
            MemoryError,
            compression.CompressionError,
            *(compression.read_errors(kind) if kind else (OSError,)),
        )

        def blocks() -> Iterator[Cut]:
            plain: Any = io.BufferedReader(raw, _BUFFER_BYTES)
            stream = _recoded(form, compression.reader(plain, kind) if kind else plain)
            while piece := read_full(stream, self._block_bytes):
                file.check(entry.path, fd)  # what was changed meanwhile may decompress to anything
                yield from cut.feed(piece)

        def checked() -> Iterator[Cut]:
            try:
                yield from blocks()
                file.check(entry.path, fd)
            except FileChangedError as error:
                raise OrchestratorError(str(error)) from None
            except damaged as error:
                raise OrchestratorError(why_not(entry, file, fd, error)) from None

        yield from self._blocks(entry, file_index, cut, checked(), lambda: raw.at)

    def _cutter(self, entry: Input, form: Format) -> Cutter:
        if not form.streams:
            raise OrchestratorError(
                f"{_name_of(entry)} can't be read as {form.name}: it must be a plain file, not compressed and no pipe"
            )
        return form.cutter(self._block_bytes, self._most)

    def _stream_blocks(self, entry: Input, file_index: int, form: Format) -> Iterator[Chunk]:
        """Yield what standard input or a pipe has, as soon as it has a whole record."""
        pieces = self._open_stream(entry, form, always=True)
        assert pieces is not None and pieces.cut is not None  # noqa: S101, PT018 - for the type checker
        blocks = iter(lambda: pieces.take(self._block_bytes), b"")
        yield from self._blocks(entry, file_index, pieces.cut, blocks, lambda: pieces.taken)

    def _blocks(
        self, entry: Input, file_index: int, cut: Cutter, blocks: Iterator[Cut], position: Callable[[], int]
    ) -> Iterator[Chunk]:
        """Yield blocks of whole records.

        The last is empty where nothing was left over.
        """
        index, offset, line, counted, last = 0, 0, 1, 0, False
        while not last:
            found = next(blocks, b"")
            last = found == b""
            if last:
                found = cut.finish()
            data, size_bytes, line_ends = _measured(found, self._format)
            if not index and cut.head is not None:
                offset, line = cut.head.size_bytes, 1 + cut.head.line_ends
                self._columns(entry, cut.head)
            size, counted = position() - counted, position()
            origin = self._origin(entry, file_index, index, size, last=last)
            long = isinstance(found, TooLong)
            yield Block(origin, PickleBuffer(data), offset, line, cut.head, self._most, long)
            index, offset, line = index + 1, offset + size_bytes, line + line_ends

    def _path_chunks(self) -> Iterator[Chunk]:
        """Yield the files' names, several to a chunk.

        Names come from standard input too, one a line.
        """
        held: list[tuple[Input, int]] = []
        for index, entry in enumerate(self._inputs):
            names = [entry.path] if entry.path != STDIN else self._names_from_stdin()
            for name in names:
                try:
                    held.append((entry if name == entry.path else _refuse_own(look_at(name)), index))
                except ConfigError as missing:
                    if held:
                        yield self._paths(held)
                        held = []
                    origin = self._origin(Input(name, None, None, is_regular=False), index, 0, 0, last=True)
                    yield Block(origin, b"", 0, 1, unreadable=str(missing))
                if len(held) == self._paths_a_chunk:
                    yield self._paths(held)
                    held = []
        if held:
            yield self._paths(held)

    def _paths(self, held: list[tuple[Input, int]]) -> Paths:
        first, index = held[0]
        size = sum(entry.size_bytes or 0 for entry, _ in held)
        return Paths(self._origin(first, index, 0, size, last=True), tuple(entry.path for entry, _ in held))

    def _open_stream(
        self, entry: Input, form: Format | None = None, *, always: bool = False
    ) -> StdinPieces | None:
        """Begin to read what is not a regular file, unless that was done already.

        With `always`, also what only looks like one.
        """
        names, form = self._is_names, form or self._format.of_file(entry.path)
        if self._stream is None and (always or (entry.path == STDIN if names else not entry.is_regular)):
            is_stdin = entry.path == STDIN
            fd = 0 if is_stdin else open_stream(entry.path)
            self._stream = StdinPieces(
                fd,
                2**20 if names else max(4 * self._block_bytes, 2**20),
                name=_name_of(entry),
                kind=entry.compression,
                cut=None if names else self._cutter(entry, form),
                owned=not is_stdin,
                end=self._names_end if names else b"\n",
                recode=partial(_recoded, form) if form.recodes else None,
            )
            if self._on_ready is not None:
                self._stream.when_ready(self._on_ready)
        return self._stream

    def _end_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _names_from_stdin(self) -> Iterator[str]:
        pieces = self._open_stream(look_at(STDIN), always=True)
        assert pieces is not None  # noqa: S101 - for the type checker
        rest, end = b"", self._names_end
        try:
            while piece := pieces.take_bytes(_NAMES_BYTES):
                *names, rest = (rest + piece).split(end)
                yield from self._named(names)
            yield from self._named([rest])
        finally:
            self._coming = len(self._inputs)
            self._end_stream()

    def _named(self, names: list[bytes]) -> Iterator[str]:
        lines = self._names_end == b"\n"
        for name in names:
            if path := name.removesuffix(b"\r") if lines else name:
                yield os.fsdecode(path)


def _recoded(form: Format, stream: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", encodings.Recoded(stream, form.encoding, form.errors)) if form.recodes else stream


def _with_last(ranges: Iterator[Range]) -> Iterator[tuple[Range, bool]]:
    """Yield each range, and whether it is the last."""
    before = next(ranges)
    for each in ranges:
        yield before, False
        before = each
    yield before, True


def _measured(found: Cut, record_format: Format) -> tuple[bytes, int, int]:
    """Return the bytes left of what was cut, how many it had, and how many line ends."""
    if isinstance(found, TooLong):
        return b"", found.size_bytes, found.line_ends
    return found, len(found), record_format.line_ends.number_in(found)


def _levels_to_caller() -> int:
    """Return how many frames away the code is that uses this package, so that a warning names its line."""
    levels, frame = 1, sys._getframe(1)  # noqa: SLF001 - there is no public name
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("orchestrator"):
        levels, frame = levels + 1, frame.f_back
    return levels


def _refuse_own(entry: Input) -> Input:
    """Return an input whose name a worker gets, unless it means a descriptor of this process.

    Raises:
        ConfigError: the name means something else in a worker.
    """
    if is_own(entry.path):
        raise ConfigError(
            f"{entry.path} means another file in each process, and with the format files a worker opens it itself; "
            "read it with another format, or give the name of a file or FIFO"
        )
    return entry


def _name_of(entry: Input) -> str:
    return "standard input" if entry.path == STDIN else entry.path
