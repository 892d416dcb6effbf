"""Finds the names of `__main__` that a piece of code refers to.

The compiler knows most of them. Code that looks names up by text (`eval`, `globals()`) may need any of them.
"""

from __future__ import annotations

import builtins
import re
import sys
from types import CodeType, ModuleType
from typing import Any

ALL = "*"
"""Stands for every name there is, and any that comes."""
CODE = "()"
"""Stands for the names of all functions, classes and modules, and any that come."""
_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_GLOBAL"}
_BY_TEXT = {"eval", "exec", "globals", "vars", "_getframe", "currentframe", "__main__"}
_IN_QUERIES = re.compile(r"@([^\W\d]\w*)")
_OF_THE_MODULE = {"__name__", "__file__", "__spec__", "__loader__", "__package__", "__builtins__", "__cached__"}

_seen: dict[CodeType, tuple[frozenset[str], frozenset[str], frozenset[str]]] = {}
_SEEN_KEPT = 4096


def _parts(code: CodeType) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return the global names, all names and the names in queries of a piece of code and of what is nested in it."""
    known = _seen.get(code)
    if known is None:
        import dis  # noqa: PLC0415 - only for what `__main__` defines

        loads = {each.argval for each in dis.get_instructions(code) if each.opname in _LOADS}
        names = set(code.co_names)
        queried: set[str] = set()
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                inner = _parts(constant)
                loads |= inner[0]
                names |= inner[1]
                queried |= inner[2]
            elif isinstance(constant, str):
                queried |= set(_IN_QUERIES.findall(constant))
        if len(_seen) >= _SEEN_KEPT:
            _seen.clear()
        known = _seen[code] = (frozenset(loads), frozenset(names), frozenset(queried))
    return known


def needs_of(code: CodeType, namespace: dict[str, Any]) -> list[str]:
    """Return the names that `code` may look up in `namespace`, now or once they are there."""
    loads, names, queried = _parts(code)
    needed = {name for name in loads if name in namespace or not hasattr(builtins, name)} - _OF_THE_MODULE
    if "query" in names:  # as pandas has it: df.query("a < @limit")
        for name in loads:
            if isinstance(text := namespace.get(name), str):
                queried |= set(_IN_QUERIES.findall(text))
        needed |= {name for name in queried if name in namespace}
    return [*sorted(needed), ALL] if names & _BY_TEXT else sorted(needed)


def submodules_of(code: CodeType, values: list[Any]) -> list[str]:
    """Return the loaded modules that `code` reaches as attributes of a package among `values`: `package.module.f`."""
    names = _parts(code)[1]
    found = []
    for package in values:
        if isinstance(package, ModuleType) and hasattr(package, "__path__"):
            prefix = f"{package.__name__}."
            inside = [name for name in list(sys.modules) if name.startswith(prefix)]
            found += [name for name in inside if names.issuperset(name[len(prefix) :].split("."))]
    return found
