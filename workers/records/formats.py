"""Turns a chunk's bytes into records: lines, JSON values, CSV rows or the block itself.

Records are split with the fastest call that does it for the whole block; which line a record came from is
worked out only when one has failed.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from workers.records.line_ends import FORMATS, count_line_ends, whole_lines
from workers.records.ranges import BOM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from workers.records.ranges import Raw


class SplitError(Exception):
    """A block can't be cut into records."""

    def __init__(self, text: str, line_index: int, byte_index: int) -> None:
        super().__init__(text)
        self.line_index = line_index
        self.byte_index = byte_index


class Span(NamedTuple):
    """The span of a record in its block."""

    line: int
    """From 0."""
    start: int
    """In bytes."""
    end: int
    """Behind its line end."""


class Records:
    """The records of one block, and the way back from a record to its line."""

    def __init__(
        self,
        values: list[Any],
        parse: Callable[[Any], Any] | None = None,
        line_index: Callable[[int], int] | None = None,
        bad: Iterable[SplitError] = (),
        find_rows: Callable[[bytes], list[Span]] | None = None,
        *,
        line_end: bytes = b"\n",
    ) -> None:
        """Keep the records.

        Args:
            values: what the function is called with, or what `parse` makes that of.
            parse: applied to each value first; None if the values are the records.
            line_index: from a value's index to the index of its first line in the block.
            bad: lines that are no records at all.
            find_rows: where the records stand in the block's bytes; None: each is a line.
            line_end: what ends a line.
        """
        self.values = values
        self.parse = parse
        self.line_index = line_index or (lambda index: index)
        self.bad = tuple(bad)
        self._line_end = line_end
        self._find = find_rows or self._find_lines

    def spans(self, data: bytes) -> list[Span]:
        """Return where each record stands in the block's bytes, which are `data`."""
        return self._find(data)

    def value(self, index: int) -> Any:
        """Return a record as the function gets it, or as it was read if it can't be parsed."""
        found = self.values[index]
        if self.parse is None:
            return found
        try:
            return self.parse(found)
        except Exception:
            return found

    def _find_lines(self, data: bytes) -> list[Span]:
        ends = list(accumulate((len(line) + 1 for line in data.split(self._line_end)), initial=0))
        ends[-1] -= 1  # no line end stands behind the last piece
        lines = map(self.line_index, range(len(self.values)))
        return [Span(line, ends[line], ends[line + 1]) for line in lines]


def split(
    raw: Raw, record_format: str, errors: str, fieldnames: tuple[str, ...] | None, *, skip: bool
) -> Records:
    """Cut the bytes into records of `record_format`.

    Args:
        raw: whole records.
        record_format: one of FORMATS but "files".
        errors: "strict" or "replace", for bytes that are not UTF-8.
        fieldnames: the columns, for CSV.
        skip: a line that can't be decoded is put into `bad` instead of raised.

    Raises:
        SplitError: bytes that are not UTF-8, or a record that is too long.
    """
    if raw.too_long or (raw.max_record_bytes and len(raw.data) > raw.max_record_bytes and record_format != "blocks"):
        return _without_long(raw, record_format, errors, fieldnames, skip=skip)
    if not len(raw.data):
        return Records([])
    if record_format == "blocks":
        return Records([bytes(raw.data)], line_index=lambda _: 0, find_rows=lambda data: [Span(0, 0, len(data))])
    text, bad = _decode(raw, record_format, errors, skip=skip)
    if record_format == "csv":
        names = fieldnames or ()
        return _rows_without_bad(raw, names, bad) if bad else _rows(text, names)
    line_end = FORMATS[record_format].end
    lines = _lines(text, line_end.decode())
    if bad:
        return _without_bad(lines, bad, record_format)
    return _json_lines(lines) if record_format == "jsonl" else Records(lines, line_end=line_end)


