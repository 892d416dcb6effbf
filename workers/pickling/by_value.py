"""Pickle what plain pickle can't send to a worker, and what `__main__` defines.

What `__main__` has under a name travels as that name with its token (`workers.pickling.bindings`); the worker asks for
it once (`workers.pickling.main_module`). Functions of `__main__` that have no name there travel by value, and run with
the worker's one namespace as their globals. Everything else is cloudpickle's. Used wherever something is sent to
workers.
"""

from __future__ import annotations

import copyreg
import functools
import io
import marshal
import pickle
import sys
import typing
from collections.abc import Callable, Mapping
from functools import cache
from types import CodeType, FunctionType
from typing import Any

from workers.pickling import bindings, inheriting, memmap, rebuilding
from workers.pickling.needs import needs_of, submodules_of

_LRU_CACHED: type = type(functools.lru_cache(len))
_NAMED_KINDS = tuple(
    getattr(typing, name) for name in ("NewType", "ParamSpec", "TypeVarTuple", "TypeAliasType") if hasattr(typing, name)
)
_CONTAINERS = (list, dict, set, bytearray)
BufferCallback = Callable[[pickle.PickleBuffer], Any]


def dumps(
    obj: Any, buffer_callback: BufferCallback | None = None, reducers: Mapping[type, Any] | None = None
) -> bytes:
    """Return a pickle of `obj` for a worker.

    Args:
        obj: what to pickle.
        buffer_callback: as of `pickle`.
        reducers: what reduces objects of some classes, instead of their own way.

    Raises:
        Exception: whatever says best why it can't be pickled.
    """
    return _dumped(obj, None, buffer_callback, reducers)[0]


@memmap.sends_memmaps_by_name
def with_names(obj: Any) -> tuple[bytes, set[str]]:
    """Return a pickle of `obj` for a worker, and the names of `__main__` that loading it takes."""
    return _dumped(obj, None, None)


@memmap.sends_memmaps_by_name
def definition(name: str, bound: bindings.Binding) -> tuple[bytes, set[str]]:
    """Return a pickle by value of what `__main__` means by `name`.

    Or meant. Also returns the names that loading it takes.
    """
    return _dumped(bound.value, (name, bound), None)


def _dumped(
    obj: Any,
    root: tuple[str, bindings.Binding] | None,
    buffer_callback: BufferCallback | None,
    reducers: Mapping[type, Any] | None = None,
) -> tuple[bytes, set[str]]:
    memmap.register()
    file = io.BytesIO()
    pickler = _pickler_class()(file, root, buffer_callback, reducers)
    pickler.dump(obj)
    return file.getvalue(), pickler.names


@cache
def _pickler_class() -> Any:
    import cloudpickle  # noqa: PLC0415 - slow to import, and not every program needs it

    class ByValue(_Reducing, cloudpickle.Pickler):  # type: ignore[misc]
        pass

    return ByValue


