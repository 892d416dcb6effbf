"""Finishes the calls of pools whose front was shut down or dropped, or when the interpreter exits.

Owns the pools of all fronts that are open, and the threads that close them. The standard library's executors do the
same: what was submitted runs, even if nobody waits for it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.pool.internals import internals_of
from orchestrator.pool.pool import Pool


@dataclass(slots=True)
class _Kept:
    pools: set[Pool] = field(default_factory=set)
    closing: dict[Pool, threading.Thread] = field(default_factory=dict)
    exiting: bool = False
    lock: Any = field(default_factory=threading.RLock)
    """Reentrant, as the garbage collector may drop a front while this thread holds it."""


_kept = _Kept()


def keep(pool: Pool) -> None:
    """Finish this pool's calls at the interpreter's exit, unless `finish` does before."""
    with _kept.lock:
        _kept.pools.add(pool)


def is_exiting() -> bool:
    """Whether the interpreter is about to exit, so that nothing more can be submitted."""
    return _kept.exiting


def finish(pool: Pool, *, wait: bool, kill: bool = False) -> None:
    """Close the pool in a thread when its calls are done, or end it now.

    While the interpreter exits no thread can be started (from Python 3.12 on): then it is closed in this one.

    Args:
        pool: one that `keep` was called with; otherwise nothing happens.
        wait: whether to wait until it is closed. A callback of one of its futures, which runs in the thread that
            finishes the calls, never waits.
        kill: whether to end it now.
    """
    action = pool.terminate if kill else pool.close
    here = threading.current_thread()
    with _kept.lock:
        thread = _kept.closing.get(pool)
        begins = thread is None and pool in _kept.pools
        if begins:
            thread = threading.Thread(target=_end, args=(pool, action), name="orchestrator-closing", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                thread = here
            _kept.closing[pool] = thread
        elif kill and thread is not None:
            pool.terminate()
    if begins and thread is here:
        _end(pool, action)
    elif wait and thread not in {None, here} and not internals_of(pool).futures.is_driven_here:
        thread.join()


def _end(pool: Pool, action: Callable[[], object]) -> None:
    try:
        action()
    finally:
        with _kept.lock:
            _kept.pools.discard(pool)
            _kept.closing.pop(pool, None)


def _finish_all() -> None:
    """Finish what is open, while the threads that drive it still run."""
    _kept.exiting = True
    while pools := list(_kept.pools):
        for pool in pools:
            finish(pool, wait=True)


def _forget() -> None:
    """Forget the parent's pools in a forked child, which has none of their workers."""
    global _kept  # noqa: PLW0603 - its lock may be held by a thread that does not exist here
    _kept = _Kept()


threading._register_atexit(_finish_all)  # type: ignore[attr-defined]  # noqa: SLF001 - as concurrent.futures does: `atexit` is too late
os.register_at_fork(after_in_child=_forget)
