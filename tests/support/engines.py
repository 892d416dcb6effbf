"""Every engine, for tests that hold for all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from orchestrator import Pool
from orchestrator.pool.engines import ENGINES
from orchestrator.pool.internals import internals_of
from support.dask_cluster import dask_cluster

EVERY = (*ENGINES, "threads", "processes", "dask")
_SHORT_S = 0.02


@contextmanager
def pool_of(engine: str, workers: int = 2) -> Iterator[Pool]:
    """Give a pool with this engine, all of whose processes and threads are there."""
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
        with dask_cluster() as cluster:
            for number in range(workers):
                cluster.add_worker(nanny=number == 0)
            cluster.wait_for(workers)
            with Pool(engine=cluster.engine) as pool:
                list(pool.map(time.sleep, [_SHORT_S] * 4 * workers, chunk=1))
                yield pool
    else:
        with Pool(workers, engine=engine) as pool:
            yield pool


def able(pool: Pool, capability: str) -> bool:
    """Whether the engine of a pool has a capability."""
    return capability in internals_of(pool).engine.capabilities
