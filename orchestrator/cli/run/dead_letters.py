"""The dead letters of the command, which another run can read as its input.

A letter has the record itself if it is small or can't be read a second time (standard input, compressed files): the
text of a line, the dict of a CSV row, the bytes of what can't be decoded. Else it has the record's bytes in the file.

Runs in the coordinator.
"""

# ruff: noqa: PTH113, PTH202
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import os
from functools import partial
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

from orchestrator.cli.session.result_sink import Observer
from orchestrator.engine.recovery.dead_letter_sinks import DeadLetterFile, refuse_unwritable
from orchestrator.engine.recovery.dead_letters import NO_ITEM, DeadLetter, ErrorText, read_dead_letters
from orchestrator.errors import ConfigError
from orchestrator.sources.line_numbers import AT_A_TIME_BYTES, LineNumbers
from workers.records.blocks import Block, ByteRange, Chunk, Origin, Paths, Place
from workers.records.formats.format import FormatError, PlainFile
from workers.records.remote import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from workers.records.blocks import BlockResult, Head, RecordFailure
    from workers.records.formats.format import Format


class Letters(Observer["BlockResult"]):
    """The file that a run's dead letters are written to."""

    saved_as = "letters"

    def __init__(self, path: str, target: str, record_format: Format, *, again: bool, mode: int) -> None:
        """Open the file.

        `again`: the records are dead letters themselves. `mode`: of a file that is made.

        Raises:
            ConfigError: it can't be written to.
        """
        self._path = path
        self._file = DeadLetterFile(path, mode)
        self._target = target
        self._format = record_format
        self._again = again
        self._lines = LineNumbers(AT_A_TIME_BYTES)

    def observe(self, result: BlockResult) -> None:
        """Append the dead letters of a chunk's records.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        for failure in result.failures:
            self._write(failure)

    def _write(self, failure: RecordFailure) -> None:
        held = NO_ITEM if failure.record is None else failure.record
        start, end = failure.extent or (None, None)
        if self._again and held is not NO_ITEM:
            end = None  # it was not read there
        self._file.write(
            DeadLetter(
                held,
                None,
                ErrorText(failure.error, failure.text),
                failure.traceback,
                failure.attempts,
                self._target,
                worker=failure.worker,
                pid=failure.pid,
                exitcode=failure.exitcode,
                place=Place(failure.path, start, end, self._line(failure)),
            )
        )

    def _line(self, failure: RecordFailure) -> int | None:
        """Return the number of the record's line: workers know only the bytes of what they read inside a file."""
        if failure.line is not None or failure.extent is None or self._format.unit != "line":
            return failure.line
        try:
            return self._lines.of(failure.path, failure.extent[0], self._format.line_ends)
        except OSError:
            return None

    def keep_as(self, secret: str) -> None:
        """Let what is written outlive this process."""
        self._file.keep_as(secret)

    def snapshot(self) -> dict[str, Any]:
        """Make last what was written.

        Return how many bytes that is, and how to know the file again.
        """
        return self._file.snapshot()

    def restore(self, state: dict[str, Any] | None) -> None:
        """Continue behind the former content.

        Raises:
            ConfigError: the file holds something, though the resumed run had no dead letters.
        """
        if state is None:
            self._refuse_filled()
        else:
            self._file.restore(state)

    def _refuse_filled(self) -> None:
        if os.path.isfile(self._path) and os.path.getsize(self._path):
            raise ConfigError(
                f"--dead-letter {self._path} holds the dead letters of another run, not of the one that is resumed; "
                "give a new file"
            )

    def empty(self) -> None:
        """Truncate the file: its run starts over."""
        self._file.empty()

    def close(self) -> None:
        """Make what was written durable."""
        self._file.close()

    def remove(self) -> None:
        """Remove the file, as nothing of the run is left."""
        self._file.remove()


def check_letters(path: str, source: str | None, others: dict[str, str], *, resumes: bool) -> None:
    """Refuse a file for dead letters that the run uses for something else, too.

    Args:
        path: where they are to go.
        source: the dead letters that are run again, if that is the input.
        others: paths of this run, by what they are.
        resumes: the run continues with another one, and with its dead letters.

    Raises:
        ConfigError: it is not good.
    """
    refuse_unwritable(path)
    if source is not None and _same(path, source):
        raise ConfigError(f"--dead-letter {path} is the file that --retry-dead reads; give another one")
    for name, other in others.items():
        if other != "-" and _same(path, other):
            raise ConfigError(f"--dead-letter {path} is also {name}; give another file")
    if not resumes and os.path.isfile(path) and os.path.getsize(path):
        raise ConfigError(
            f"--dead-letter {path} holds the dead letters of an earlier run; run them again with --retry-dead {path}, "
            "or give another file"
        )


def _same(path: str, other: str) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