def _without_long(
    raw: Raw, record_format: str, errors: str, fieldnames: tuple[str, ...] | None, *, skip: bool
) -> Records:
    """Leave out the records that are too long, inside the data and behind it."""
    limit, data = raw.max_record_bytes, bytes(raw.data)
    records = split(replace(raw, max_record_bytes=0, too_long=False), record_format, errors, fieldnames, skip=skip)
    spans = records.spans(data)
    long = [index for index, span in enumerate(spans) if span.end - span.start > limit]
    bad = [_too_long(limit, spans[index].line, spans[index].start) for index in long]
    if raw.too_long:
        bad.append(_too_long(limit, count_line_ends(data, record_format), len(data)))
    if bad and not skip:
        raise bad[0]
    kept = [index for index in range(len(spans)) if index not in set(long)] if long else range(len(spans))
    return Records(
        [records.values[index] for index in kept],
        records.parse,
        lambda index: spans[kept[index]].line,
        sorted((*records.bad, *bad), key=lambda error: error.line_index),
        lambda _: [spans[index] for index in kept],
    )


def _too_long(limit: int, line_index: int, byte_index: int) -> SplitError:
    said = f"the record is larger than {limit:,} bytes; raise the limit with --max-record (max_record=)"
    return SplitError(said, line_index, byte_index)


def _lines(text: str, line_end: str) -> list[str]:
    r"""Cut at the line end, and with "\n" at "\r\n", too.

    str.splitlines also cuts at \x0b, \x1c, \u2028 ….
    """
    lines = (text.replace("\r\n", "\n") if line_end == "\n" else text).split(line_end)
    if not lines[-1]:
        lines.pop()
    return lines


def _decode(raw: Raw, record_format: str, errors: str, *, skip: bool) -> tuple[str, list[SplitError]]:
    """Decode the whole block in one call, and look for bad lines only if that fails."""
    try:
        return str(raw.data, "utf-8", errors), []
    except UnicodeDecodeError as error:
        first = error
    data = bytes(raw.data)
    if not skip:
        raise _undecodable(raw, first, count_line_ends(data[: first.start], record_format), first.start)
    bad, offset, lines = [], 0, []
    for index, line in enumerate(whole_lines(data, record_format)):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError as error:
            bad.append(_undecodable(raw, error, index, offset + error.start))
            lines.append(FORMATS[record_format].end.decode())
        offset += len(line)
    return "".join(lines), bad


def _undecodable(raw: Raw, error: UnicodeDecodeError, line_index: int, index: int) -> SplitError:
    said = (
        f"byte 0x{error.object[error.start]:02x} at offset {raw.start + index} is not UTF-8 ({error.reason})"
    )
    return SplitError(f"{said}; --errors replace substitutes such bytes", line_index, index)


def _without_bad(lines: list[str], bad: list[SplitError], record_format: str) -> Records:
    """Leave out the lines that could not be decoded."""
    gone = {error.line_index for error in bad}
    blank_too = record_format == "jsonl"
    kept = [i for i, line in enumerate(lines) if i not in gone and not (blank_too and not line.strip())]
    parse = parse_json if blank_too else None
    return Records([lines[i] for i in kept], parse, kept.__getitem__, bad, line_end=FORMATS[record_format].end)


def _json_lines(lines: list[str]) -> Records:
    values = list(filter(str.strip, lines))  # blank lines are no records
    if len(values) == len(lines):
        return Records(values, parse_json)

    @cache
    def not_blank() -> list[int]:
        return [i for i, line in enumerate(lines) if line.strip()]

    return Records(values, parse_json, lambda index: not_blank()[index])


_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def parse_json(line: str) -> Any:
    """Do what json.loads does with a third of its overhead.

    That is asked only where the scanner stops.
    """
    try:
        value, end = _scan(line, 0)
    except StopIteration:
        return json.loads(line)
    return value if end == len(line) else json.loads(line)


