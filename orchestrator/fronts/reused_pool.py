"""One pool that is kept between uses, for fronts whose callers make no pool of their own.

Owns that pool. It ends when nobody has used it for a while, when another one is asked for, and when the interpreter
exits. A user that holds a pool which was replaced meanwhile keeps it until it has done with it.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.pool.internals import internals_of
from orchestrator.pool.pool import Pool


@dataclass(slots=True)
class _Kept:
    pool: Pool | None = None
    made_for: tuple[Any, ...] = ()
    users: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)
    idle_s: float | None = None
    used_at: float = 0.0
    timer: threading.Timer | None = None
    lock: Any = field(default_factory=threading.RLock)
    """Reentrant, as the garbage collector may end a use while this thread holds it."""


_kept = _Kept()


def use(user: object, workers: int, idle_s: float | None, options: dict[str, Any], beside: object = None) -> Pool:
    """Return the pool that is kept, or a new one if that was made for something else.

    Args:
        user: who uses it until `leave`, or until it is dropped.
        workers: how many workers it has at least. A pool that nobody else uses gets exactly as many.
        idle_s: seconds without a user after which the pool ends; None: it stays.
        options: those of `Pool`.
        beside: what else workers were made for, such as variables of the environment.
    """
    made_for = (*sorted(options.items()), beside)
    unused = None
    with _kept.lock:
        pool = _kept.pool
        if pool is None or not _is_usable(pool) or not _same(_kept.made_for, made_for):
            unused = None if _kept.users else pool  # one that others still use ends when they drop it
            pool = _kept.pool = Pool(workers, **options)
            _kept.made_for = made_for
            _kept.users = weakref.WeakSet()
        wanted = max(workers, pool.size) if _kept.users - {user} else workers
        if pool.size != wanted:
            pool.resize(wanted)
        _kept.users.add(user)
        _kept.idle_s = idle_s
    if unused is not None:
        unused.close()
    return pool


def leave(user: object) -> None:
    """Say that a user has done with the pool for now."""
    with _kept.lock:
        _kept.users.discard(user)
        _kept.used_at = time.monotonic()
        if _kept.timer is None and _kept.pool is not None and _kept.idle_s is not None:
            _watch(_kept.idle_s)


def shutdown() -> None:
    """End the pool that is kept, if there is one.

    Calls that it still has are done first. The next use makes a new one.
    """
    with _kept.lock:
        pool, _kept.pool = _kept.pool, None
        timer, _kept.timer = _kept.timer, None
    if timer is not None:
        timer.cancel()
        if timer is not threading.current_thread():
            timer.join()
    if pool is not None:
        pool.close()


def _watch(wait_s: float) -> None:
    _kept.timer = threading.Timer(wait_s, _end_if_idle)
    _kept.timer.daemon = True
    _kept.timer.name = "orchestrator-idle"
    _kept.timer.start()


def _end_if_idle() -> None:
    with _kept.lock:
        _kept.timer = None
        if _kept.pool is None or _kept.idle_s is None:
            return
        left_s = _kept.idle_s if _kept.users else _kept.used_at + _kept.idle_s - time.monotonic()
        if left_s > 0:
            _watch(left_s)
            return
        pool, _kept.pool = _kept.pool, None
    pool.close()


def _is_usable(pool: Pool) -> bool:
    """Whether a pool is open, and its workers could start."""
    try:
        internals_of(pool).engine.check_usable()
    except OrchestratorError:
        return False
    return True


def _same(one: Any, other: Any) -> bool:
    """Whether two tuples hold the same.

    Values whose comparison has no answer, such as arrays, differ.
    """
    if type(one) is type(other) is tuple:
        return len(one) == len(other) and all(map(_same, one, other))
    try:
        return one is other or bool(one == other)
    except Exception:
        return False


def _forget() -> None:
    """Forget the parent's pool in a forked child, which has none of its workers."""
    global _kept  # noqa: PLW0603 - its lock may be held by a thread that does not exist here
    _kept = _Kept()


def _end_at_exit() -> None:
    if _kept.pool is not None:
        _kept.pool.cancel_waiting()
    shutdown()


threading._register_atexit(_end_at_exit)  # type: ignore[attr-defined]  # noqa: SLF001 - as `ending` does
os.register_at_fork(after_in_child=_forget)
