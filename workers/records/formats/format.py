r"""The protocol of a format: it cuts files into ranges, reads a range in a worker, and writes results.

    file --cut--> ranges --read--> Raw --split--> records        results --encoder--> payload --composer--> output
         coordinator         worker                                       worker             coordinator

A format is a frozen dataclass in a module of its own: here under `kinds/`, or in another package that names it as an
entry point. Its fields are its options, and it travels to the workers with each call. The methods here do what text
needs whose lines are its records; most formats change one or two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from workers.errors.describe import describe
from workers.errors.nearest import did_you_mean
from workers.records.blocks import Block
from workers.records.formats import encodings
from workers.records.formats.composing import Composer
from workers.records.formats.cutting import LineCutter
from workers.records.formats.text import decoded, lines_of, without_bad, without_long
from workers.records.line_ends import LineEnds
from workers.records.ranges import Handle, Raw, read_block, read_range
from workers.records.records import Records

if TYPE_CHECKING:
    from workers.records.blocks import ByteRange, Head
    from workers.records.formats.cutting import Cutter
    from workers.records.formats.output import Encoder


_ERRORS = ("strict", "replace")


class FormatError(Exception):
    """A format can't be used like this.

    The message says why.
    """


class PlainFile(NamedTuple):
    """A regular file that is read as it is."""

    path: str
    fd: Handle
    size_bytes: int


class Range(NamedTuple):
    """A part of a file that a worker reads."""

    start: int
    """The first byte, or what else the format counts."""
    end: int
    size_bytes: int
    """For progress."""
    exact: bool = True
    """Whether `start` and `end` lie between records; else records that begin inside belong to it."""
    too_long: bool = False
    """It is one record that is too long: it is not read."""


class Cuts(NamedTuple):
    """What a file was cut into."""

    head: Head | None
    ranges: Iterator[Range]
    """At least one, as long as the file is not empty."""


@dataclass(frozen=True)
class Format:
    """One format, with its options.

    Raises:
        FormatError: an option can't be what it is.
    """

    encoding: str = "utf-8"
    """Of text."""
    errors: str = "strict"
    """For bytes that are not of the encoding: "strict" fails, "replace" puts U+FFFD there."""

    name: ClassVar[str]
    told: ClassVar[str]
    """What a record is, for `--help`."""
    suffixes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Endings of the names of its files -> the options that these mean."""
    reads: ClassVar[bool] = True
    writes: ClassVar[bool] = False
    line_ends: ClassVar[LineEnds] = LineEnds()
    is_text: ClassVar[bool] = True
    unit: ClassVar[str] = "line"
    """What a record's place is told in: "line", "row", "block", or "file" for whole files."""
    is_raw: ClassVar[bool] = False
    """Whether bytes that a function makes of a record are written without a line end."""
    streams: ClassVar[bool] = True
    """Whether it can be read from the front: from a pipe, or compressed."""
    resumes: ClassVar[bool] = True
    """Whether an output can be continued to the byte."""
    compresses: ClassVar[bool] = True
    """Whether outputs are compressed if their names say so."""
    least_block_bytes: ClassVar[int] = 256
    """A smaller range costs more by itself than it is worth."""
    holds: ClassVar[tuple[type, ...]] = (object,)
    """The types of records that a dead letter may have."""

    def __post_init__(self) -> None:
        """Check the options."""
        if not isinstance(self.encoding, str):
            raise FormatError(f"encoding must be a text, not {describe(self.encoding)}")
        try:
            object.__setattr__(self, "encoding", encodings.normalized(self.encoding))
        except (LookupError, ValueError):
            raise FormatError(f"unknown encoding of text: {describe(self.encoding)}") from None
        if self.errors not in _ERRORS:
            hint = did_you_mean(self.errors, _ERRORS)
            raise FormatError(f"errors must be 'strict' or 'replace', not {describe(self.errors)}{hint}")

    # ---- the coordinator: cut -------------------------------------------------------------------------------------

    @property
    def recodes(self) -> bool:
        """Whether files are made UTF-8 before anything else, as their bytes tell no line ends."""
        return self.is_text and not encodings.is_bytewise(self.encoding)

    def of_file(self, path: str) -> Format:  # noqa: ARG002 - by default a name says nothing
        """Return the format as it is in a file of this name."""
        return self

    def cut(self, file: PlainFile, block_bytes: int, most_bytes: int) -> Cuts:  # noqa: ARG002 - workers look for long records
        """Cut a plain file.

        Args:
            file: what is to be cut; it is not empty.
            block_bytes: about the size of a range.
            most_bytes: of a record; 0: there is no limit.

        Raises:
            OSError: it can't be read.
            FormatError: it is no file of this format.
        """
        size = file.size_bytes
        ends = ((start, min(start + block_bytes, size)) for start in range(0, size, block_bytes))
        return Cuts(None, (Range(start, end, end - start, exact=False) for start, end in ends))

    def ranges_of(self, size_bytes: int, block_bytes: int) -> int | None:
        """Return how many ranges a plain file will be cut into, or None if only reading it tells."""
        return max(1, -(-size_bytes // block_bytes))

    def cutter(self, block_bytes: int, most_bytes: int) -> Cutter:  # noqa: ARG002 - the pieces that come have that size
        """Return what cuts a stream between records.

        Args:
            block_bytes: about the size of a block.
            most_bytes: a longer record is not kept; 0: there is no limit.
        """
        return LineCutter(most_bytes, self.line_ends)

    def head_of(self, file: PlainFile) -> Head | None:  # noqa: ARG002 - by default there is none
        """Return what the file begins with that is not a record."""
        return None

    def size_of(self, file: PlainFile) -> int:
        """Return the end of the file, in what `Range` counts."""
        return file.size_bytes

    # ---- the worker: read -----------------------------------------------------------------------------------------

    def read(self, chunk: ByteRange | Block) -> Raw:
        """Return what a chunk holds.

        Raises:
            OSError: the file can't be read.
        """
        text = self.is_text and (self.recodes or self.encoding == "utf-8")  # else there is no byte order mark
        if isinstance(chunk, Block):
            return read_block(chunk, text=text)
        return read_range(chunk, text=text, line_end=self.line_ends.end)

    def split(self, raw: Raw, head: Head | None, *, skip: bool) -> Records:
        """Cut what was read into records.

        Args:
            raw: whole records.
            head: of the file.
            skip: a line that is not a record is put into `bad` instead of raised.

        Raises:
            SplitError: a line is not a record.
        """
        if raw.too_long or (raw.max_record_bytes and len(raw.data) > raw.max_record_bytes):
            return without_long(raw, self.line_ends, lambda rest: self.split(rest, head, skip=skip), skip=skip)
        if not len(raw.data):
            return Records([])
        encoding = "utf-8" if self.recodes else self.encoding
        text, bad = decoded(raw, encoding, self.encoding, self.errors, self.line_ends, skip=skip)
        if bad:
            return self.without_bad(text, bad, raw, head)
        return self.records_of(text, head)

    def records_of(self, text: str, head: Head | None) -> Records:  # noqa: ARG002 - lines need none
        """Cut text into records."""
        return Records(lines_of(text, self.line_ends.end.decode()), line_end=self.line_ends.end)

    def without_bad(self, text: str, bad: list[Any], raw: Raw, head: Head | None) -> Records:  # noqa: ARG002 - as above
        """Cut text into records, without the lines that could not be decoded, which are empty in it."""
        lines = lines_of(text, self.line_ends.end.decode())
        return without_bad(self.records_of("", head), lines, bad, blank_too=False)

    # ---- dead letters ---------------------------------------------------------------------------------------------

    def letter(self, item: Any, head: Callable[[], Head | None]) -> tuple[bytes, Head | None]:  # noqa: ARG002 - as above
        """Return a record as it would stand in a file, and that file's head.

        `head` reads that of the file which the record is from.
        """
        return as_bytes(item).removesuffix(self.line_ends.end) + self.line_ends.end, None

    # ---- writing --------------------------------------------------------------------------------------------------

    def encoder(self) -> Encoder:
        """Return what makes a payload of the results of one block.

        In the worker.
        """
        raise FormatError(f"{self.name} is a format to read, not to write")

    def composer(self, compression: str | None) -> Composer:  # noqa: ARG002 - lines are written as they come
        """Return what makes one output of payloads, which are compressed like this.

        In the coordinator.
        """
        return Composer()


def column_names(option: str, given: Any) -> tuple[str, ...]:
    """Return the names of columns that an option has, as a sequence or as "a,b".

    Raises:
        FormatError: they are no names, or one stands there twice.
    """
    try:
        names = tuple(given.split(",") if isinstance(given, str) else given)
    except TypeError:
        names = ()
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise FormatError(f"{option} must be names of columns, each of them once, not {describe(given)}")
    return names


def as_bytes(item: Any) -> bytes:
    """Return a text, or bytes, as bytes."""
    return item if isinstance(item, bytes) else str(item).encode("utf-8", "surrogatepass")
