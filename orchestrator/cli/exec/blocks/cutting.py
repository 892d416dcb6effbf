"""Cuts files and standard input into blocks of whole records.

    a file (--pipepart, or as standard input)     byte ranges of it: nobody but the command's worker reads the data
    a pipe                                        moved by the kernel (splice) into files in memory, by a thread

Owner of the state: the coordinator's thread; that of `PipedBlocks` is behind its condition, as its thread fills it.
"""

from __future__ import annotations

import itertools
import math
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from orchestrator.errors import ConfigError, OrchestratorError
from workers.commands.inputs import Input

if TYPE_CHECKING:
    from orchestrator.cli.exec.blocks.ends import RecordEnds

_GROWS_BY = 1.3
_AHEAD = 2
"""Files of blocks that are filled before the first is taken."""
_READ_BYTES = 1 << 18
_STDIN = f"/proc/{os.getpid()}/fd/0"


@dataclass(frozen=True, slots=True)
class BlockSettings:
    """How commands get blocks of records as their standard input."""

    ends: RecordEnds
    size_bytes: int
    parts: int | None
    """So many blocks a worker, whatever their size; None: the size counts."""
    records: int | None
    header_lines: int
    files: tuple[str, ...]
    """Of --pipepart; none: standard input is read."""
    deals: bool
    """Whether a command gets many blocks."""
    as_file: bool
    """Whether it gets its block as a file."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How input is cut into blocks."""

    ends: RecordEnds
    size_bytes: int
    """A block has up to so many bytes, or one record."""
    records: int | None = None
    """It has so many records; None: as many as fit."""
    header_lines: int = 0
    """So many lines at the beginning stand before each block."""

    def next_end(self, fd: int, low: int, high: int, *, ended: bool) -> int | None:
        """Return where the block that begins at `low` ends, or None if that is not before `high`.

        `ended`: the input ends at `high`.
        """
        if self.records is not None:
            found = self.ends.after(fd, low, high, self.records)
        else:
            found = None if ended else self.ends.last(fd, low, high)
        return high if found is None and ended else found

    def grown(self) -> Cut:
        """Return one with larger blocks, as a record was longer."""
        return replace(self, size_bytes=math.ceil(self.size_bytes * _GROWS_BY + 1))

    def ends_in(self, fd: int, low: int, high: int, *, ended: bool) -> Iterator[int]:
        """Yield where blocks end, as far as that is known.

        `ended`: the input ends at `high`. As with GNU parallel, what is exactly as long as a block is not yet known to
        be the end.
        """
        window = self.size_bytes
        while low < high:
            is_last = ended and high - low < window
            if not is_last and high - low < window:
                return
            found = self.next_end(fd, low, min(high, low + window), ended=is_last)
            if found is None:
                return
            yield found
            low = found


class Held(Protocol):
    """Something that blocks lie in, or go through."""

    def release(self) -> None:
        """Count one block less."""


class Holder:
    """An open file that several blocks lie in, which is closed with the last of them."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._held = 1

    def take(self) -> None:
        """Count one block more."""
        self._held += 1

    def release(self) -> None:
        """Count one block less."""
        self._held -= 1
        if not self._held:
            with suppress(OSError):
                os.close(self.fd)


@dataclass(frozen=True, slots=True)
class Block:
    """The standard input of one command."""

    input: Input
    holder: Held | None = field(default=None, compare=False)
    arguments: tuple[str, ...] = ("",)

    def release(self) -> None:
        """Let go of it, as its command will not run again."""
        if self.holder is not None:
            self.holder.release()


class Blocks(Protocol):
    """Blocks, one for each command."""

    total: int | None
    """How many there are, if that is known."""
    width: int | None
    """Arguments of a block."""

    def ready(self) -> bool:
        """Tell whether the next block, or the end, is available without waiting."""

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call `call`, from any thread, whenever `ready` may have become true."""

    def close(self) -> None:
        """Read nothing more."""

    def __iter__(self) -> Iterator[Block]:
        """Return an iterator over the blocks."""


class FileBlocks:
    """Byte ranges of files."""

    total: int | None = None
    width: int | None = 1

    def __init__(self, paths: Sequence[str], cut: Cut, *, overshoots: bool) -> None:
        """Take the files.

        Args:
            paths: their names.
            cut: where blocks end.
            overshoots: whether a block ends behind its size, as under --pipepart, not before it.
        """
        self._files = [(path, *_opened(path)) for path in paths]
        self._cut = cut
        self._overshoots = overshoots

    @property
    def size_bytes(self) -> int:
        """The size of all files."""
        return sum(size - start for _, _, start, size in self._files)

    def ready(self) -> bool:
        """Return True, as files make nobody wait."""
        return True

    def when_ready(self, call: Callable[[], None]) -> None:
        """Do nothing, as files make nobody wait."""

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.pop()[1])

    def __iter__(self) -> Iterator[Block]:
        """Yield the ranges."""
        while self._files:
            path, fd, start, size = self._files.pop(0)
            before = _header(fd, start, size, self._cut.header_lines)
            start += len(before)
            while start < size:
                end = self._end(fd, start, size)
                yield Block(Input(path, start, end, before))
                start = end
            os.close(fd)

    def _end(self, fd: int, start: int, size: int) -> int:
        cut = self._cut
        if self._overshoots and cut.records is None:
            return cut.ends.first(fd, start + cut.size_bytes, size)
        while (end := next(self._cut.ends_in(fd, start, size, ended=True), None)) is None:
            if self._cut.size_bytes >= size - start:
                return size
            self._cut = self._cut.grown()
        return end


