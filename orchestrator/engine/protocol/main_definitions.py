"""Answers workers that ask for names of the program's `__main__`.

See `workers.pickling.main_module`.

Owner: the coordinator, under its lock. Pickling by value may run user code (`__reduce__`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Protocol

from workers.errors.describe import text_of
from workers.errors.signal_handlers import is_of_a_handler
from workers.pickling import bindings, by_value
from workers.pickling.main_module import Definition, Wanted
from workers.pickling.needs import ALL, CODE

_CODE = (FunctionType, type, ModuleType, BuiltinFunctionType)
_SMALL = (*_CODE, int, float, complex, str, type(None))
"""What a worker gets before it forks: not the data, which may be large."""
_OF_THE_MODULE = ("__file__", "__package__", "__spec__", "__doc__", "__cached__")


def attributes_of_main() -> dict[str, Any]:
    """Return the attributes of a worker's `__main__`."""
    main = vars(sys.modules["__main__"])
    found = {name: main.get(name) for name in _OF_THE_MODULE if name in main}
    spec = found.get("__spec__")
    if spec is not None:  # its loader may be anything
        from importlib.machinery import ModuleSpec  # noqa: PLC0415 - only for `python -m`

        found["__spec__"] = ModuleSpec(spec.name, None, origin=spec.origin)
    return found


class AnswersWorkers(Protocol):
    """Knows the program's `__main__`."""

    def answer(self, told: dict[str, int], wanted: Wanted) -> list[Definition]:
        """Return what a worker asked for, `told` being the token of each name that it was told of."""

    def rebound(self, told: dict[str, int]) -> list[Definition]:
        """Return what a worker was told of, and what means something else by now."""

    def noticed(self) -> bool:
        """Whether anything has changed since this was last asked."""


class Definitions:
    """Answers workers' questions about `__main__`, and sends them names that were rebound.

    What a worker was told is the token of each name (`Lane.names`).
    """

    def __init__(self) -> None:
        self._generation = bindings.refresh()

    def answer(self, told: dict[str, int], wanted: Wanted) -> list[Definition]:
        """Return what was asked for, with the code that it needs and this worker lacks."""
        definitions: list[Definition] = []
        names: set[str] = set()
        for name, token in wanted:
            if name in {ALL, CODE}:
                told[name] = 0
                definitions.append(Definition(name, 0, is_current=True, pickled=None))
                definitions += self._of_kind(told)
            else:
                definitions.append(_define(told, name, token, names))
        self._define_code(told, names, definitions)
        return definitions

    def _of_kind(self, told: dict[str, int]) -> list[Definition]:
        """Return the definitions that this worker lacks, of the kinds of which it wants all."""
        if ALL not in told and CODE not in told:
            return []
        names = [name for name in bindings.track_all() if name not in told]
        if ALL not in told:
            names = [name for name in names if isinstance(bindings.current(name).value, _SMALL)]
        return [_define(told, name, None, set()) for name in names]

    def _define_code(self, told: dict[str, int], names: set[str], definitions: list[Definition]) -> None:
        """Add the definitions of these names, and of those that they take, as far as they are code."""
        while names:
            name = names.pop()
            if name not in told and name not in {ALL, CODE} and isinstance(bindings.current(name).value, _CODE):
                definitions.append(_define(told, name, None, names))

    def rebound(self, told: dict[str, int]) -> list[Definition]:
        """Return the definitions of names that were rebound since this worker was told."""
        changed = [name for name, token in told.items() if token and bindings.current(name).token != token]
        names: set[str] = set()
        definitions = [_define(told, name, None, names) for name in changed]
        self._define_code(told, names, definitions)
        return definitions + self._of_kind(told)

    def noticed(self) -> bool:
        """Whether any name was rebound since this was last asked."""
        before, self._generation = self._generation, bindings.refresh()
        return before != self._generation


def offered(names: Iterable[str]) -> list[Definition]:
    """Return the definitions of these names, and of all that those take, for a worker that is to be started."""
    told: dict[str, int] = {}
    pending, definitions = set(names), []
    if ALL in pending:
        pending.update(bindings.track_all())
    while pending - told.keys() - {ALL}:
        name = (pending - told.keys() - {ALL}).pop()
        definitions.append(_define(told, name, None, pending))
    return definitions


def _define(told: dict[str, int], name: str, token: int | None, names: set[str]) -> Definition:
    """Pickle one definition, and add the names that it takes to `names`."""
    now = bindings.current(name)
    bound = now if token is None else bindings.of_token(name, token)
    is_current = bound.token == now.token
    if is_current:
        told[name] = now.token
    if bound.value is bindings.MISSING:
        return Definition(name, bound.token, is_current, None)
    try:
        pickled, taken = by_value.definition(name, bound)
    except Exception as error:
        if is_of_a_handler(error):
            raise
        why = f"{type(error).__name__}: {text_of(error)}"
        reason = f"`{name}` of the main module can't be sent to a worker ({why}); create it in an initializer"
        return Definition(name, bound.token, is_current, None, reason)
    names |= taken
    return Definition(name, bound.token, is_current, pickled)
