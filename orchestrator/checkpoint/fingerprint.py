"""The fingerprint of a run, which is resumed only if nothing that shapes its output has changed.

Everything becomes short text under a label that a person understands; the texts are compared one by one.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Sized
from typing import Any

from orchestrator.checkpoint.reach import Reach

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
    """Return the name of a function and a hash of all that it reaches in the user's own code (`reach.py`)."""
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    return f"{name} {Reach(function).digest.hex()[:16]}"


def of_closure(function: Any) -> str:
    """Return a hash of what a function of this package, made inside another, holds on to."""
    return Reach(function).digest.hex()[:16]


def of_libraries(functions: Iterable[Any]) -> dict[str, str]:
    """Return the versions of Python and of the installed packages that functions reach."""
    names: set[str] = set()
    for function in functions:
        names |= Reach(function).libraries
    python = ".".join(map(str, sys.version_info[:3]))
    return {"Python": python} | {name: _version(name) for name in sorted(names)}


def _version(package: str) -> str:
    import importlib.metadata  # noqa: PLC0415 - takes long, and most runs have no checkpoints

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        found = importlib.metadata.packages_distributions().get(package, ())
        return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(set(found))) or "unknown"


def of_iterable(source: Iterable[Any]) -> str:
    """Return the fingerprint of a source that is not read: a range itself, else kind and length."""
    if isinstance(source, range):
        return repr(source)
    length = f" of {len(source):,}" if isinstance(source, Sized) else ""
    return type(source).__qualname__ + length
