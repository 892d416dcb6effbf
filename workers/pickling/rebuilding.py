"""The functions that load pickles of `by_value`, and that reduce special kinds of objects.

The names in here stand in pickles that cross between processes, and only there.
"""

from __future__ import annotations

import functools
import importlib
import marshal
from types import CellType, CodeType, FunctionType
from typing import Any

from workers.pickling import bindings, main_module


def code(data: bytes) -> CodeType:
    """Return a code object, with the name of its file."""
    loaded: CodeType = marshal.loads(data)  # noqa: S302 - from our own process
    return loaded


def named(name: str, token: int, *path: str) -> Any:
    """Return what `__main__` of the coordinator has, or had, under a name."""
    ours = bindings.has_token(token)  # back where it came from
    found = bindings.of_token(name, token).value if ours else main_module.lookup(name, token)
    for step in path:
        found = getattr(found, step)
    return found


class Reference:
    """A reference, in a pickle, to a container that `__main__` has under a name."""

    def __init__(self, name: str, token: int) -> None:
        self._parts = (name, token)

    def __reduce__(self) -> Any:
        return named, self._parts


def root(token: int, make: Any, arguments: tuple[Any, ...]) -> Any:
    """Make the object of a name, and register it before it is filled."""
    return main_module.made(token, lambda: make(*arguments))


def function(compiled: CodeType, cells: int) -> FunctionType:
    """Make a function of `__main__`, to be filled.

    Its globals are those of the worker's main module.
    """
    closure = tuple(CellType() for _ in range(cells)) if cells else None
    return FunctionType(compiled, bindings.namespace(), None, None, closure)


def fill_function(made: FunctionType, parts: Any) -> None:
    """Fill a function, and its globals with what it needs."""
    state, own, contents, needs, modules = parts
    for name, value in state.items():
        if name != "__type_params__" or value:
            setattr(made, name, value)
    vars(made).update(own)
    for at, value in contents:
        (made.__closure__ or ())[at].cell_contents = value
    for name in modules:
        importlib.import_module(name)
    main_module.need(needs)


def lru_cached(wrapped: Any, parameters: dict[str, Any]) -> Any:
    """Make a function with `functools.lru_cache` and an empty cache."""
    return functools.lru_cache(**parameters)(wrapped)


def is_singledispatch(obj: FunctionType) -> bool:
    """Whether an object was made by `functools.singledispatch`."""
    return obj.__globals__ is vars(functools) and {"registry", "dispatch", "__wrapped__"} <= vars(obj).keys()


def singledispatch(wrapped: Any, implementations: list[tuple[type, Any]]) -> Any:
    """Make a generic function anew."""
    made = functools.singledispatch(wrapped)
    for kind, implementation in implementations:
        if kind is not object:
            made.register(kind, implementation)
    return made


def named_kind(obj: Any) -> Any:
    """Reduce what `typing` pickles by name only: a NewType, ParamSpec, TypeVarTuple or `type` statement."""
    attributes = {"__module__": obj.__module__}
    kind = type(obj).__name__
    if kind == "NewType":
        attributes["__qualname__"] = obj.__qualname__
        return type(obj), (obj.__name__, obj.__supertype__), attributes, None, None, set_attributes
    options: tuple[str, ...] = ()
    if kind == "ParamSpec":
        options = ("bound", "covariant", "contravariant", "infer_variance")
    if kind == "TypeAliasType":
        return of_keywords, (type(obj), (obj.__name__, obj.__value__), {"type_params": obj.__type_params__})
    given = {name: value for name in options if (value := getattr(obj, f"__{name}__", None))}
    return of_keywords, (type(obj), (obj.__name__,), given), attributes, None, None, set_attributes


def of_keywords(kind: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Call a class."""
    return kind(*arguments, **keywords)


def set_attributes(made: Any, attributes: dict[str, Any]) -> None:
    """Set attributes of what was just made."""
    for name, value in attributes.items():
        setattr(made, name, value)
