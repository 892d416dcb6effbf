"""Writes values as JSON and reads them back exactly, so that reading runs no code.

JSON knows no tuple, no bytes and no key but text. What it would change stands under a mark:

    (1, 2)  ->  {"$": "tuple", "of": [1, 2]}          b"a"  ->  {"$": "bytes", "of": "YQ=="}

Records of our own (dataclasses and named tuples of this package) are kept by their fields. What is none of these is
kept as a pickle, which `loads` leaves closed unless it is told to open it: a pickle runs code.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import pickle
import sys
from collections import deque
from collections.abc import Callable
from importlib import import_module
from typing import Any

_DEEPEST = 40
"""What is nested deeper, or holds itself, is kept as a pickle."""
_REPEATED = 10_000
"""How many containers may be met a second time; a value that shares its parts over and over would grow endlessly."""
_SCALARS = frozenset({str, bool, type(None)})
_MARK = "$"
_OURS = ("orchestrator.", "workers.")
_LONGEST_INT = 1 << 64


class Pickled:
    """A pickle that was not opened."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"Pickled({len(self.data):,} bytes)"


def dumps(value: Any, *, may_pickle: bool = True) -> bytes:
    """Return a value as JSON.

    Args:
        value: of any kind, if it may be pickled.
        may_pickle: whether what is not plain data is kept as a pickle.

    Raises:
        Exception: what pickling raises.
        TypeError: it is not plain data, and may not be pickled.
    """
    return json.dumps(_Encoder(may_pickle=may_pickle).encode(value, 0), separators=(",", ":"), allow_nan=False).encode()


def loads(data: bytes, *, unpickle: bool = False) -> Any:
    """Return the value that `dumps` was given.

    Args:
        data: what it returned.
        unpickle: whether pickles are opened, which runs code that is in them; else a `Pickled` stands in their place.

    Raises:
        ValueError: it is not what `dumps` returns.
    """
    return json.loads(data, object_hook=_opened if unpickle else _closed)


def has_pickles(value: Any) -> bool:
    """Tell whether a loaded value contains a pickle that was not opened."""
    if isinstance(value, dict):
        return any(map(has_pickles, value)) or any(map(has_pickles, value.values()))
    if isinstance(value, list | tuple | set | frozenset | deque):
        return any(map(has_pickles, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return any(has_pickles(getattr(value, each.name)) for each in dataclasses.fields(value))
    return isinstance(value, Pickled)


class _Encoder:
    """One call of `dumps`."""

    def __init__(self, *, may_pickle: bool) -> None:
        self._may_pickle = may_pickle
        self._seen: set[int] = set()
        self._repeated = 0

    def encode(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _SCALARS:
            return value
        if kind is int:
            return value if -_LONGEST_INT < value < _LONGEST_INT else {_MARK: "int", "of": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {_MARK: "float", "of": repr(value)}
        if kind is bytes:
            return {_MARK: "bytes", "of": base64.b64encode(value).decode()}
        encode = _CONTAINERS.get(kind) or (_encode_record if _is_ours(kind) else None)
        if encode is None or depth > _DEEPEST or self._repeats(value):
            return self._pickled(value)
        return encode(value, self, depth + 1)

    def all_of(self, values: Any, depth: int) -> list[Any]:
        if set(map(type, values)) <= _SCALARS:
            return list(values)
        return [self.encode(value, depth) for value in values]

    def _repeats(self, value: Any) -> bool:
        if id(value) in self._seen:
            self._repeated += 1
        self._seen.add(id(value))
        return self._repeated > _REPEATED

    def _pickled(self, value: Any) -> Any:
        if not self._may_pickle:
            raise TypeError(f"a {type(value).__qualname__} is not plain data")
        return {_MARK: "pickle", "of": base64.b64encode(pickle.dumps(value, pickle.HIGHEST_PROTOCOL)).decode()}


def _encode_dict(value: dict[Any, Any], encoder: _Encoder, depth: int) -> Any:
    if set(map(type, value)) <= {str} and _MARK not in value:
        return dict(zip(value, encoder.all_of(value.values(), depth), strict=True))
    return {_MARK: "dict", "of": [encoder.all_of(pair, depth) for pair in value.items()]}


def _marked(name: str) -> Callable[[Any, _Encoder, int], Any]:
    return lambda value, encoder, depth: {_MARK: name, "of": encoder.all_of(value, depth)}


_CONTAINERS: dict[type, Callable[[Any, _Encoder, int], Any]] = {
    list: lambda value, encoder, depth: encoder.all_of(value, depth),
    dict: _encode_dict,
    tuple: _marked("tuple"),
    set: _marked("set"),
    frozenset: _marked("frozenset"),
    deque: _marked("deque"),
}


def _is_ours(kind: type) -> bool:
    """Whether it is a record of this package, found by its name, all of whose state is its fields."""
    if not kind.__module__.startswith(_OURS) or vars(sys.modules[kind.__module__]).get(kind.__name__) is not kind:
        return False
    return dataclasses.is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields"))


def _field_names(kind: Any) -> list[str]:
    if dataclasses.is_dataclass(kind):
        return [each.name for each in dataclasses.fields(kind)]
    return list(kind._fields)


def _encode_record(value: Any, encoder: _Encoder, depth: int) -> Any:
    kind = type(value)
    fields = {name: encoder.encode(getattr(value, name), depth) for name in _field_names(kind)}
    return {_MARK: f"{kind.__module__}:{kind.__name__}", "of": fields}


def _closed(found: dict[str, Any]) -> Any:
    return _decoded(found, Pickled)


def _opened(found: dict[str, Any]) -> Any:
    return _decoded(found, pickle.loads)


def _decoded(found: dict[str, Any], of_pickle: Callable[[bytes], Any]) -> Any:
    if _MARK not in found:
        return found
    mark, of = found[_MARK], found["of"]
    if mark == "pickle":
        return of_pickle(base64.b64decode(of))
    if mark in _MARKS:
        return _MARKS[mark](of)
    return _record(mark, of)


_MARKS: dict[str, Callable[[Any], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "dict": dict,
    "bytes": base64.b64decode,
    "float": float,
    "int": lambda text: int(text, 16),
}


def _record(mark: str, fields: dict[str, Any]) -> Any:
    module, _, name = mark.partition(":")
    if not module.startswith(_OURS):
        raise ValueError(f"{mark!r} is not a record type of this package")
    kind: Any = vars(import_module(module)).get(name)
    if not isinstance(kind, type) or not _is_ours(kind) or list(fields) != _field_names(kind):
        raise ValueError(f"{mark!r} is not a record type of this package")
    if dataclasses.is_dataclass(kind):
        made: Any = object.__new__(kind)
        for field, value in fields.items():
            object.__setattr__(made, field, value)
        return made
    return kind(*fields.values())
