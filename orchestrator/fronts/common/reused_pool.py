"""A pool that is kept between uses, for fronts whose callers make no pool of their own.

It ends when nobody has used it for a while, when another one is asked for, and when the interpreter exits. A user that
holds a pool which was replaced meanwhile keeps it until it has done with it.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.fronts.common import closing
from orchestrator.pool.internals import internals_of
from orchestrator.pool.pool import Pool


class ReusedPool:
    """Owns the pool of a front: none until the first use."""

    def __init__(self) -> None:
        self._forget()
        _all.append(self)

    def _forget(self) -> None:
        self.pool: Pool | None = None
        self._made_for: tuple[Any, ...] = ()
        self._users: weakref.WeakSet[Any] = weakref.WeakSet()
        self._idle_s: float | None = None
        self._used_at = 0.0
        self._timer: threading.Timer | None = None
        self._lock = threading.RLock()  # reentrant, as the garbage collector may end a use while this thread holds it

    def use(
        self,
        user: object,
        workers: int | None,
        idle_s: float | None = None,
        options: dict[str, Any] | None = None,
    ) -> Pool:
        """Return the pool that is kept, or a new one if that was made for something else.

        Args:
            user: who uses it until `leave`, or until it is dropped.
            workers: how many workers it has at least; None: as many as it has, at first as many as this process may use
                CPUs. A pool that nobody else uses gets exactly as many.
            idle_s: seconds without a user after which the pool ends; None: it stays.
            options: those of `Pool`.

        Raises:
            ConfigError: it can't have so many.
        """
        options = options or {}
        made_for = tuple(sorted(options.items()))
        unused = None
        with self._lock:
            pool = self.pool
            if pool is None or not _is_usable(pool) or not _same(self._made_for, made_for):
                unused = None if self._users else pool  # one that others still use ends when they drop it
                pool = self.pool = Pool(workers, **options)
                closing.keep(pool)
                self._made_for = made_for
                self._users = weakref.WeakSet()
            elif workers is not None:
                wanted = max(workers, pool.size) if self._users - {user} else workers
                if pool.size != wanted:
                    pool.resize(wanted)
            self._users.add(user)
            self._idle_s = idle_s
        if unused is not None:
            closing.finish(unused, wait=True)
        return pool

    def leave(self, user: object) -> None:
        """Say that a user has done with the pool for now."""
        with self._lock:
            self._users.discard(user)
            self._used_at = time.monotonic()
            if self._timer is None and self.pool is not None and self._idle_s is not None:
                self._watch(self._idle_s)

    def shutdown(self, *, kill: bool = False) -> None:
        """End the pool that is kept, if there is one.

        The next use makes a new one.

        Args:
            kill: whether to end its workers now, and not when the calls that it still has are done.
        """
        with self._lock:
            pool, self.pool = self.pool, None
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            if timer is not threading.current_thread():
                timer.join()
        if pool is not None:
            closing.finish(pool, wait=True, kill=kill)

    def _watch(self, wait_s: float) -> None:
        self._timer = threading.Timer(wait_s, self._end_if_idle)
        self._timer.daemon = True
        self._timer.name = "orchestrator-idle"
        self._timer.start()

    def _end_if_idle(self) -> None:
        with self._lock:
            self._timer = None
            if self.pool is None or self._idle_s is None:
                return
            left_s = self._idle_s if self._users else self._used_at + self._idle_s - time.monotonic()
            if left_s > 0:
                self._watch(left_s)
                return
            pool, self.pool = self.pool, None
        closing.finish(pool, wait=True)


_all: list[ReusedPool] = []


def _is_usable(pool: Pool) -> bool:
    """Whether a pool is open, and its workers could start."""
    try:
        internals_of(pool).engine.check_usable()
    except OrchestratorError:
        return False
    return pool.size > 0


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


def _forget_all() -> None:
    """Forget the parent's pools in a forked child, which has none of their workers."""
    for each in _all:
        each._forget()  # noqa: SLF001 - its lock may be held by a thread that does not exist here


def _end_at_exit() -> None:
    for each in _all:
        if each.pool is not None:
            each.pool.cancel_waiting()
        each.shutdown()


threading._register_atexit(_end_at_exit)  # type: ignore[attr-defined]  # noqa: SLF001 - as `ending` does
os.register_at_fork(after_in_child=_forget_all)
