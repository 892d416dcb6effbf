"""Sends objects that may only be inherited: locks, queues, events, values and pipe ends of `multiprocessing`.

They are sent with the start of a worker, in the library's own spawning context. A forked worker has them already.
Runs in the coordinator, but for `inherited`, which a forked worker calls.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
from collections.abc import Mapping
from multiprocessing import context, reduction, util
from typing import Any

_KINDS = {
    "multiprocessing.synchronize": ("SemLock", "Condition", "Event"),
    "multiprocessing.queues": ("Queue", "SimpleQueue"),
    "multiprocessing.sharedctypes": ("SynchronizedBase",),
    "multiprocessing.heap": ("BufferWrapper", "Arena"),
}
_PIPE_ENDS = {"multiprocessing.connection": ("_ConnectionBase",)}
_by_id: dict[int, Any] = {}


def _is_of(obj: Any, kinds: Mapping[str, tuple[str, ...]]) -> bool:
    for module, names in kinds.items():
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(obj, tuple(getattr(loaded, name) for name in names)):
            return True
    return False


def names_in(namespace: dict[str, Any]) -> set[str]:
    """Return a module's names of such objects.

    Not of pipe ends, which must not be held open.
    """
    return {name for name, value in list(namespace.items()) if _is_of(value, _KINDS)}


def is_starting() -> bool:
    """Whether a worker is being started, by this thread."""
    return context.get_spawning_popen() is not None


def reduced(obj: Any) -> Any:
    """Return how such an object is pickled for a worker that is being started.

    None: as always.
    """
    popen: Any = context.get_spawning_popen()
    if getattr(popen, "forks", False):
        if not (_is_of(obj, _KINDS) or _is_of(obj, _PIPE_ENDS)):
            return None
        _by_id[id(obj)] = obj
        return inherited, (id(obj),)
    if "multiprocessing.synchronize" in sys.modules:
        _make_sendable(obj)
    picklers: Any = reduction.ForkingPickler
    reducer = picklers._extra_reducers.get(type(obj))  # noqa: SLF001 - of pipe ends, sockets, shared values
    return None if reducer is None else reducer(obj)


def inherited(number: int) -> Any:
    """Return the object that this forked process has from its parent."""
    return _by_id[number]


def _make_sendable(obj: Any) -> None:
    """Give locks of a forking context a name, by which others can find them.

    They are changed in place, so that the program's own object is the same lock.
    """
    from multiprocessing import synchronize  # noqa: PLC0415 - loaded already

    if isinstance(obj, synchronize.SemLock):
        if getattr(obj, "_is_fork_ctx", False):
            _name(obj)
    elif isinstance(obj, synchronize.Condition):
        for lock in vars(obj).values():
            if isinstance(lock, synchronize.SemLock):
                _make_sendable(lock)
        obj._make_methods()  # type: ignore[attr-defined]  # noqa: SLF001 - it holds on to the lock's methods
    elif _is_of(obj, {"multiprocessing.sharedctypes": ("SynchronizedBase",)}):
        _make_sendable(obj.get_lock())
        obj.acquire, obj.release = obj.get_lock().acquire, obj.get_lock().release


def _name(lock: Any) -> None:
    _multiprocessing = importlib.import_module("_multiprocessing")  # what multiprocessing's locks are made of

    if any(child._popen.method == "fork" for child in multiprocessing.active_children()):  # type: ignore[attr-defined]  # noqa: SLF001
        raise RuntimeError(
            f"a {type(lock).__name__} of the default context may be in use by a process that was forked, and can't be "
            'sent to a worker that is not: make it with multiprocessing.get_context("spawn"), or the pool with '
            'start_method="fork"'
        )
    old = lock._semlock  # noqa: SLF001
    if old._count():  # noqa: SLF001
        raise RuntimeError(f"a {type(lock).__name__} can't be sent to a worker while it is held here")
    name = lock._make_name()  # noqa: SLF001
    make: Any = _multiprocessing.SemLock
    lock._semlock = make(old.kind, old._get_value(), old.maxvalue, name, False)  # noqa: SLF001
    lock._is_fork_ctx = False  # noqa: SLF001
    lock._make_methods()  # noqa: SLF001
    from multiprocessing import resource_tracker  # noqa: PLC0415

    resource_tracker.register(name, "semaphore")
    util.Finalize(lock, type(lock)._cleanup, (name,), exitpriority=0)  # noqa: SLF001
