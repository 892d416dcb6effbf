"""Turns the function's results into the bytes of the output: lines, JSON lines or CSV rows.

A block is first tried in one go; only if that fails are its results taken one by one, to find the record at
fault.
"""

from __future__ import annotations

import csv
import json
import json.encoder
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

OUTPUT_FORMATS = ("lines", "jsonl", "csv")
ROW_END = "\r\n"
"""What the csv module's writers are told, as they quote only what is in it: a field with either of them ends a row
elsewhere. In the output stands a line feed."""
FAILED = object()
"""Stands in the results at the place of a record that failed."""


class ResultError(Exception):
    """The function's result can't be written."""


class _Rows:
    """Writes CSV rows, with the first dict's keys as the columns of the block."""

    def __init__(self) -> None:
        self.fields: tuple[str, ...] | None = None
        self._text: list[str] = []
        self._writer = csv.writer(self, lineterminator=ROW_END)

    def write(self, text: str) -> None:
        """Take one row from the csv module's writer."""
        self._text.append(text)

    def text(self, value: Any) -> str:
        """Return the line for one result, without its line end."""
        if isinstance(value, dict):
            value = self._in_order(value)
        elif value is None:
            raise ResultError("None is not a CSV row")
        elif not isinstance(value, (list, tuple)):
            return _text(value)
        self._writer.writerow(value)
        return self._text.pop()[: -len(ROW_END)]

    def _in_order(self, row: dict[str, Any]) -> Iterable[Any]:
        keys = tuple(row)
        if self.fields is None:
            self.fields = keys
        if keys == self.fields:
            return row.values()
        if set(keys) == set(self.fields):
            return [row[key] for key in self.fields]
        wanted, got = ", ".join(map(str, self.fields)), ", ".join(map(str, keys))
        raise ResultError(f"the CSV output has the columns {wanted}, this result has {got}")


class Output:
    """An encoder of results, one for each block."""

    def __init__(self, output_format: str, *, flat: bool = False, raw: bool = False, drop_none: bool = True) -> None:
        """Choose the shape.

        Args:
            output_format: one of OUTPUT_FORMATS: "lines" (text and bytes as they are, anything else as JSON), "jsonl"
                (a JSON value a line, whatever it is) or "csv" (a row for a dict or a list).
            flat: each result is a list of results.
            raw: bytes are written as they are, without a line end.
            drop_none: None is not a result; else it is a value, written as null.
        """
        self._flat = flat
        self._raw = raw
        self._drop_none = drop_none
        self._is_csv = output_format == "csv"
        self._is_json = output_format == "jsonl"
        self.csv_fields: tuple[str, ...] | None = None
        self.records_out = 0
        self.dropped = 0

    def encode(self, results: list[Any], on_failure: Callable[[int, BaseException], None]) -> bytes:
        """Return the block's output, and call `on_failure` with the index of each result that can't be written."""
        try:
            return self._at_once(results)
        except Exception:
            return self.one_by_one(results, on_failure)

    def _at_once(self, results: list[Any]) -> bytes:
        if self._drop_none:
            kept = [value for value in results if value is not None and value is not FAILED]
        else:
            kept = [value for value in results if value is not FAILED]
        failed = sum(value is FAILED for value in results) if len(kept) != len(results) else 0
        given = len(kept)
        if self._flat:
            given = sum(map(bool, kept))
            kept = list(chain.from_iterable(kept))
        self.records_out, self.dropped = len(kept), len(results) - failed - given
        return self._joined(kept).encode()

    def _joined(self, kept: list[Any]) -> str:
        if not kept:
            return ""
        if self._is_csv:
            rows = _Rows()
            lines = list(map(rows.text, kept))
            self.csv_fields = rows.fields
        elif self._is_json:
            lines = list(map(to_json, kept))
        else:
            lines = kept if type(kept[0]) is str else list(map(_text, kept))
        lines.append("")  # for the last line end; both lists are ours
        try:
            return "\n".join(lines)
        except TypeError:
            return "\n".join(map(_text, lines))

    def one_by_one(self, results: Iterable[Any], on_failure: Callable[[int, BaseException], None]) -> bytes:
        """Do what `encode` does, each result before the next is asked for."""
        rows = _Rows()
        text = rows.text if self._is_csv else to_json if self._is_json else _text
        pieces: list[bytes] = []
        self.records_out = self.dropped = 0
        for index, result in enumerate(results):
            if result is FAILED:
                continue
            if (result is None and self._drop_none) or (self._flat and not result):
                self.dropped += 1
                continue
            fields = rows.fields
            try:
                found = [self._bytes(value, text) for value in (result if self._flat else (result,))]
            except Exception as error:
                rows.fields = fields
                on_failure(index, error)
            else:
                pieces += found
                self.records_out += len(found)
        self.csv_fields = rows.fields
        return b"".join(pieces)

    def _bytes(self, value: Any, text: Callable[[Any], str]) -> bytes:
        if isinstance(value, (bytes, bytearray, memoryview)) and not self._is_json:
            return bytes(value) if self._raw else bytes(value) + b"\n"
        try:
            return text(value).encode() + b"\n"
        except UnicodeEncodeError:
            if self._is_csv or (isinstance(value, str) and not self._is_json):
                raise
            return (
                json.dumps(value).encode() + b"\n"
            )  # half a surrogate pair can stand in JSON only as an escape


def csv_row(values: Iterable[Any]) -> str:
    """Return one row of CSV and its line end."""
    return _Rows().text(tuple(values)) + "\n"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise ResultError("iterating bytes would give single numbers")
    return to_json(value)


def _refuse(value: Any) -> Any:
    kind = type(value).__name__
    hint = "; --flat writes what an iterable gives, one by one" if hasattr(value, "__next__") else ""
    if isinstance(value, (bytes, bytearray, memoryview)):
        hint = "; the format lines writes bytes as they are"
    raise ResultError(f"a result of type {kind} can't be written as JSON{hint}")


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=_refuse)


def _make_encoder() -> Callable[[Any], str]:
    """Return json.dumps without its setup of each call, or JSONEncoder where it is not in C."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _ENCODER.encode
    quote = json.encoder.encode_basestring
    fast = make(None, _refuse, quote, None, ": ", ", ", False, False, True)
    join = "".join

    def encode(value: Any) -> str:
        return join(fast(value, 0))

    return encode


to_json = _make_encoder()
