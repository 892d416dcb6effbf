"""The pools that are compared, each behind the same three calls; warm once it is made.

`side.map(fn, items, chunk)` yields the results in order; chunk None leaves the choice to the library.
"""

# ruff: noqa: D101, D102 - seven classes of the same three calls, told above

import os
import time


class Orchestrator:
    def __init__(self, workers):
        from orchestrator import Pool

        self.pool = Pool(workers=workers)
        self.pool.run_on_all(os.getpid)

    def map(self, fn, items, chunk=None):
        return self.pool.map(fn, items, chunk=chunk or "auto")

    def close(self):
        self.pool.close()


class MpPool:
    def __init__(self, workers):
        from multiprocessing import Pool

        self.pool = Pool(workers)
        self.pool.map(time.sleep, [0.01] * workers, 1)

    def map(self, fn, items, chunk=None):
        return self.pool.imap(fn, items, chunk) if chunk else iter(self.pool.map(fn, items))

    def close(self):
        self.pool.terminate()
        self.pool.join()


class Executor:
    """ProcessPoolExecutor, and loky's that follows its interface."""

    def __init__(self, workers):
        self.pool = self.make(workers)
        list(self.pool.map(time.sleep, [0.01] * workers))

    def make(self, workers):
        from concurrent.futures import ProcessPoolExecutor

        return ProcessPoolExecutor(workers)

    def map(self, fn, items, chunk=None):
        return self.pool.map(fn, items, chunksize=chunk or 1)

    def close(self):
        self.pool.shutdown()


class Loky(Executor):
    def make(self, workers):
        from loky import get_reusable_executor

        return get_reusable_executor(workers)


class Joblib:
    def __init__(self, workers):
        from joblib import Parallel, delayed

        self.pool = Parallel(n_jobs=workers)
        self.delayed = delayed
        self.pool(delayed(time.sleep)(0.01) for _ in range(workers))

    def map(self, fn, items, chunk=None):
        self.pool.batch_size = chunk or "auto"
        call = self.delayed(fn)
        return iter(self.pool(call(item) for item in items))

    def close(self):
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown()


class Mpire:
    def __init__(self, workers):
        from mpire import WorkerPool

        self.pool = WorkerPool(n_jobs=workers, keep_alive=True)
        self.pool.map(time.sleep, [0.01] * workers)

    def map(self, fn, items, chunk=None):
        return self.pool.imap(fn, items, chunk_size=chunk) if chunk else iter(self.pool.map(fn, items))

    def close(self):
        self.pool.stop_and_join()


class Pebble:
    def __init__(self, workers):
        from pebble import ProcessPool

        self.pool = ProcessPool(max_workers=workers)
        list(self.pool.map(time.sleep, [0.01] * workers).result())

    def map(self, fn, items, chunk=None):
        return self.pool.map(fn, items, chunksize=chunk or 1).result()

    def close(self):
        self.pool.close()
        self.pool.join()


OURS = "orchestrator"
SIDES = {
    OURS: Orchestrator,
    "mp.Pool": MpPool,
    "ProcessPoolExecutor": Executor,
    "joblib": Joblib,
    "loky": Loky,
    "mpire": Mpire,
    "pebble": Pebble,
}
