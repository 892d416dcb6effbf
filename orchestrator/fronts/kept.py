"""The pool that fronts keep between calls, so that only the first call starts workers.

Owns that pool. It ends with the interpreter, or by `close`.
"""

from __future__ import annotations

import os
import threading

from orchestrator.fronts import ending
from orchestrator.pool.pool import Pool

_lock = threading.Lock()
_pool: Pool | None = None


def kept_pool(workers: int | None = None) -> Pool:
    """Return the pool that is kept, which the first call makes.

    Args:
        workers: how many it is to have from now on; None: as many as it has, at first as many as this process may use
            CPUs.

    Raises:
        ConfigError: it can't have so many.
    """
    global _pool  # noqa: PLW0603 - one pool for all calls of the process
    with _lock:
        if _pool is None or _pool.size == 0:  # closed
            _pool = Pool(workers)
            ending.keep(_pool)
        elif workers is not None and workers != _pool.size:
            _pool.resize(workers)
        return _pool


def close(*, kill: bool = False) -> None:
    """End the workers of the pool that is kept.

    The next call starts new ones.

    Args:
        kill: whether to end them now, and not when what they run is done.
    """
    global _pool
    with _lock:
        pool, _pool = _pool, None
    if pool is not None:
        ending.finish(pool, wait=True, kill=kill)


def _forget() -> None:
    """Forget the parent's pool in a forked child, which has none of its workers."""
    global _lock, _pool
    _lock, _pool = threading.Lock(), None


os.register_at_fork(after_in_child=_forget)
