"""Writes out what commands wrote, never mixed, in order or as they end.

Owner of the state: the coordinator's thread. Small outputs wait for their turn in memory, up to a limit, large ones in
the files that the commands wrote to; a limit on both holds further commands back.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Literal, Protocol

from orchestrator.cli.session.result_sink import Observer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.cli.exec.feed import Running, Settled
    from orchestrator.cli.session.console import Console
    from workers.commands.runner import Command, CommandResult

_SMALL_BYTES = 1 << 16
_PIECE_BYTES = 1 << 20
_MOST_HELD_BYTES = 64 << 20
_MOST_HELD_FILES = 256
"""Far below the usual limit of 1,024 descriptors."""
_MOST_HELD = 100_000


class ByteSink(Protocol):
    """The receiver of standard output."""

    in_place: bool
    """Whether what was written can't be taken back."""

    @property
    def is_final(self) -> bool:
        """Whether the output is whole, under its final name."""

    def write(self, data: memoryview | bytes) -> None:
        """Append.

        Raises:
            OrchestratorError: it can't be written to.
        """

    def close(self) -> None:
        """Make the output final."""

    def abort(self) -> None:
        """Leave nothing unfinished."""


@dataclass(slots=True)
class Output:
    """The content of one of a command's two files."""

    data: bytes
    file: IO[bytes] | None
    """None: it is all in `data`."""
    head: bytes = b""
    """Stands before it."""

    def __bool__(self) -> bool:
        """Tell whether there is anything."""
        return bool(self.data or self.head) or self.file is not None

    def pieces(self) -> Iterator[bytes]:
        """Yield the text, piece by piece."""
        if self.head:
            yield self.head
        if self.file is None:
            if self.data:
                yield self.data
            return
        at = 0
        while piece := os.pread(self.file.fileno(), _PIECE_BYTES, at):
            yield piece
            at += len(piece)

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()


def _output(file: IO[bytes]) -> Output:
    """Take over a file's content, and the file itself only if it is large."""
    size = os.fstat(file.fileno()).st_size
    if size > _SMALL_BYTES:
        return Output(b"", file)
    data = os.pread(file.fileno(), size, 0) if size else b""
    file.close()
    return Output(data, None)


@dataclass(frozen=True, slots=True)
class _Written:
    """The output of one command."""

    out: Output
    err: Output
    tag: bytes
    """What goes before every line."""

    @property
    def held_bytes(self) -> int:
        return len(self.out.data) + len(self.err.data)

    @property
    def held_files(self) -> int:
        return (self.out.file is not None) + (self.err.file is not None)

    def close(self) -> None:
        self.out.close()
        self.err.close()


class GroupedOutput(Observer["Settled"]):
    """Writes out what commands wrote, one command after the other."""

    def __init__(
        self,
        sink: ByteSink,
        console: Console,
        *,
        ordered: bool,
        to_stdout: bool,
        done: Collection[int] = (),
        tag: Callable[[CommandResult, Command], bytes] | None = None,
        head: Callable[[CommandResult], bytes] | None = None,
        kept: Callable[[IO[bytes]], bytes] | None = None,
    ) -> None:
        """Take the sink of standard output.

        Standard error goes to ours, past the bars.

        Args:
            sink: for standard output.
            console: to be told before stderr, or a terminal, is written to.
            ordered: hold outputs until those of all commands before are out.
            to_stdout: whether the sink is standard output.
            done: the commands that write nothing in this run, as one before it has run them.
            tag: returns what goes before every line of a command's output.
            head: returns what goes before its output, and is tagged with it.
            kept: keeps what a command wrote in a file of its own, and returns its name, which is written instead.
        """
        self._sink = sink
        self._console = console
        self._ordered = ordered
        self._held: dict[int, _Written] = {}
        self._held_bytes = 0
        self._held_files = 0
        self._next = 0
        self._to_stdout = to_stdout
        self._done = done
        self._tag = tag
        self._head = head
        self._kept = kept

    @property
    def has_room(self) -> bool:
        """Whether one more command may begin while others wait for their turn."""
        return (
            self._held_bytes < _MOST_HELD_BYTES and self._held_files < _MOST_HELD_FILES and len(self._held) < _MOST_HELD
        )

    def observe(self, settled: Settled) -> None:
        """Take the output of a command that ended by itself, and drop that of one that was killed with the run."""
        if settled.result.ended:
            settled.running.close()
        else:
            result, command = settled.result, settled.running.command
            tag = b"" if self._tag is None else self._tag(result, command)
            self.put(settled.running, tag, b"" if self._head is None else self._head(result))

    def put(self, running: Running, tag: bytes = b"", head: bytes = b"") -> None:
        """Take the output of a command that has ended."""
        command = running.command
        if self._kept is not None:
            out = Output(self._kept(running.out) + b"\n", None)
            running.out.close()
        else:
            out = _output(running.out)
        out.head = head
        written = _Written(out, _output(running.err), tag)
        if not self._ordered:
            self._write(written)
            return
        self._held[command.seq] = written
        self._held_bytes += written.held_bytes
        self._held_files += written.held_files
        self._release()

    def flush(self) -> None:
        """Write all that waits, in order, whatever is missing in between."""
        for seq in sorted(self._held):
            self._pass_on(seq)

    def drop(self) -> None:
        """Drop all that waits."""
        while self._held:
            self._held.popitem()[1].close()

    def _release(self) -> None:
        """Write what has its turn."""
        while self._next in self._held or self._next in self._done:
            if self._next in self._held:
                self._pass_on(self._next)
            self._next += 1

    def _pass_on(self, seq: int) -> None:
        written = self._held.pop(seq)
        self._held_bytes -= written.held_bytes
        self._held_files -= written.held_files
        self._write(written)

    def _write(self, written: _Written) -> None:
        try:
            if written.out and not self._to_stdout:
                for piece in _tagged(written.tag, written.out.pieces()):
                    self._sink.write(piece)
            elif written.out:
                self._show("stdout", written.out, written.tag, self._sink.write)
            if written.err:
                self._show("stderr", written.err, written.tag, to_stderr)
        finally:
            written.close()

    def _show(
        self, stream: Literal["stdout", "stderr"], output: Output, tag: bytes, write: Callable[[bytes], object]
    ) -> None:
        """Write where bars may be drawn.

        There an unfinished last line is ended, or they would cover it.
        """
        with self._console.aside(stream) as with_bars:
            piece = b""
            for piece in _tagged(tag, output.pieces()):
                write(piece)
            if with_bars and not piece.endswith(b"\n"):
                write(b"\n")


def _tagged(tag: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the pieces with the tag before every line."""
    if not tag:
        yield from pieces
        return
    at_start = True
    for piece in pieces:
        *whole, rest = piece.split(b"\n")
        lines = [*whole, rest] if rest else whole
        yield (tag if at_start else b"") + (b"\n" + tag).join(lines) + (b"" if rest else b"\n")
        at_start = not rest


def to_stderr(data: bytes) -> None:
    """Write past Python's buffers.

    A reader of stderr that has left ends nothing.
    """
    with suppress(OSError, ValueError):
        sys.stderr.flush()
        view = memoryview(data)
        while view:
            view = view[os.write(2, view) :]