class LetterSource:
    """The records of dead letters as chunks, one each, in the order of the file."""

    wait_s = None

    def __init__(self, path: str, record_format: Format) -> None:
        """Check that the letters can be run, by reading them once.

        Raises:
            ConfigError: the file is none of dead letters, or one of them can't be run.
        """
        self._path = path
        self._format = record_format
        self._left: dict[str, int] = {}  # chunks that are still to come of a file
        self._heads: dict[str, Head | None] = {}
        count = 0
        for number, letter in enumerate(read_dead_letters(path), 1):
            self._check(letter, number)
            name = _path_of(letter, path)
            self._left[name] = self._left.get(name, 0) + 1
            count = number
        self.names = list(self._left)
        """The files that the records are from."""
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self._given = dict.fromkeys(self.names, 0)
        self._count = count
        self.total_bytes: int | None = os.path.getsize(path)
        self._chunks = self._cut()

    def chunk_count(self) -> int:
        """Return how many chunks there will be."""
        return self._count

    def ready(self) -> bool:
        """Tell that the next chunk is available without waiting."""
        return True

    def when_ready(self, call: Callable[[], None]) -> None:
        """Stop waiting."""

    def close(self) -> None:
        """Close the file."""
        self._chunks.close()

    def __iter__(self) -> LetterSource:
        return self

    def __next__(self) -> Chunk:
        return next(self._chunks)

    def _cut(self) -> Generator[Chunk]:
        share = (self.total_bytes or 0) // max(1, self._count)
        for seq, letter in enumerate(read_dead_letters(self._path)):
            name = _path_of(letter, self._path)
            self._left[name] -= 1
            size = share if seq + 1 < self._count else (self.total_bytes or 0) - share * seq
            last = not self._left[name]
            origin = Origin(seq, name, self._numbers[name], self._given[name], last, size)
            self._given[name] += 1
            yield self._chunk(letter, origin)

    def _chunk(self, letter: DeadLetter, origin: Origin) -> Chunk:
        place = letter.place or Place(self._path)
        if self._format.unit == "file":
            return Paths(origin, (place.path if letter.held is NO_ITEM else str(letter.item),))
        if letter.held is NO_ITEM and place.start is None:
            why = f"{letter.error.text}; it is unknown which of its records ran, so run the whole file again"
            return Block(origin, b"", 0, 1, unreadable=why)
        if letter.held is NO_ITEM:
            head, start, end = self._head(place.path), place.start or 0, place.end or 0
            return ByteRange(origin, start, end, on_boundaries=True, head=head)
        data, head = self._format.of_file(place.path).letter(letter.item, partial(self._head, place.path))
        return Block(origin, PickleBuffer(data), place.start or 0, place.line or 1, head)

    def _head(self, path: str) -> Head | None:
        if path not in self._heads:
            try:
                with open(path, "rb") as file:  # noqa: PTH123
                    plain = PlainFile(path, file.fileno(), os.fstat(file.fileno()).st_size)
                    self._heads[path] = self._format.of_file(path).head_of(plain)
            except (OSError, FormatError):
                self._heads[path] = None
        return self._heads[path]

    def _size(self, path: str) -> int:
        """Return the end of a file, in what its format counts."""
        if self._format.unit != "row":
            return os.path.getsize(path)
        with open(path, "rb") as file:  # noqa: PTH123
            return self._format.size_of(PlainFile(path, file.fileno(), os.fstat(file.fileno()).st_size))

    def _check(self, letter: DeadLetter, number: int) -> None:
        where, place = f"{self._path}:{number}", letter.place
        if letter.is_pickled:
            raise ConfigError(
                f"{where} holds a pickled object, which `run` never writes and doesn't load; "
                "in Python: pool.map(fn, (letter.item for letter in read_dead_letters(path)))"
            )
        if letter.held is not NO_ITEM:
            self._check_item(letter.item, where)
            return
        if place is not None and place.start is None and self._format.unit != "file":
            return  # a whole file that could not be read: it fails again, so that it stays among the dead letters
        if place is None or (self._format.unit != "file" and place.end is None):
            raise ConfigError(f"{where} has neither a record nor its place in a file, so it can't be run again")
        if is_url(place.path):
            return
        try:
            size = self._size(place.path)
        except (OSError, FormatError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"{where} is a record of {place.path}, which can't be read: {why}") from None
        if place.end is not None and size < place.end:
            what = "rows" if self._format.unit == "row" else "bytes"
            raise ConfigError(
                f"{where} is {what} {place.start} to {place.end} of {place.path}, which has only {size:,} {what}: the "
                "file has changed since"
            )

    def _check_item(self, item: Any, where: str) -> None:
        if isinstance(item, self._format.holds):
            return
        hint = "; was it read with another --format?" if isinstance(item, dict | bytes | str) else ""
        kind = type(item).__name__
        name = self._format.name
        raise ConfigError(f"{where} holds a record of type {kind}, which --format {name} doesn't have{hint}")


def _path_of(letter: DeadLetter, own: str) -> str:
    return own if letter.place is None else letter.place.path
