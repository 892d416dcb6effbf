"""The messages between the file command and its workers: blocks, results, failures.

All are frozen and are made in one process and read in another; nothing is ever changed in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pickle import PickleBuffer

    from workers.errors.capture import ExceptionRecord
    from workers.records.identity import Identity
    from workers.records.remote import RemoteIdentity


@dataclass(frozen=True, slots=True)
class Origin:
    """The place of a chunk in the run."""

    seq: int
    """0, 1, 2 … over the whole run."""
    path: str
    """The input file, as the user wrote it; "-" for standard input."""
    file_index: int
    """Which of the inputs."""
    index_in_file: int
    """0, 1, 2 … in this file."""
    last_of_file: bool
    """No chunk of this file follows."""
    size_bytes: int
    """How much of the input this chunk is, in the input's own (maybe compressed) bytes; for progress."""
    divided: bool = False
    """It is a part of the chunk of this `seq`: its output is put together with the others', and compressed then."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a file begins with that is not a record: the header row of CSV."""

    size_bytes: int = 0
    """With blank lines before it, a byte order mark and its line end."""
    line_ends: int = 0
    names: tuple[str, ...] | None = None
    """The columns, each name once; None: they have no names."""
    repeated: tuple[str, ...] = ()
    """Names that stand there more than once."""
    delimiter: str = ","


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` to `end` of a plain file, read by the worker itself.

    Rows, where a format counts these.
    """

    origin: Origin
    start: int
    end: int
    on_boundaries: bool = False
    """True: `start` and `end` are record boundaries. False: records that begin inside belong to it."""
    head: Head | None = None
    """What the format has found at the beginning of this file, as the columns of CSV."""
    max_record_bytes: int = 0
    """A longer record is left out and fails; 0: there is no limit."""
    too_long: bool = False
    """It is one record that is too long: it is not read."""
    file: Identity | RemoteIdentity | None = None
    """The file that the path meant when the run began; None: whatever has the name is read."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records that the coordinator has read: from a compressed file, a pipe or standard input."""

    origin: Origin
    data: PickleBuffer | memoryview | bytes
    start: int
    """Byte offset in the (decompressed) file."""
    first_line: int
    """Number of the first line, from 1."""
    head: Head | None = None
    max_record_bytes: int = 0
    too_long: bool = False
    """It stands for one record that is too long, whose bytes were not kept."""
    unreadable: str | None = None
    """It stands for the rest of a file that can't be read; this is why."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Names of files, each of which is a record."""

    origin: Origin
    paths: tuple[str, ...]


Chunk = ByteRange | Block | Paths


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a record."""

    path: str
    """For the format "files", the record itself."""
    start: int | None = None
    """Its first byte in the (decompressed) file, from 0; None: the record is not part of a file, or not known."""
    end: int | None = None
    """Behind its last byte."""
    line: int | None = None
    """From 1; None where only the bytes are known."""
    unit: str = "line"
    """What `line` counts."""

    def describe(self) -> str:
        """Describe the place, as "a.txt, line 3"."""
        name = "standard input" if self.path == "-" else self.path
        if self.line is not None:
            return f"{name}, {self.unit} {self.line}"
        return name if self.start is None else f"{name}, bytes {self.start} to {self.end}"


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """A record whose function raised, among the results of a chunk."""

    index: int
    """Among the records of the chunk."""
    place: Place
    value: Any
    """The record."""
    what: ExceptionRecord
    raw: Any
    """The record before it was parsed."""


class PartlyFailedError(Exception):
    """Some records of a chunk failed, and the coordinator decides about them.

    Args:
        pieces: what came of the chunk, in order: a `FailedRecord` for each record that failed, and for each run of
            records between them what the function gave.
    """

    def __init__(self, pieces: list[Any]) -> None:
        super().__init__(pieces)
        self.pieces = pieces


@dataclass(frozen=True, slots=True)
class RecordFailure:
    """One record that could not be transformed."""

    path: str
    line: int | None
    """Absolute, from 1; None where the worker knows only the byte offset."""
    byte_offset: int | None
    """Where in the (decompressed) file the record, or the undecodable byte, begins."""
    error: str
    """The exception's type."""
    text: str
    traceback: str
    """The user's own frames; empty if the exception was not raised in user code."""
    attempts: int = 1
    """How often the record was tried."""
    extent: tuple[int, int] | None = None
    """First byte of the record in the (decompressed) file, and the one behind its last; if it is known."""
    record: Any = None
    """The record before it was parsed, where it is to be kept."""
    worker: int | None = None
    """The id of the worker that the record killed, or that was ended because of it; and its `pid`."""
    pid: int | None = None
    exitcode: int | None = None
    """Of that worker; negative: the signal that killed it."""


class RecordError(Exception):
    """A record failed, and the run is to stop at the first failure."""

    def __init__(self, failure: RecordFailure, origin: Origin) -> None:
        super().__init__(failure, origin)
        self.failure = failure
        self.origin = origin
        self.began_s: float | None = None
        """Unix time at which the worker began with the chunk; None: nobody knows."""
        self.run_s = 0.0

    def __str__(self) -> str:
        failure = self.failure
        place = f"line {failure.line}" if failure.line is not None else f"byte {failure.byte_offset}"
        if failure.line is None and failure.byte_offset is None:
            return f"{failure.path}: {failure.error}: {failure.text}"
        return f"{failure.path}, {place}: {failure.error}: {failure.text}"


@dataclass(frozen=True, slots=True)
class BlockResult:
    """The outcome of one chunk."""

    origin: Origin
    payload: PickleBuffer | memoryview | bytes | None
    """The output, ready to be written; None if there is none."""
    records_in: int
    records_out: int
    dropped: int
    failed: int
    failures: tuple[RecordFailure, ...]
    """The first failures in full, `KEPT_FAILURES` at most; `failed` counts them all."""
    names: tuple[str, ...] | None
    """The columns of the payload's rows, if it has any; of an output without rows, those of the input."""
    worker: int
    pid: int
    started_s: float
    """Unix time at which the worker began."""
    run_s: float
    cpu_s: float
    start: int
    """Byte offset of the first record in the (decompressed) file."""
    read_bytes: int
    """Size of the records before decoding."""


KEPT_FAILURES = 20
