"""Every engine, for tests that hold for all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from orchestrator import Pool
from orchestrator.pool.engines import ENGINES
from orchestrator.pool.internals import internals_of

EVERY = (*ENGINES, "threads", "processes", "dask")
_SHORT_S = 0.02


@contextmanager
def pool_of(request: Any, workers: int = 2) -> Iterator[Pool]:
    """Give a pool with the engine that is a fixture's parameter, all of whose processes and threads are there."""
    engine = request.param
    if engine == "threads":
        with ThreadPoolExecutor(workers) as executor:
            together = threading.Barrier(workers)
            list(executor.map(lambda _: together.wait(), range(workers)))
            with Pool(engine=executor) as pool:
                yield pool
    elif engine == "processes":
        context = get_context("forkserver")
        with ProcessPoolExecutor(workers, mp_context=context) as executor, Pool(engine=executor) as pool:
            while len(pool.workers) < workers:
                list(pool.map(time.sleep, [_SHORT_S] * workers, chunk=1))
            yield pool
    elif engine == "dask":
        with Pool(engine=request.getfixturevalue("dask_engine")) as pool:
            list(pool.map(time.sleep, [_SHORT_S] * 4 * workers, chunk=1))
            yield pool
    else:
        with Pool(workers, engine=engine) as pool:
            yield pool


def able(pool: Pool, capability: str) -> bool:
    """Whether the engine of a pool has a capability."""
    return capability in internals_of(pool).engine.capabilities