class _Reducing:
    """A mixin of cloudpickle's pickler, whose rules come first."""

    dispatch_table: Any

    def __init__(
        self,
        file: Any,
        root: tuple[str, bindings.Binding] | None,
        buffer_callback: BufferCallback | None,
        reducers: Mapping[type, Any] | None,
    ) -> None:
        make: Any = super().__init__
        if reducers:  # before pickle's own constructor, which looks here
            self.dispatch_table = self.dispatch_table.new_child(reducers)
        make(file, protocol=pickle.HIGHEST_PROTOCOL, buffer_callback=buffer_callback)
        self._root = root
        self._globals = bindings.namespace()
        self._shared: dict[int, str] | None = None
        self.names: set[str] = set()
        """Of `__main__`, that what was pickled refers to."""
        self._starting = inheriting.is_starting()

    def reducer_override(self, obj: Any) -> Any:
        """Return how an object is pickled.

        `NotImplemented`: as pickle does by default.
        """
        if type(obj) is CodeType:
            return rebuilding.code, (marshal.dumps(obj),)  # cloudpickle would drop the name of the file
        if self._starting and (reduced := inheriting.reduced(obj)) is not None:
            return reduced
        place = bindings.place_of(obj)
        root = self._root
        if place is not None and (root is None or place.name != root[0]):
            bound = bindings.current(place.name)
            self.names.add(place.name)
            return rebuilding.named, (place.name, bound.token, *place.path)
        reduced = self._by_value(obj)
        if root is not None and obj is root[1].value:
            return self._as_root(obj, reduced, root[1].token)
        return reduced

    def _by_value(self, obj: Any) -> Any:
        if isinstance(obj, FunctionType) and obj.__globals__ is self._globals:
            return self._function(obj)
        special = _special(obj)
        if special is not None and not _is_in_its_module(obj):
            return special
        override: Any = super().reducer_override  # type: ignore[misc]
        reduced = override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) > 2:
            (attributes, slots), *rest = reduced[2:]
            return (*reduced[:2], (self._values(attributes), slots), *rest)
        return reduced

    def _function(self, function: FunctionType) -> Any:
        code = function.__code__
        cells = function.__closure__ or ()
        needs = needs_of(code, self._globals)
        self.names.update(needs)
        contents = [(at, self._value(cell.cell_contents)) for at, cell in enumerate(cells) if not _is_empty(cell)]
        values = [self._globals.get(name) for name in needs] + [value for _, value in contents]
        defaults = function.__defaults__
        state = {
            "__name__": function.__name__,
            "__qualname__": function.__qualname__,
            "__module__": function.__module__,
            "__doc__": function.__doc__,
            "__annotations__": _annotations(function),
            "__defaults__": None if defaults is None else tuple(map(self._value, defaults)),
            "__kwdefaults__": function.__kwdefaults__ and self._values(function.__kwdefaults__),
            "__type_params__": getattr(function, "__type_params__", ()),
        }
        own = self._values(vars(function))
        parts = (state, own, contents, needs, submodules_of(code, values))
        return rebuilding.function, (code, len(code.co_freevars)), parts, None, None, rebuilding.fill_function

    def _as_root(self, obj: Any, reduced: Any, token: int) -> Any:
        """Register the object in the worker as soon as it is made, as its content may refer to it."""
        if reduced is NotImplemented:
            if isinstance(obj, FunctionType | type):  # of a module, by its name
                return reduced
            reduce = self.dispatch_table.get(type(obj)) or copyreg.dispatch_table.get(type(obj))
            reduced = reduce(obj) if reduce else obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        if isinstance(reduced, str):
            if pickle.whichmodule(obj, reduced) != "__main__":  # type: ignore[attr-defined]
                return reduced
            # A singleton, which is pickled by the name that this is to define.
            arguments = obj.__getnewargs__() if hasattr(obj, "__getnewargs__") else ()
            reduced = (copyreg.__newobj__, (type(obj), *arguments), obj.__getstate__())  # type: ignore[attr-defined]
        made, arguments, *rest = reduced
        return rebuilding.root, (token, made, arguments), *rest

    # ---- one object, wherever it is referred to ---------------------------------------------------------------

    def _values(self, values: Any) -> dict[str, Any]:
        return {name: self._value(value) for name, value in values.items()}

    def _value(self, value: Any) -> Any:
        """Return the value, or its placeholder if `__main__` has this very container under a name."""
        if type(value) not in _CONTAINERS:
            return value
        if self._shared is None:
            named = list(self._globals.items())
            self._shared = {id(each): name for name, each in named if type(each) in _CONTAINERS}
        name = self._shared.get(id(value))
        if name is None or name.startswith("__"):
            return value
        self.names.add(name)
        return rebuilding.Reference(name, bindings.current(name).token)


def _special(obj: Any) -> Any:
    """Reduce an object of a kind that neither pickle nor cloudpickle can, or return None."""
    kind = type(obj)
    if kind is FunctionType and rebuilding.is_singledispatch(obj):
        return rebuilding.singledispatch, (obj.__wrapped__, list(obj.registry.items()))
    if kind is _LRU_CACHED:
        own = {name: value for name, value in vars(obj).items() if name != "__wrapped__"}
        return rebuilding.lru_cached, (obj.__wrapped__, obj.cache_parameters()), own
    if kind in _NAMED_KINDS:
        return rebuilding.named_kind(obj)
    if kind is functools.cached_property:
        own = {name: value for name, value in vars(obj).items() if name != "lock"}
        return kind, (obj.func,), own
    return None


def _is_in_its_module(obj: Any) -> bool:
    """Whether an object is found by its name in a module that the worker imports."""
    module = getattr(obj, "__module__", None)
    found: Any = None if module == "__main__" else sys.modules.get(str(module))
    dotted = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None) or ""
    for step in dotted.split("."):
        found = getattr(found, step, None)
    return found is obj


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - it raises if there is none
    except ValueError:
        return True
    return False


def _annotations(function: FunctionType) -> dict[str, Any]:
    try:
        return dict(function.__annotations__)
    except Exception:  # since Python 3.14 they are worked out here, and may refer to what isn't there
        return {}
