"""Reads and writes JSON, a value at a time."""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Callable
from typing import Any

from workers.records.formats.output import ResultError

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


def json_line(value: Any) -> bytes:
    """Return a value as a line of JSON."""
    try:
        return to_json(value).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value).encode() + b"\n"  # half a surrogate pair can stand in JSON only as an escape