class PipedBlocks:
    """What arrives in a pipe, in files in memory."""

    total: int | None = None
    width: int | None = 1

    def __init__(self, fd: int, cut: Cut) -> None:
        self._fd = fd
        self._cut = cut
        self._changed = threading.Condition(threading.RLock())
        self._blocks: deque[Block] = deque()
        self._files = 0
        """Files with blocks that were not taken."""
        self._ended = False
        self._closed = False
        self._error: OSError | None = None
        self._call: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None

    def ready(self) -> bool:
        """Tell whether a block, or the end, is here."""
        self._start()
        with self._changed:
            return bool(self._blocks) or self._ended

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call from the reading thread."""
        with self._changed:
            self._call = call
        if self.ready():
            call()

    def close(self) -> None:
        """Read nothing more.

        The thread is a daemon: it may wait for a writer that writes nothing.
        """
        with self._changed:
            self._closed = True
            while self._blocks:
                self._blocks.popleft().release()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks, waiting where none is ready.

        Raises:
            OrchestratorError: the pipe can't be read.
        """
        self._start()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._blocks or self._ended or self._closed)
                if not self._blocks:
                    break
                block = self._blocks.popleft()
                self._changed.notify_all()
            yield block
        if self._error is not None:
            raise OrchestratorError(f"can't read standard input to its end: {self._error.strerror}")

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._read, name="orchestrator-blocks", daemon=True)
            self._thread.start()

    def _read(self) -> None:
        """Run the thread."""
        error = None
        try:
            self._cut_all()
        except OSError as failed:
            error = failed
        with self._changed:
            self._error, self._ended = error, True
            self._tell()

    def _cut_all(self) -> None:
        before, rest = self._header()
        ended = False
        while not ended:
            file = os.memfd_create("orchestrator-block", os.MFD_CLOEXEC)
            have = os.write(file, rest) if rest else 0
            cuts = [0]
            while len(cuts) == 1 and not ended:
                have, ended = self._filled(file, have, self._cut.size_bytes)
                cuts += self._cut.ends_in(file, 0, have, ended=ended)
                if len(cuts) == 1:
                    self._cut = self._cut.grown()
            if ended and cuts[-1] < have:
                cuts.append(have)
            rest = os.pread(file, have - cuts[-1], cuts[-1])
            if not self._put(file, cuts, before):
                return

    def _header(self) -> tuple[bytes, bytes]:
        """Read the first lines, and return them and what was read behind them."""
        data = b""
        while data.count(b"\n") < self._cut.header_lines and (piece := os.read(self._fd, _READ_BYTES)):
            data += piece
        lines = data.split(b"\n", self._cut.header_lines)
        return data[: len(data) - len(lines[-1])], lines[-1]

    def _filled(self, file: int, have: int, want: int) -> tuple[int, bool]:
        """Move data into the file until it has so many bytes, and return how many it has, and whether that is all."""
        while have < want:
            try:
                moved = os.splice(self._fd, file, want - have, offset_dst=have)
            except OSError:  # not a pipe
                data = os.read(self._fd, min(_READ_BYTES, want - have))
                moved = os.pwrite(file, data, have) if data else 0
            if not moved:
                return have, True
            have += moved
        return have, False

    def _put(self, file: int, cuts: list[int], before: bytes) -> bool:
        """Hand out the blocks of a file, and return whether more is wanted."""
        holder, path = Holder(file), f"/proc/{os.getpid()}/fd/{file}"
        os.ftruncate(file, cuts[-1])
        with self._changed:
            for start, end in itertools.pairwise(cuts):
                holder.take()
                is_whole = not (start or before) and end == cuts[-1]
                self._blocks.append(Block(Input(path, start, end, before, is_whole=is_whole), holder))
            holder.release()
            self._tell()
            self._changed.wait_for(lambda: self._closed or len(self._blocks) <= _AHEAD)
            return not self._closed

    def _tell(self) -> None:
        self._changed.notify_all()
        if self._call is not None:
            self._call()


def _opened(path: str) -> tuple[int, int, int]:
    """Return a file's descriptor, where its data begins, and its size.

    Raises:
        ConfigError: it can't be read, or is not a regular file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from None
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise ConfigError(f"--pipepart reads byte ranges, and {path} is not a regular file; use --pipe <{path}")
    start = os.lseek(0, 0, os.SEEK_CUR) if path == _STDIN else 0
    return fd, start, found.st_size


def _header(fd: int, start: int, size: int, lines: int) -> bytes:
    """Return the first lines of a file, as far as they end: a last one that does not is data, as in a pipe."""
    data, end = os.pread(fd, min(size - start, 1 << 20), start) if lines else b"", 0
    for _ in range(lines):
        end = data.find(b"\n", end) + 1 or end
    return data[:end]


def blocks_of(settings: BlockSettings, workers: int) -> Blocks:
    """Return the blocks that --pipe and --pipepart mean.

    Raises:
        ConfigError: a file can't be read.
    """
    cut = Cut(settings.ends, settings.size_bytes, settings.records, settings.header_lines)
    if settings.files:
        files = FileBlocks(settings.files, cut, overshoots=True)
        if settings.parts is None:
            return files
        size = -(-files.size_bytes // (settings.parts * max(1, workers)))
        files.close()
        return FileBlocks(settings.files, replace(cut, size_bytes=max(1, size)), overshoots=True)
    if stat.S_ISREG(os.fstat(0).st_mode):
        return FileBlocks([_STDIN], cut, overshoots=False)
    return PipedBlocks(0, cut)
