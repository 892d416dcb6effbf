"""Hashes what a function reaches, so that a run is resumed only by the same function.

    code and constants · defaults · closure · globals that it reads · attributes · the object that it is bound to
    · classes and functions of the user's own code, likewise · modules of it by content

The hash is the same in every process: no address, no `repr` of an object, no order of a set goes into it. The user's
own code is what lies outside the folders of Python and its packages. Of libraries only names are taken in; their
versions are told apart (`Reach.libraries`). If the function itself is of an installed package, so is what the installer
wrote down of all its files.

What the function changes itself (a counter, a list that it appends to) is left out: it would differ after every run.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import hashlib
import importlib.util
import itertools
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_DEEPEST = 100
_SCALARS = frozenset({int, float, complex, bool, str, type(None), type(...), type(NotImplemented)})
_CHANGING = frozenset({
    "append", "add", "update", "extend", "insert", "pop", "popitem", "remove", "discard", "clear", "setdefault",
    "appendleft", "popleft", "put", "write", "set",
})  # fmt: skip
_NO_STATE = frozenset({
    "__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__static_attributes__",
    "__firstlineno__", "__slots__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__parameters__",
    "__orig_bases__", "__abstractmethods__", "_abc_impl", "__match_args__", "__dataclass_params__",
})  # fmt: skip
_OURS = frozenset({"orchestrator", "workers"})
_GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_CELLS = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_STORES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"})
_STORING = frozenset({"STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF"})
_MAKING = frozenset({"__init__", "__new__", "__post_init__", "__setstate__"})


class Reach:
    """One walk over what a function reaches."""

    def __init__(self, function: Any) -> None:
        self.libraries: set[str] = set()
        """The names of the packages that it reaches and that are not the user's own."""
        self._known: dict[int, bytes] = {}
        """The hashes of what was looked at, by id."""
        self._entered: dict[int, int] = {}
        """What is being looked at, by id: how deep it lies."""
        self._kept: list[Any] = []
        """What was looked at: an id is of one object only while that lives."""
        self._modules: set[str] = set()
        self.digest = self._hash(function, 0)
        package = _top(getattr(_unbound(function), "__module__", None))
        if package in self.libraries:
            self.digest = _joined(self.digest, _installed(package))

    # ---- values -----------------------------------------------------------------------------------------------------

    def _hash(self, value: Any, depth: int) -> bytes:
        kind = type(value)
        if kind in _SCALARS:
            return _joined(kind.__name__, repr(value))
        if kind in {bytes, bytearray}:
            return _joined(kind.__name__, value)
        if id(value) in self._entered:
            return _joined("around", str(depth - self._entered[id(value)]))
        if id(value) in self._known:
            return self._known[id(value)]
        if depth > _DEEPEST:
            return _joined("deep", kind.__qualname__)
        self._entered[id(value)] = depth
        try:
            found = _joined(*self._parts(value, depth + 1))
        except Exception:  # a lock, a connection: nothing that can be told
            found = _joined("opaque", kind.__module__, kind.__qualname__)
        del self._entered[id(value)]
        self._known[id(value)] = found
        self._kept.append(value)
        return found

    def _alone(self, value: Any, depth: int) -> bytes:
        """Return the hash of an unordered collection, whatever was walked before."""
        known, self._known = self._known, {}
        try:
            return self._hash(value, depth)
        finally:
            self._known = known

    def _parts(self, value: Any, depth: int) -> Iterator[Any]:
        kind = type(value)
        yield kind.__qualname__
        if kind in {list, tuple, set, frozenset, dict}:
            yield from self._of_container(value, depth)
        elif kind is CodeType:
            yield from self._of_code(value, depth)
        elif kind is FunctionType:
            yield from self._of_function(value, depth)
        elif kind is MethodType:
            yield self._hash(value.__func__, depth)
            yield self._hash(value.__self__, depth)
        elif isinstance(value, functools.partial):
            yield self._hash([value.func, value.args, value.keywords], depth)
        elif kind is BuiltinFunctionType:
            yield from self._of_builtin(value, depth)
        elif isinstance(value, type):
            yield from self._of_class(value, depth)
        elif kind is ModuleType:
            yield from self._of_module(value)
        elif callable(value) and hasattr(value, "__wrapped__"):  # functools.lru_cache
            yield self._hash(value.__wrapped__, depth)
        else:
            yield from self._of_object(value, depth)

    def _of_container(self, value: Any, depth: int) -> Iterator[Any]:
        if isinstance(value, dict):
            for key, inner in sorted(((self._alone(key, depth), inner) for key, inner in value.items()), key=_first):
                yield key
                yield self._hash(inner, depth)
        elif isinstance(value, set | frozenset):
            yield from sorted(self._alone(inner, depth) for inner in value)
        elif set(map(type, value)) <= _SCALARS:
            yield repr(value)
        else:
            for inner in value:
                yield self._hash(inner, depth)

    # ---- code -------------------------------------------------------------------------------------------------------

    def _of_code(self, code: CodeType, depth: int) -> Iterator[Any]:
        yield code.co_code
        yield repr((code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
        yield repr((code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags))
        for constant in code.co_consts:
            yield self._hash(constant, depth)

    def _of_function(self, function: FunctionType, depth: int) -> Iterator[Any]:
        yield f"{function.__module__}.{function.__qualname__}"
        own = self._is_own(function.__module__)
        changed: set[str] = set()
        if own:
            yield self._hash(function.__code__, depth)
            reads, changed, imports = _names(function.__code__)
            for name in sorted(reads - changed):
                if name in function.__globals__:
                    yield name
                    yield self._hash(function.__globals__[name], depth)
            for name in sorted(_resolved(imports, str(function.__globals__.get("__package__") or ""))):
                yield from self._of_module_named(name)
        yield self._hash([function.__defaults__, function.__kwdefaults__], depth)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name not in changed:
                yield name
                yield self._of_cell(cell, depth)
        yield self._hash({key: inner for key, inner in vars(function).items() if key != "__wrapped__"}, depth)

    def _of_cell(self, cell: CellType, depth: int) -> bytes:
        try:
            return self._hash(cell.cell_contents, depth)
        except ValueError:
            return b"empty"

    def _of_builtin(self, function: Any, depth: int) -> Iterator[Any]:
        yield f"{function.__module__}.{function.__qualname__}"
        self._is_own(function.__module__)
        if function.__self__ is not None and not isinstance(function.__self__, ModuleType):
            yield self._hash(function.__self__, depth)

    def _of_class(self, kind: type, depth: int) -> Iterator[Any]:
        yield f"{kind.__module__}.{kind.__qualname__}"
        if not self._is_own(kind.__module__):
            return
        for base in kind.__mro__[1:]:
            yield self._hash(base, depth)
        for name in sorted(vars(kind).keys() - _NO_STATE):
            inner = vars(kind)[name]
            yield name
            for each in _of_attribute(inner):
                yield self._hash(each, depth)

    def _of_object(self, value: Any, depth: int) -> Iterator[Any]:
        kind = type(value)
        yield self._hash(kind, depth)
        is_own = self._is_own(kind.__module__)
        if is_own or hasattr(kind, "__dataclass_fields__"):
            yield self._hash(_state(value, _changed_attributes(kind) if is_own else set()), depth)
        elif _top(kind.__module__) in _OURS:
            return  # a pool, a stream: nothing that the function computes with
        elif hasattr(value, "__array_interface__") and not value.dtype.hasobject:
            yield repr((str(value.dtype), value.shape))
            yield value.tobytes()
        else:
            reduce = copyreg.dispatch_table.get(kind)
            yield self._hash(value.__reduce_ex__(4) if reduce is None else reduce(value), depth)

    # ---- modules ----------------------------------------------------------------------------------------------------

    def _of_module(self, module: ModuleType) -> Iterator[Any]:
        yield from self._of_module_named(module.__name__)

    def _of_module_named(self, name: str) -> Iterator[Any]:
        """Yield the content of a module of the user's own, and of those that it imports.

        What it imports is read from its text: the attributes that it has now depend on what has run.
        """
        yield name
        if name in self._modules or not self._is_own(name):
            return
        self._modules.add(name)
        path = _path_of(name)
        if path is None or not path.is_file():
            return
        text = path.read_bytes()
        yield text
        if path.suffix == ".py":
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            _, _, imports = _names(compile(text, str(path), "exec", dont_inherit=True))
            for other in sorted(_resolved(imports, package)):
                yield from self._of_module_named(other)

    def _is_own(self, name: str | None) -> bool:
        """Whether a module is the user's own code.

        Libraries are noted.
        """
        top = _top(name)
        if top == "__main__":
            return True
        if name is None or top in _OURS or top in sys.builtin_module_names:
            return False
        path = _path_of(name)
        if path is None:  # made while the program runs
            return name in sys.modules and top not in sys.stdlib_module_names
        if not any(path.is_relative_to(each) for each in _libraries()):
            return True
        if top in sys.stdlib_module_names:
            return False
        self.libraries.add(top)
        return False


# ---- what is read out of code ---------------------------------------------------------------------------------------


def _names(code: CodeType) -> tuple[set[str], set[str], set[tuple[int, str]]]:
    """Return the globals that code reads, the names that it changes itself, and the modules that it imports."""
    reads: set[str] = set()
    changed: set[str] = set()
    imports: set[tuple[int, str]] = set()
    steps = list(dis.get_instructions(code))
    for at, step in enumerate(steps):
        name = str(step.argval)
        if step.opname in _GLOBALS:
            reads.add(name)
        if step.opname in _STORES and name not in code.co_cellvars:
            changed.add(name)
        if step.opname in _GLOBALS | _CELLS and _is_changed(steps[at + 1 : at + 5]):
            changed.add(name)
        if step.opname == "IMPORT_NAME":
            level = steps[at - 2].argval if at >= 2 and isinstance(steps[at - 2].argval, int) else 0
            imports.add((level, name))
            for each in itertools.takewhile(lambda each: each.opname in {"IMPORT_FROM"} | _STORING, steps[at + 1 :]):
                if each.opname == "IMPORT_FROM":
                    imports.add((level, f"{name}.{each.argval}" if name else str(each.argval)))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = _names(constant)
            reads, changed, imports = reads | inner[0], changed | inner[1], imports | inner[2]
    return reads, changed, imports


def _is_changed(after: list[dis.Instruction]) -> bool:
    """Whether the object just loaded is changed: `x.append(…)`, `x[key] = …`, `x[key] += …`."""
    names = [each.opname for each in after]
    if names[:1] in (["LOAD_ATTR"], ["LOAD_METHOD"]):
        return after[0].argval in _CHANGING
    return names[1:2] in (["STORE_SUBSCR"], ["DELETE_SUBSCR"]) or names[1:4] == ["COPY", "COPY", "BINARY_SUBSCR"]


def _changed_attributes(kind: type) -> set[str]:
    """Return the attributes that an object's own methods change, but for those that make it."""
    found: set[str] = set()
    for base in kind.__mro__[:-1]:
        for name, method in vars(base).items():
            if isinstance(method, FunctionType) and name not in _MAKING:
                steps = list(dis.get_instructions(method))
                for at, step in enumerate(steps):
                    is_store = step.opname in {"STORE_ATTR", "DELETE_ATTR"}
                    if is_store or (step.opname == "LOAD_ATTR" and _is_changed(steps[at + 1 : at + 5])):
                        found.add(str(step.argval))
    return found


def _resolved(imports: set[tuple[int, str]], package: str) -> Iterator[str]:
    for level, name in imports:
        try:
            yield importlib.util.resolve_name("." * level + name, package)
        except ImportError:
            continue


def _of_attribute(value: Any) -> list[Any]:
    """Return the object behind an attribute of a class."""
    if isinstance(value, staticmethod | classmethod):
        return [type(value).__name__, value.__func__]
    if isinstance(value, property):
        return ["property", value.fget, value.fset, value.fdel]
    if isinstance(value, functools.cached_property):
        return ["cached", value.func]
    if type(value).__qualname__ in {"member_descriptor", "getset_descriptor"}:
        return ["slot"]
    return [value]


def _state(value: Any, without: set[str]) -> dict[str, Any]:
    """Return the attributes of an object, those in slots too."""
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name) and name not in {"__dict__", "__weakref__"}:
                found[name] = getattr(value, name)
    return {name: inner for name, inner in found.items() if name not in without}


# ---- where code is from ---------------------------------------------------------------------------------------------


@functools.cache
def _libraries() -> tuple[Path, ...]:
    """Return the folders of Python and its packages."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    paths = [sysconfig.get_paths()[name] for name in names] + site.getsitepackages() + [site.getusersitepackages()]
    return tuple(Path(path).resolve() for path in paths)


def _path_of(name: str) -> Path | None:
    """Return the file of a module, or None.

    Of a library that isn't loaded, that of its package.
    """
    module = sys.modules.get(name)
    if module is not None:
        origin = getattr(module, "__file__", None)
    else:
        top = _top(name)
        if top != name:
            found = _path_of(top)
            if found is None or any(found.is_relative_to(each) for each in _libraries()):
                return found
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, AttributeError, ValueError):
            return None
        origin = None if spec is None else spec.origin
    return None if origin in {None, "built-in", "frozen"} else Path(str(origin)).resolve()


def _unbound(function: Any) -> Any:
    """Return the user's own function or class in what is called."""
    for _ in range(_DEEPEST):
        inner = getattr(function, "func", None) if isinstance(function, functools.partial) else None
        inner = inner or getattr(function, "__wrapped__", None)
        if inner is None:
            break
        function = inner
    return function if hasattr(function, "__module__") else type(function)


def _installed(package: str) -> str:
    """Return the installer's list of a package's files with their hashes, or ""."""
    from importlib.metadata import PackageNotFoundError, distribution, packages_distributions  # noqa: PLC0415 - slow

    try:
        return distribution(package).read_text("RECORD") or ""
    except PackageNotFoundError:
        names = packages_distributions().get(package, ())
        return "".join(distribution(name).read_text("RECORD") or "" for name in names)


def _top(name: str | None) -> str:
    return str(name).partition(".")[0]


def _first(pair: tuple[bytes, Any]) -> bytes:
    return pair[0]


def _joined(*parts: Any) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else bytes(part)
        digest.update(f"{len(data)}:".encode())
        digest.update(data)
    return digest.digest()
