"""Describes objects for messages: never raises, is bounded, and runs no code of the object.

`repr` does none of this: a user's `__repr__` may raise, sleep or return a gigabyte, an integer of more than 4,300
digits has none, and `reprlib` goes by the name of a class, so that a user's class `set` gets what is meant for the
built-in. Here the built-in types are known by identity and read by their own methods; of all else the type is told.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from types import BuiltinFunctionType, FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType
from typing import Any

from workers.errors.signal_handlers import is_of_a_handler

SHOWN = 100
"""Characters that a message spends on an object."""
MOST_TEXT = 100_000
"""Characters that are kept of the text of an exception, and of a traceback."""

_DEPTH = 3
_ITEMS = 6
_LONG_BITS = 256
_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__  # past what a metaclass may define
_qualname: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_module: Callable[[type], object] = type.__dict__["__module__"].__get__


def describe(obj: object, limit: int = SHOWN) -> str:
    """Return an object in at most `limit` characters."""
    try:
        return cut(_shown(obj, limit, _DEPTH), limit)
    except BaseException as error:
        if is_of_a_handler(error):
            raise
        return f"<{type_name(type(obj))[:limit]} object>"


def describe_function(function: object) -> str:
    """Return the module and name of a function, "math.sqrt".

    Of an object without a name, what `describe` says.
    """
    try:
        name = _text(getattr(function, "__qualname__", None)) or _text(getattr(function, "__name__", None))
        module = _text(getattr(function, "__module__", None))
    except BaseException as error:
        if is_of_a_handler(error):
            raise
        name = module = ""
    if not name:
        return describe(function)
    return cut(f"{module}.{name}" if module else name, SHOWN)


def short_name(function: object) -> str:
    """Return the name of a function in one word, or ""."""
    try:
        return cut(_text(getattr(function, "__name__", "")), SHOWN)
    except BaseException as error:
        if is_of_a_handler(error):
            raise
        return ""


def type_name(kind: type) -> str:
    """Return the name of a class, whatever its metaclass does."""
    return cut(_text(_qualname(kind)) or "?", SHOWN)


def full_type_name(kind: type) -> str:
    """Return the name of a class with that of its module: "builtins.ValueError"."""
    try:
        module = _text(_module(kind))
    except AttributeError:
        module = ""
    return f"{module or '?'}.{type_name(kind)}"


def class_names(kind: type) -> tuple[str, ...]:
    """Return the full names of a class and of all that it derives from, nearest first, without `object`."""
    return tuple(full_type_name(each) for each in _mro(kind) if each is not object)


def text_of(error: BaseException) -> str:
    """Return `str(error)`, cut if very long, or a replacement where that raises."""
    try:
        return cut(_text(str(error)), MOST_TEXT)
    except BaseException as broken:
        if is_of_a_handler(broken):
            raise
        return f"<its __str__ raised {type_name(type(broken))}>"


def cut(text: str, limit: int) -> str:
    """Return a text in at most `limit` characters, and a sign where something was left out."""
    return text if len(text) <= limit else f"{text[: max(0, limit - 1)]}…"


def cut_middle(text: str, limit: int) -> str:
    """Return a text without its middle if it is longer than `limit`.

    A traceback tells most at its ends.
    """
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}\n… ({len(text) - limit:,} characters left out) …\n{text[-(limit // 2) :]}"


def _text(value: object) -> str:
    """Return a text as a plain `str`, or "" if it is not a text."""
    if type(value) is str:
        return value
    return "".join([str.__getitem__(value, slice(None))]) if issubclass(type(value), str) else ""  # type: ignore[index]


def _shown(obj: Any, limit: int, depth: int) -> str:
    kind = type(obj)
    show = _SHOW.get(kind)
    if show is not None:
        return show(obj, limit, depth)
    if _is_of_the_library(kind):
        return cut(repr(obj), limit)
    for base in _mro(kind)[1:]:  # a subclass of a built-in type: by the methods of that
        show = _SHOW.get(base)
        if show is not None:
            return f"{type_name(kind)}({show(obj, limit, depth)})"
    if depth and "__dataclass_fields__" in vars(kind):
        return f"{type_name(kind)}({', '.join(_fields(obj, kind, limit, depth))})"
    return _called(obj, kind, depth) or f"<{full_type_name(kind)} object>"


def _fields(obj: Any, kind: type, limit: int, depth: int) -> Iterator[str]:
    """Yield the fields of an instance of a dataclass, read where they are stored."""
    stored = next((vars(base)["__dict__"] for base in _mro(kind) if "__dict__" in vars(base)), None)
    values = stored.__get__(obj) if type(stored) is GetSetDescriptorType else {}
    names = list(vars(kind)["__dataclass_fields__"])
    for name in names[:_ITEMS]:
        slot = next((vars(base)[name] for base in _mro(kind) if name in vars(base)), None)
        value = slot.__get__(obj) if type(slot) is MemberDescriptorType else values.get(name, ...)
        yield f"{name}={_shown(value, limit, depth - 1)}"
    if len(names) > _ITEMS:
        yield "…"


def _called(obj: Any, kind: type, depth: int) -> str:
    """Return the short form of a function, a class or an array, or ""."""
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    if array is not None and array in _mro(kind):
        return f"<{type_name(kind)} of {array.dtype.__get__(obj)}, shape {array.shape.__get__(obj)}>"
    if kind in _CALLABLE:
        return f"<function {describe_function(obj)}>"
    if kind is partial:
        return f"functools.partial({_called(obj.func, type(obj.func), depth - 1) if depth else ''}, …)"
    return f"<class {full_type_name(obj)}>" if type in _mro(kind) else ""


def _is_of_the_library(kind: type) -> bool:
    """Whether it is one of the small value classes of the standard library or of numpy, by identity."""
    for module, names in _VALUES.items():
        found = vars(sys.modules[module]) if module in sys.modules else {}
        if any(found.get(name) is kind for name in names):
            return True
    scalar = getattr(sys.modules.get("numpy"), "generic", None)
    return scalar is not None and _module(kind) == "numpy" and scalar in _mro(kind) and kind.__flags__ & _HEAP == 0


_HEAP = 1 << 9  # a class made by a `class` statement; the scalars of numpy are not
_CALLABLE = (FunctionType, BuiltinFunctionType, MethodType)
_VALUES = {
    "datetime": ("datetime", "date", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "pathlib": ("PosixPath", "PurePosixPath", "PureWindowsPath"),
    "uuid": ("UUID",),
}


def _int(obj: int, _limit: int, _depth: int) -> str:
    bits = int.bit_length(obj)
    return int.__repr__(obj) if bits <= _LONG_BITS else f"<int of {bits:,} bits>"


def _by(own: Callable[[Any], str]) -> Callable[[Any, int, int], str]:
    return lambda obj, _limit, _depth: own(obj)


def _sequence(kind: Any) -> Callable[[Any, int, int], str]:
    """Return the beginning of a text or bytes, for messages."""
    return lambda obj, limit, _depth: kind.__repr__(kind.__getitem__(obj, slice(limit + 1)))


def _container(kind: Any, opened: str, closed: str) -> Callable[[Any, int, int], str]:
    def show(obj: Any, limit: int, depth: int) -> str:
        inner = ", ".join(_some(kind.__iter__(obj), kind.__len__(obj), limit, depth))
        trailing = "," if kind is tuple and kind.__len__(obj) == 1 else ""
        empty = kind.__len__(obj) == 0 and kind in {set, frozenset}
        return f"{kind.__name__}()" if empty else f"{opened}{inner}{trailing}{closed}"

    return show


def _some(values: Iterable[Any], count: int, limit: int, depth: int) -> Iterator[str]:
    if not depth:
        if count:
            yield "…"
        return
    for value in islice(values, _ITEMS):
        yield _shown(value, limit, depth - 1)
    if count > _ITEMS:
        yield "…"


def _dict(obj: dict[Any, Any], limit: int, depth: int) -> str:
    if not depth:
        return "{…}" if dict.__len__(obj) else "{}"
    shown = [
        f"{_shown(key, limit, depth - 1)}: {_shown(value, limit, depth - 1)}"
        for key, value in islice(dict.items(obj), _ITEMS)
    ]
    return "{" + ", ".join([*shown, *(["…"] if dict.__len__(obj) > _ITEMS else [])]) + "}"


def _range(obj: range, limit: int, depth: int) -> str:
    parts = [obj.start, obj.stop, *([obj.step] if obj.step != 1 else [])]
    return f"range({', '.join(_shown(part, limit, depth) for part in parts)})"


_SHOW: dict[type, Callable[[Any, int, int], str]] = {
    bool: _by(repr),
    type(None): _by(repr),
    type(...): _by(repr),
    int: _int,
    float: _by(float.__repr__),
    complex: _by(complex.__repr__),
    str: _sequence(str),
    bytes: _sequence(bytes),
    bytearray: _sequence(bytearray),
    memoryview: lambda obj, _limit, _depth: f"<memoryview of {memoryview.nbytes.__get__(obj):,} bytes>",
    range: _range,
    list: _container(list, "[", "]"),
    tuple: _container(tuple, "(", ")"),
    set: _container(set, "{", "}"),
    frozenset: _container(frozenset, "frozenset({", "})"),
    deque: _container(deque, "deque([", "])"),
    dict: _dict,
}