def _rows_without_bad(raw: Raw, names: tuple[str, ...], bad: list[SplitError]) -> Records:
    """Leave out the rows with bytes that can't be decoded.

    A row may have several lines.
    """
    records = _rows(str(raw.data, "utf-8", "surrogateescape"), names)
    kept, gone = [], []
    for index, row in enumerate(records.values):
        try:
            "".join(map(_flat_text, row.values())).encode()
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


def _flat_text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else value or ""


def _rows(text: str, names: tuple[str, ...]) -> Records:
    """Read CSV rows as csv.DictReader does."""
    _lift_field_limit()
    rows = list(_dict_rows(csv.reader(io.StringIO(text, newline="")), names))

    @cache
    def spans() -> list[Span]:
        return _row_spans(text.encode("utf-8", "surrogateescape"))

    return Records(rows, line_index=lambda index: spans()[index].line, find_rows=_row_spans)


def _row_spans(data: bytes) -> list[Span]:
    """Return where each row stands that is not blank."""
    taken, found = _Lines(data), []
    line, start = 0, 0
    for row in csv.reader(taken):
        if row:
            found.append(Span(line, start, taken.size_bytes))
        line, start = taken.line_ends, taken.size_bytes
    return found


def _dict_rows(reader: Iterable[list[str]], names: tuple[str, ...]) -> Iterator[dict[str | None, Any]]:
    """Yield a dict for each row.

    Missing fields are None, surplus ones a list under None, and blank rows are left out.
    """
    width = len(names)
    for row in reader:
        if len(row) == width:
            yield dict(zip(names, row, strict=True))
        elif row:
            found: dict[str | None, Any] = dict(zip(names, row, strict=False))
            if len(row) > width:
                found[None] = row[width:]
            else:
                found.update(dict.fromkeys(names[len(row) :]))
            yield found


class Header(NamedTuple):
    """The first row of a CSV file that is not blank."""

    size_bytes: int
    """With the blank lines before it, a byte order mark and its line end."""
    line_ends: int
    names: tuple[str, ...]
    """The columns, each name once."""
    repeated: tuple[str, ...]
    """Names that stand there more than once."""


def read_header(data: bytes, *, ended: bool) -> Header | None:
    """Return the header that a CSV file begins with.

    None: it may continue behind `data`, which is not `ended`.
    """
    _lift_field_limit()
    text = data.removeprefix(BOM)
    lines = _Lines(text)
    names = next(filter(None, csv.reader(lines)), [])
    open_end = lines.exhausted or (lines.size_bytes == len(text) and not text.endswith(b"\n"))
    if open_end and not ended:
        return None
    size = len(data) - len(text) + lines.size_bytes
    return Header(size, lines.line_ends, _distinct(names), tuple(name for name, n in Counter(names).items() if n > 1))


def _distinct(names: list[str]) -> tuple[str, ...]:
    """Number repeated names as pandas does: "a", "a.1", "a.2".

    A name that the file has itself is passed over.
    """
    taken, counts, found = set(names), Counter[str](), []
    for name in names:
        new, number = name, counts[name]
        while number:
            counts[name] = number + 1
            new = f"{name}.{number}"
            number = number + 1 if new in taken else counts[new]
        counts[new] += 1
        found.append(new)
    return tuple(found)


class _Lines:
    """Counts the lines of a file's text as the csv module takes them, one when a row needs it."""

    def __init__(self, data: bytes) -> None:
        self._lines = io.StringIO(str(data, "utf-8", "surrogateescape"), newline="")
        self.size_bytes = 0
        self.line_ends = 0
        self.exhausted = False
        """Whether more was asked for than there is."""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines, None)
        if line is None:
            self.exhausted = True
            raise StopIteration
        self.size_bytes += len(line.encode("utf-8", "surrogateescape"))
        self.line_ends += line.endswith(("\n", "\r"))
        return line


def _lift_field_limit() -> None:
    """Allow fields of any length, where the csv module stops at 128 KiB."""
    csv.field_size_limit(sys.maxsize)
