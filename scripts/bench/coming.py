"""How long until the first chunk of a worker that comes while a call runs: an added one, and one for one that died."""

import os
import signal
import statistics
import time
from itertools import repeat

import functions


def first_of_new(results, known, started):
    """Seconds from `started` until a worker that is not known began its first chunk."""
    for pid, began in results:
        if pid not in known:
            return began - started
    raise RuntimeError("the results ended")


def coming(change, quick):
    """The median of some changes, each from two workers at work; `change(pool)` makes a new one come."""
    from orchestrator import Pool

    seconds = []
    with Pool(2) as pool:
        results = iter(pool.map(functions.began, repeat(0.002), chunk=1))
        for _ in range(3 if quick else 15):
            pool.resize(2)
            pids = [next(results)[0] for _ in range(200)][100:]  # those that leave have left
            started = time.perf_counter()
            change(pool, pids[-1])
            seconds.append(first_of_new(results, set(pids), started))
    return {"value": statistics.median(seconds) * 1e3, "detail": {"most_ms": round(max(seconds) * 1e3, 1)}}


def grow(_side, *, quick):
    return coming(lambda pool, _pid: pool.resize(3), quick)


def replace(_side, *, quick):
    return coming(lambda _pool, pid: os.kill(pid, signal.SIGKILL), quick)
