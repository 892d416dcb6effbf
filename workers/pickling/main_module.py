"""The coordinator's `__main__`, mirrored in a worker on demand.

A worker never runs the user's main module. In its place stands an empty one, which asks the coordinator for what is
needed: names that a function refers to when that function is loaded, anything else when it is first looked up. All
functions of `__main__` have the module's dictionary as their globals, so what one of them leaves there the others find,
as long as the worker lives. What the coordinator binds anew it sends again, unasked, before the next call.

Owner of the state: the worker process, under `_Mirror.lock`; any thread may ask.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import pickle
import sys
import threading
import types
from collections.abc import Callable
from typing import Any, NamedTuple

from workers.errors.capture import MISSING_NAMES
from workers.errors.describe import text_of
from workers.pickling.needs import ALL, CODE


class Definition(NamedTuple):
    """The definition of a name of the coordinator's `__main__`."""

    name: str
    token: int
    """Larger than that of what the name stood for before."""
    is_current: bool
    """False: the name means something else by now; asked for by a call that was opened before."""
    pickled: bytes | None
    """None: there is no such name, or its value can't be sent."""
    reason: str = ""
    """Why it can't be sent."""


Wanted = list[tuple[str, int | None]]
"""Names that are asked for, with the token if an older meaning will do."""
Ask = Callable[[Wanted], list[Definition]]


class MainMirror(types.ModuleType):
    """The `sys.modules["__main__"]` of a worker."""

    def __getattr__(self, name: str) -> Any:
        if not (name.startswith("__") and name.endswith("__")) and _mirror is not None:
            _mirror.look_up(name)
            with contextlib.suppress(KeyError):
                return vars(self)[name]
            if name in _mirror.unsendable:
                raise AttributeError(_mirror.unsendable[name])
        msg = f"the main module has no attribute {name!r} that can be sent to a worker"
        raise AttributeError(msg)


