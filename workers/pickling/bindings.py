"""Tracks what the names of this process's `__main__` mean, for workers that mirror it (`main_module`).

A token stands for one binding of one name: rebound, the name has another token, which is larger. So a value is sent
to a worker once, and again only when its name means something else; and a call that was opened before still gets what
it was opened with.

Owner of the state: this process, under `_lock`; a forked child begins anew.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections import OrderedDict
from types import FunctionType
from typing import Any, NamedTuple

MISSING: Any = type("MISSING", (), {"__slots__": ()})()
"""The value of a name that `__main__` doesn't have."""
_FORMER_KEPT = 64
"""Functions and classes that were rebound and may still be asked for, by calls that were opened before."""


class Binding(NamedTuple):
    """A value that a name has, or had."""

    value: Any
    token: int


class Place(NamedTuple):
    """The path to an object in `__main__`: a name, and attributes from there."""

    name: str
    path: tuple[str, ...]


_lock = threading.RLock()
_current: dict[str, Binding] = {}
_former: OrderedDict[int, Any] = OrderedDict()
_registry = 0
_tokens = itertools.count()
_generation = 0
_tracks_all = False


def _begin_anew() -> None:
    global _lock, _registry, _tokens, _tracks_all  # noqa: PLW0603 - one main module a process
    _lock = threading.RLock()
    _registry = int.from_bytes(os.urandom(7), "little")
    _tokens = itertools.count(_registry << 40)
    _tracks_all = False
    _current.clear()
    _former.clear()


_begin_anew()
os.register_at_fork(after_in_child=_begin_anew)


def namespace() -> dict[str, Any]:
    """Return the globals of `__main__`."""
    return vars(sys.modules["__main__"])


def _meaning(name: str) -> Any:
    found = namespace().get(name, MISSING)
    return getattr(sys.modules["__main__"], name, MISSING) if found is MISSING else found


def _bind(name: str, value: Any) -> Binding:
    global _generation  # noqa: PLW0603 - see _begin_anew
    before = _current.get(name)
    if before is not None:
        _generation += 1
        if isinstance(before.value, FunctionType | type):
            _former[before.token] = before.value
            if len(_former) > _FORMER_KEPT:
                _former.popitem(last=False)
    bound = _current[name] = Binding(value, next(_tokens))
    return bound


def current(name: str) -> Binding:
    """Return the present meaning of a name, or `MISSING`."""
    value = _meaning(name)
    with _lock:
        known = _current.get(name)
        return known if known is not None and known.value is value else _bind(name, value)


def of_token(name: str, token: int) -> Binding:
    """Return the binding of a token, or the name's present one if that is not known any more."""
    with _lock:
        if token in _former:
            return Binding(_former[token], token)
    return current(name)


def has_token(token: int) -> bool:
    """Whether a token belongs to this process's own main module, not to the one that it mirrors."""
    return token >> 40 == _registry


def refresh() -> int:
    """Look for names that were rebound, and return a number that changes when there were any."""
    global _generation  # noqa: PLW0603 - see _begin_anew
    names = namespace()
    with _lock:
        for name, bound in list(_current.items()):
            if names.get(name, MISSING) is not bound.value:
                value = _meaning(name)
                if value is not bound.value:
                    _bind(name, value)
        if _tracks_all:
            new = [name for name in list(names) if name not in _current and not name.startswith("__")]
            for name in new:
                _bind(name, names.get(name, MISSING))
            _generation += bool(new)
        return _generation


def track_all() -> list[str]:
    """Look for new names, too, and return all."""
    global _tracks_all  # noqa: PLW0603 - see _begin_anew
    _tracks_all = True
    return [name for name in list(namespace()) if not name.startswith("__")]


def place_of(obj: Any) -> Place | None:
    """Return where `__main__` has this very object, or None."""
    try:
        if getattr(obj, "__module__", None) != "__main__":
            return None
        dotted = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
    except Exception:  # an object may refuse to be asked
        return None
    if not isinstance(dotted, str):
        return None
    if "<" not in dotted:
        name, *path = dotted.split(".")
        if _found(name, path) is obj:
            return Place(name, tuple(path))
    if isinstance(obj, FunctionType):  # f = lambda ..., or what a decorator made
        for name, value in list(namespace().items()):
            if value is obj:
                return Place(name, ())
    return None


def _found(name: str, path: list[str]) -> Any:
    found = namespace().get(name, MISSING)
    for step in path:
        found = getattr(found, step, MISSING)
    return found
