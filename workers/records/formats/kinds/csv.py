r"""CSV, in the dialects that are about: the delimiter, the quotation mark, and with or without a header row.

A row with fewer fields than there are columns has None for those that are missing; one with more has the others as a
list under None, as csv.DictReader gives them. Without a header a row is the list of its fields, as many as it has.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar

from workers.errors.describe import describe
from workers.records import file_names
from workers.records.blocks import Head
from workers.records.formats.cutting import Cut, Pending
from workers.records.formats.format import Cuts, Format, FormatError, PlainFile, Range, as_bytes, column_names
from workers.records.formats.registry import register
from workers.records.formats.rows.columns import Columns, RowEncoder, Rows
from workers.records.formats.rows.ends import RowEnds, row_spans_of
from workers.records.formats.rows.reading import CountedLines, dict_rows, distinct, lift_field_limit
from workers.records.line_ends import LineEnds
from workers.records.ranges import BOM, read_at
from workers.records.records import Records, Span

if TYPE_CHECKING:
    from workers.records.ranges import Raw

_HEAD_BYTES = 64 * 1024
"""A header is looked for here first, before in all that there is."""
_CANDIDATES = ",;\t|"
"""What "auto" takes for a delimiter."""


@register
@dataclass(frozen=True)
class Csv(Format):
    """A record is a dict for each row, or a list where columns have no names."""

    delimiter: str | None = None
    """One ASCII character; "auto": as the beginning of each file tells; None: a comma, or a tab in files .tsv."""
    quote: str | None = '"'
    """One ASCII character; "none": fields are never quoted."""
    header: bool | tuple[str, ...] = True
    """Whether the first row names the columns; or these names, and the first row is a record."""

    name: ClassVar[str] = "csv"
    told: ClassVar[str] = "a dict per row"
    suffixes: ClassVar[Mapping[str, Mapping[str, Any]]] = {".csv": {}, ".tsv": {"delimiter": "\t"}}
    writes: ClassVar[bool] = True
    line_ends: ClassVar[LineEnds] = LineEnds(b"\n", returns=True)
    holds: ClassVar[tuple[type, ...]] = (dict, list, str, bytes)

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        delimiter = _character("delimiter", self.delimiter, {"auto": "auto", "tab": "\t", "\\t": "\t"})
        quote = _character("quote", self.quote, {"none": None, "": None})
        if quote is not None and quote == delimiter:
            raise FormatError(f"the delimiter and the quotation mark are both {quote!r}; give another --quote (quote=)")
        object.__setattr__(self, "delimiter", delimiter)
        object.__setattr__(self, "quote", quote)
        if not isinstance(self.header, bool):
            object.__setattr__(self, "header", column_names("header", self.header))

    def of_file(self, path: str) -> Csv:
        """Return the format with the delimiter that the name of a file tells, if none is given."""
        tab = self.delimiter is None and file_names.ending_of(path) == ".tsv"
        return replace(self, delimiter="\t") if tab else self

    # ---- cut ------------------------------------------------------------------------------------------------------

    def cut(self, file: PlainFile, block_bytes: int, most_bytes: int) -> Cuts:
        """Cut between rows, as far as the file is read."""
        head = self.head_of(file)
        return Cuts(head, self._ranges(file, head, block_bytes, most_bytes))

    def ranges_of(self, size_bytes: int, block_bytes: int) -> int | None:  # noqa: ARG002 - whatever they are
        """Return None, as rows have any length."""
        return None

    def cutter(self, block_bytes: int, most_bytes: int) -> CsvCutter:  # noqa: ARG002 - pieces have that size
        """Return what takes the header off and cuts behind rows."""
        return CsvCutter(self, most_bytes)

    def head_of(self, file: PlainFile) -> Head:
        """Return the columns of a file, and its delimiter."""
        wanted = _HEAD_BYTES
        while True:
            data = read_at(file.fd, 0, min(wanted, file.size_bytes))
            head = self.head_in(data, ended=len(data) < wanted)
            if head is not None:
                return head
            wanted *= 2

    def head_in(self, data: bytes, *, ended: bool) -> Head | None:
        """Return the head of a file that begins with these bytes.

        None: it may continue behind them, which are not the whole file.
        """
        lift_field_limit()
        text = data.removeprefix(BOM) if self.encoding == "utf-8" or self.recodes else data
        before = len(data) - len(text)
        if self.delimiter == "auto" and not ended and len(data) < _HEAD_BYTES:
            return None
        delimiter = _sniffed(text, self.quote) if self.delimiter == "auto" else self.delimiter or ","
        if self.header is not True:
            return Head(before, 0, self.header or None, (), delimiter)
        lines = CountedLines(text)
        names = next(filter(None, self._reader(lines, delimiter)), [])
        open_end = lines.exhausted or (lines.size_bytes == len(text) and not text.endswith(b"\n"))
        if open_end and not ended:
            return None
        names = [self._text_of(name) for name in names]
        repeated = tuple(name for name, n in Counter(names).items() if n > 1)
        return Head(before + lines.size_bytes, lines.line_ends, distinct(names), repeated, delimiter)

    def row_ends(self, delimiter: str) -> RowEnds:
        """Return what finds the ends of rows."""
        return RowEnds(delimiter, self.quote)

    def _ranges(self, file: PlainFile, head: Head, block_bytes: int, most: int) -> Iterator[Range]:
        begin, size = head.size_bytes, file.size_bytes
        first = True
        for start, end, too_long in row_spans_of(file, self.row_ends(head.delimiter), begin, block_bytes, most):
            # The header counts as read with the first.
            yield Range(start, end, end - (0 if first else start), too_long=too_long)
            first = False
        if first:
            yield Range(size, size, size)

    # ---- read -----------------------------------------------------------------------------------------------------

    def records_of(self, text: str, head: Head | None) -> Records:
        """Read rows as csv.DictReader does, or as csv.reader if the columns have no names."""
        lift_field_limit()
        head = head or Head(names=())
        reader = self._reader(io.StringIO(text, newline=""), head.delimiter)
        rows: list[Any] = list(filter(None, reader)) if head.names is None else list(dict_rows(reader, head.names))
        find = partial(self._row_spans, head.delimiter)

        @cache
        def spans() -> list[Span]:
            return find(text.encode("utf-8", "surrogateescape"))

        return Records(rows, line_index=lambda index: spans()[index].line, find_rows=find)

    def without_bad(self, text: str, bad: list[Any], raw: Raw, head: Head | None) -> Records:  # noqa: ARG002 - its lines are not its rows
        """Leave out the rows with bytes that can't be decoded.

        A row may have several lines.
        """
        encoding = "utf-8" if self.recodes else self.encoding
        records = self.records_of(str(raw.data, encoding, "surrogateescape"), head)
        kept, gone = [], []
        for index, row in enumerate(records.values):
            try:
                "".join(map(_flat_text, row.values() if isinstance(row, dict) else row)).encode()
            except UnicodeEncodeError:
                line = records.line_index(index)
                gone.append(next((error for error in bad if error.line_index >= line), bad[-1]))
            else:
                kept.append(index)

        def find_rows(data: bytes) -> list[Span]:
            spans = records.spans(data)
            return [spans[i] for i in kept]

        values = [records.values[i] for i in kept]
        return Records(values, None, lambda i: records.line_index(kept[i]), gone, find_rows)

    def _row_spans(self, delimiter: str, data: bytes) -> list[Span]:
        """Return where each row stands that is not blank."""
        taken, found = CountedLines(data), []
        line, start = 0, 0
        for row in self._reader(taken, delimiter):
            if row:
                found.append(Span(line, start, taken.size_bytes))
            line, start = taken.line_ends, taken.size_bytes
        return found

    def _reader(self, lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
        if self.quote is None:
            return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, quotechar=None)
        return csv.reader(lines, delimiter=delimiter, quotechar=self.quote)

    def _text_of(self, name: str) -> str:
        encoding = "utf-8" if self.recodes else self.encoding
        return name.encode("latin-1").decode(encoding, "surrogateescape")

    # ---- dead letters ---------------------------------------------------------------------------------------------

    def letter(self, item: Any, head: Callable[[], Head | None]) -> tuple[bytes, Head | None]:
        """Return a row as it must have been read."""
        quote = self.quote
        if isinstance(item, dict):
            names = tuple(name for name in item if name is not None)
            values = [item[name] for name in names if item[name] is not None] + list(item.get(None, ()))
            found = Head(names=names, delimiter=self._own_delimiter)
        elif isinstance(item, list):
            values, found = item, Head(delimiter=self._own_delimiter)
        else:
            return as_bytes(item) + b"\n", head()
        line = Rows(self._own_delimiter, quote).line(values)
        return line.encode("utf-8" if self.recodes else self.encoding, "surrogatepass"), found

    @property
    def _own_delimiter(self) -> str:
        return "," if self.delimiter in {None, "auto"} else str(self.delimiter)

    # ---- writing --------------------------------------------------------------------------------------------------

    def encoder(self) -> RowEncoder:
        """Return what writes a row for a dict or a list."""
        return RowEncoder(self._own_delimiter)

    def composer(self, compression: str | None) -> Columns:
        """Return what writes the header row once, and checks that all blocks have its columns."""
        return Columns(compression, self._own_delimiter)


class CsvCutter:
    """Takes the header row off and cuts behind rows."""

    text = True

    def __init__(self, dialect: Csv, max_record_bytes: int) -> None:
        """Take the dialect, and the most bytes that a record may have.

        0: any.
        """
        self.head: Head | None = None
        self._dialect = dialect
        self._first: list[bytes] = []
        self._pending = Pending(max_record_bytes, dialect.line_ends)
        self._rows = RowEnds()
        self._wanted = 1
        """Bytes with which it is worth looking for the end of the header again: it may have a long quoted field."""

    def feed(self, piece: bytes) -> list[Cut]:
        """Add a piece, and return the rows that are whole now, as one block."""
        if self.head is None:
            self._first.append(piece)
            piece = self._behind_head(ended=False)
            if self.head is None:
                return []
        return self._rows_in(piece)

    def _rows_in(self, piece: bytes) -> list[Cut]:
        found: list[Cut] = []
        if self._rows.ended_before(piece) and self._pending:
            found.append(self._pending.take(b""))
        if self._pending.too_long and (end := self._rows.copy().first_in(piece)):
            self._rows.last_in(piece[:end])
            found.append(self._pending.take(piece[:end]))
            piece = piece[end:]
        cut = self._rows.last_in(piece)
        if cut:
            found.append(self._pending.take(memoryview(piece)[:cut]))
        self._pending.add(piece[cut:])
        return found

    def finish(self) -> Cut:
        """Return what is left when the input has ended."""
        if self.head:
            return self._pending.take(b"")
        return self._behind_head(ended=True)

    def _behind_head(self, *, ended: bool) -> bytes:
        """Look for the head in what is pending, and return what stands behind it."""
        if not ended and sum(map(len, self._first)) < self._wanted:
            return b""
        data = b"".join(self._first)
        dialect = self._dialect
        self.head = dialect.head_in(data[:_HEAD_BYTES], ended=False) or dialect.head_in(data, ended=ended)
        self._first, self._wanted = ([], 0) if self.head else ([data], 2 * len(data))
        if self.head is None:
            return b""
        self._rows = dialect.row_ends(self.head.delimiter)
        return data[self.head.size_bytes :]


def _character(option: str, value: Any, words: Mapping[str, str | None]) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and value in words:
        return words[value]
    if not isinstance(value, str) or len(value) != 1 or not value.isascii() or value in "\r\n":
        others = " or ".join(filter(str.isalpha, words))
        raise FormatError(f"{option} must be one ASCII character, or {others}, not {describe(value)}")
    return value


def _sniffed(data: bytes, quote: str | None) -> str:
    """Return the delimiter of rows, a comma if there seems to be none."""
    text = data[:_HEAD_BYTES].decode("latin-1")
    whole = text[: text.rfind("\n") + 1] or text
    try:
        return csv.Sniffer().sniff(whole, _CANDIDATES.replace(quote or "", "")).delimiter
    except csv.Error:
        return ","


def _flat_text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else value or ""