class _Mirror:
    def __init__(self, module: MainMirror, ask: Ask, offered: list[Definition]) -> None:
        self.namespace = vars(module)
        self.lock = threading.RLock()
        self.unsendable = MISSING_NAMES
        self.ask = ask
        self._offered = {each.name: each for each in offered}  # came with the start, not looked at yet
        self._known: dict[int, Any] = {}  # by token
        self._bound: dict[str, int] = {}  # token of what the coordinator last gave for a name
        self._loading: dict[int, bytes] = {}  # by token
        self._pending: dict[str, None] = {}  # names that what was loaded needs
        self._depth = 0

    def lookup(self, name: str, token: int) -> Any:
        with self.lock:
            if token in self._known:
                return self._known[token]
            if token in self._loading:  # a circle: what is there of it is known at the second time
                return self._known.setdefault(token, pickle.loads(self._loading[token]))
            self._depth += 1
            try:
                self._take(self._get([(name, token)]))
            finally:
                self._depth -= 1
            self._settle()
            if token not in self._known:
                reason = self.unsendable.get(name, f"{name!r} is no longer in the main module")
                raise AttributeError(reason)
            return self._known[token]

    def made(self, token: int, make: Callable[[], Any]) -> Any:
        with self.lock:
            if token not in self._known:
                value = make()
                self._known.setdefault(token, value)
            return self._known[token]

    def need(self, names: list[str]) -> None:
        with self.lock:
            self._pending.update(dict.fromkeys(names))
            self._settle()

    def look_up(self, name: str) -> None:
        with self.lock:
            if name not in self.namespace:
                self._bound.pop(name, None)  # the coordinator may have it by now
            self.need([name])

    def _settle(self) -> None:
        """Fetch the pending names, and what those need, unless an outer call does."""
        if self._depth:
            return
        self._depth += 1
        try:
            while self._pending:
                names = [n for n in self._pending if n not in self.namespace and n not in self._bound]
                self._pending.clear()
                if names:
                    self._take(self._get([(name, None) for name in names]))
        finally:
            self._depth -= 1

    def _get(self, wanted: Wanted) -> list[Definition]:
        """Return definitions: those that came with the start, else the coordinator's."""
        there = [self._offered[name] for name, token in wanted if self._is_offered(name, token)]
        asked = [(name, token) for name, token in wanted if not self._is_offered(name, token)]
        return there + (self.ask(asked) if asked else [])

    def _is_offered(self, name: str, token: int | None) -> bool:
        offered = self._offered.get(name)
        return offered is not None and token in {None, offered.token}

    def _take(self, definitions: list[Definition]) -> None:
        for each in definitions:
            if each.pickled is not None:
                self._loading[each.token] = each.pickled
        for each in definitions:
            if each.pickled is None:
                self._bound[each.name] = each.token
                if each.reason:  # else there is no such name
                    self.unsendable[each.name] = each.reason
                continue
            try:
                value = pickle.loads(each.pickled) if each.token not in self._known else self._known[each.token]
            except Exception as error:
                self._bound[each.name] = each.token
                why = f"{type(error).__name__}: {text_of(error)}"
                self.unsendable[each.name] = f"`{each.name}` of the main module can't be loaded in a worker: {why}"
                continue
            finally:
                self._loading.pop(each.token, None)
            self._bind(each, self._known.setdefault(each.token, value))

    def _bind(self, each: Definition, value: Any) -> None:
        own = each.name in self.namespace and each.name not in self._bound  # bound by what ran here
        if each.is_current and self._bound.get(each.name, -1) < each.token:
            self._bound[each.name] = each.token
            self.unsendable.pop(each.name, None)
            if not own:
                self.namespace[each.name] = value

    def stock(self) -> None:
        """Fetch the definitions of all code.

        They are loaded when needed.
        """
        with self.lock:
            if CODE not in self._bound:
                self._bound[CODE] = 0
                for each in self.ask([(CODE, None)]):
                    self._offered.setdefault(each.name, each)

    def rebind(self, definitions: list[Definition]) -> None:
        """Take in what the coordinator has rebound."""
        with self.lock:
            loaded = [each for each in definitions if each.name in self._bound or ALL in self._bound]
            self._offered.update({each.name: each for each in definitions})
            for each in loaded:
                if each.pickled is None:
                    self.namespace.pop(each.name, None)
            self._depth += 1
            try:
                self._take(loaded)
            finally:
                self._depth -= 1
            self._settle()


_mirror: _Mirror | None = None


def install(ask: Ask, attributes: dict[str, Any], offered: list[Definition]) -> None:
    """Replace this process's main module by a mirror.

    Args:
        ask: gets definitions from the coordinator.
        attributes: what the coordinator's module has of `__file__` and the like.
        offered: definitions that came with the start of this worker.
    """
    global _mirror  # noqa: PLW0603 - one main module a process
    module = MainMirror("__main__")
    vars(module).update(attributes, __builtins__=builtins)
    _mirror = _Mirror(module, ask, offered)
    sys.modules["__main__"] = module
    os.register_at_fork(before=_prepare_fork, after_in_child=_be_a_child)


def _prepare_fork() -> None:
    """Fetch all functions and classes before this worker forks, as the child can't ask."""
    with contextlib.suppress(Exception):
        if _mirror is not None:
            _mirror.stock()


def _be_a_child() -> None:
    if _mirror is not None:
        _mirror.lock = threading.RLock()
        _mirror.ask = lambda _: []


def lookup(name: str, token: int) -> Any:
    """Return what the coordinator's `__main__` has under `name`, or had when `token` was given out."""
    if _mirror is None:
        raise AttributeError(f"{name!r} belongs to the main module of another process")
    return _mirror.lookup(name, token)


def made(token: int, make: Callable[[], Any]) -> Any:
    """Return the object of this token, making it if needed."""
    return make() if _mirror is None else _mirror.made(token, make)


def need(names: list[str]) -> None:
    """Fetch names into the namespace, if the coordinator has them."""
    if _mirror is not None:
        _mirror.need(names)


def rebind(definitions: list[Definition]) -> None:
    """Take in what the coordinator has rebound."""
    if _mirror is not None:
        _mirror.rebind(definitions)
