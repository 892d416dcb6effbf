"""Which start method a context of `multiprocessing` asks a pool for."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import BaseContext

from orchestrator.pool.pool import Pool


class ForkingPool(Pool):
    """A pool that forks beside threads: its user has asked for that, by a context of `multiprocessing`."""

    _refuses_threads = False


def context_of(given: BaseContext | None, *, recycling: bool) -> BaseContext:
    """Return the context that was given, else that of the start method which fronts use by default."""
    if given is not None:
        return given
    chosen = multiprocessing.get_start_method(allow_none=True)
    return multiprocessing.get_context("spawn" if recycling or chosen == "spawn" else "forkserver")
