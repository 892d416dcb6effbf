"""Reads and writes JSON, a value at a time."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import json.encoder
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, cast
from uuid import UUID

from workers.records.formats.output import ResultError

_MANY_DIGITS = b"0" * 19
_DIGITS_AS_0 = bytes.maketrans(b"123456789", b"000000000")
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


@cache
def _orjson_loads() -> Callable[[str], Any] | None:
    """Return orjson's reader, if that is installed."""
    try:
        return cast("Callable[[str], Any]", importlib.import_module("orjson").loads)
    except ImportError:
        return None


def parser_for(text: str) -> Callable[[str], Any]:
    """Return what parses the lines of a text, always as `json.loads` does.

    orjson makes floats of integers that have more than 64 bits: where so many digits stand together, it is not asked.
    What it refuses, as NaN, is read by the json module, which says what is wrong if that refuses it too.
    """
    loads = _orjson_loads()
    if loads is None or _MANY_DIGITS in text.encode("utf-8", "surrogatepass").translate(_DIGITS_AS_0):
        return parse_json

    def parse(line: str) -> Any:
        try:
            return loads(line)
        except ValueError:
            return parse_json(line)

    return parse


def _default(value: Any) -> Any:
    """Return what is written in place of a value that JSON has not.

    Dates and times in ISO 8601; Decimal and UUID as text, so that no digit is lost; an enum's value; dataclasses as
    their fields; sets as lists in order, the same in every process; arrays and scalars of numpy as lists and numbers.

    Raises:
        ResultError: there is nothing.
    """
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return _in_order(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        plain = value.tolist()
        if plain is not value:
            return plain
    raise _refused(value)


def _in_order(values: AbstractSet[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=lambda value: (type(value).__name__, repr(value)))


def _refused(value: Any) -> ResultError:
    kind = type(value).__name__
    hint = "; --flat writes what an iterable gives, one by one" if hasattr(value, "__next__") else ""
    if isinstance(value, (bytes, bytearray, memoryview)):
        hint = "; the format lines writes bytes as they are"
    return ResultError(f"a result of type {kind} can't be written as JSON{hint}")


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=_default)
_ASCII = json.JSONEncoder(default=_default)


def _make_encoder() -> Callable[[Any], str]:
    """Return json.dumps without its setup of each call, or JSONEncoder where it is not in C."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _ENCODER.encode
    quote = json.encoder.encode_basestring
    fast = make(None, _default, quote, None, ": ", ", ", False, False, True)
    join = "".join

    def encode(value: Any) -> str:
        return join(fast(value, 0))

    return encode


to_json = _make_encoder()


def json_line(value: Any) -> bytes:
    """Return a value as a line of JSON."""
    try:
        return to_json(value).encode() + b"\n"
    except UnicodeEncodeError:
        return _ASCII.encode(value).encode() + b"\n"  # half a surrogate pair can stand in JSON only as an escape
