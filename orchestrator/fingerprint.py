"""What a run is known by, so that it is gone on with only if nothing that shapes its output has changed.

Everything becomes short text under a label that a person understands; the texts are compared one by one.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import pickle
from collections.abc import Iterable, Iterator, Sized
from types import CodeType
from typing import Any

_EDGE_BYTES = 64 * 1024


def of_file(path: str) -> str:
    """Return size, time of change and a hash of the head and the tail of a file.

    Raises:
        OSError: it can't be read.
    """
    status = os.stat(path)  # noqa: PTH116 - a path as the user wrote it
    digest = hashlib.sha256()
    with open(path, "rb") as file:  # noqa: PTH123
        digest.update(file.read(_EDGE_BYTES))
        if status.st_size > _EDGE_BYTES:
            file.seek(max(_EDGE_BYTES, status.st_size - _EDGE_BYTES))
            digest.update(file.read(_EDGE_BYTES))
    return f"{status.st_size:,} bytes, changed at {status.st_mtime_ns / 1e9:.6f}, {digest.hexdigest()[:16]}"


def of_function(function: Any) -> str:
    """Return the name of a function and a hash of its source, or of its code where there is no source to be had."""
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    digest = hashlib.sha256()
    for part in _parts(function):
        digest.update(part)
    return f"{name} {digest.hexdigest()[:16]}"


def of_iterable(source: Iterable[Any]) -> str:
    """Return what can be told of a source without reading it: a range as it is, of others the kind and the length."""
    if isinstance(source, range):
        return repr(source)
    length = f" of {len(source):,}" if isinstance(source, Sized) else ""
    return type(source).__qualname__ + length


def of_closure(function: Any) -> str:
    """Return a hash of what a function that was made inside another holds on to: functions, numbers, text."""
    digest = hashlib.sha256()
    for cell in getattr(function, "__closure__", None) or ():
        for part in _values(cell.cell_contents):
            digest.update(part.encode())
    return digest.hexdigest()[:16]


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield repr(key)
            yield from _values(inner)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            yield from _values(inner)
    elif isinstance(value, int | float | str | bytes | None):
        yield repr(value)
    elif inspect.isroutine(value):
        yield of_function(value)


def _parts(function: Any) -> Iterator[bytes]:
    function = inspect.unwrap(function) if callable(function) else function
    wrapped = getattr(function, "func", None)
    if wrapped is not None:  # functools.partial
        yield from _parts(wrapped)
        yield _stable((function.args, function.keywords))
        return
    try:
        yield inspect.getsource(function).encode()
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        yield from _code_parts(code) if code is not None else (_stable(function),)


def _code_parts(code: CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield repr(code.co_names).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_parts(constant)
        else:
            yield repr(constant).encode()


def _stable(value: Any) -> bytes:
    try:
        return pickle.dumps(value, 4)
    except Exception:
        return type(value).__qualname__.encode()
