"""One measurement, in a process of its own: measure.py ROW SIDE QUICK ANSWER.

Writes {"value": ..., "detail": {...}} to the file ANSWER.
"""

import contextlib
import json
import os
import random
import sys
import tempfile
import time
from itertools import repeat
from pathlib import Path

import functions
from barrier_rounds import barrier2, barrier4, barrier16
from calls import CALLS
from coming import grow, replace
from flows import branches, chain
from sides import OURS, SIDES
from together import gather4, k_means, share

WORKERS = 2


def clocked(side, fn, items, chunk, consume=None, *, warm):
    """Seconds from the call until the last result was taken, one by one; `warm` was run before, for the imports."""
    with contextlib.closing(SIDES[side](WORKERS)) as pool:
        for _ in pool.map(fn, warm, 1):
            pass
        started = time.perf_counter()
        count = 0
        for result in pool.map(fn, items, chunk):
            count += 1
            if consume is not None:
                consume(result)
        return time.perf_counter() - started, count


def chunk1(side, *, quick):
    items = 3_000 if quick else 30_000
    seconds, count = clocked(side, functions.nothing, range(items), 1, warm=range(WORKERS))
    return {"value": count / seconds}


def auto(side, *, quick):
    items = 50_000 if quick else 1_000_000
    seconds, count = clocked(side, functions.nothing, range(items), None, warm=range(WORKERS))
    return {"value": count / seconds}


def arrays(side, fn, *, quick):
    import numpy as np

    count = 10 if quick else 100
    items = [np.full(2**20, float(number)) for number in range(count)]  # 8 MB each, all different
    chunk = None if side in {OURS, "joblib"} else 1
    seconds, count = clocked(side, fn, items, chunk, warm=items[:WORKERS])
    return {"value": seconds / count * 1e3}


def arrays_in(side, *, quick):
    return arrays(side, functions.ends_of, quick=quick)


def arrays_inout(side, *, quick):
    return arrays(side, functions.plus_one, quick=quick)


def turns_per_ms():
    """How many turns of `spin` fill a millisecond here; the best of a few, the machine may be busy."""
    return int(50_000 / (min(functions.spin(50_000)[1] for _ in range(5)) * 1e3))


def makespan(side, sizes_ms):
    """Wall time against what two workers can't do better, from the times that the items themselves report."""
    per_ms = turns_per_ms()
    times = []
    items = [int(size * per_ms) for size in sizes_ms]
    chunk = None if side in {OURS, "joblib"} else 1
    seconds, _ = clocked(side, functions.spin, items, chunk, times.append, warm=[per_ms] * WORKERS)
    elapsed_bound, cpu_bound = (max(sum(part) / WORKERS, *part) for part in zip(*times, strict=True))
    return {
        "value": seconds / elapsed_bound,
        "detail": {"against CPU time": round(seconds / cpu_bound, 3), "seconds": round(seconds, 3)},
    }


def skew(side, *, quick):
    count, base_ms = (100, 0.5) if quick else (400, 2.0)
    return makespan(side, [base_ms * (100 if number % 50 == 0 else 1) for number in range(count)])


def cpu_items(side, *, quick):
    chance = random.Random(7)
    return makespan(side, [100 ** chance.random() for _ in range(30 if quick else 200)])


def fused(side, *, quick):
    """Nanoseconds an item, in an own pool each; both sides make the same five calls."""
    from orchestrator import Workflow

    run = functions.all_steps
    if side == "five fused steps":
        run = Workflow()
        for step in functions.STEPS:
            run = run.step(step.__name__, step)
    items = 50_000 if quick else 2_000_000
    seconds, count = clocked(OURS, run, range(items), None, warm=range(50_000))
    return {"value": seconds / count * 1e9}


def memory(side, *, quick):
    """A consumer that takes longer an item than the workers do; the peak is seen from outside."""
    _, _, size = side.partition(" ")
    items = int(size) // (100 if quick else 1)

    def consume(_result):
        for _ in range(20):
            pass

    name = side.partition(" ")[0]
    chunk = None if name == OURS else 1000
    seconds, _ = clocked(name, functions.nothing, range(items), chunk, consume, warm=range(WORKERS))
    return {"value": None, "detail": {"seconds": round(seconds, 2)}}


def ready(side, *, quick):  # noqa: ARG001 - nothing to shorten
    workers = 4
    if side == OURS:
        from orchestrator import Pool

        started = time.perf_counter()
        with Pool(workers=workers) as pool:
            pids = pool.run_on_all(os.getpid)
            seconds = time.perf_counter() - started
    else:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        with tempfile.TemporaryDirectory(suffix=f"-{workers}") as place:
            started = time.perf_counter()
            with ProcessPoolExecutor(workers, multiprocessing.get_context("forkserver")) as pool:
                pids = list(pool.map(functions.meet, repeat(place, workers)))
                seconds = time.perf_counter() - started
    if len(set(pids)) != workers:
        raise RuntimeError(f"{len(set(pids))} workers answered instead of {workers}")
    return {"value": seconds * 1e3}


def sleepers(side, *, quick):
    global WORKERS  # noqa: PLW0603 - this process measures one thing only
    WORKERS = 50 if quick else 500
    naps = WORKERS * (10 if quick else 50)
    seconds, count = clocked(side, functions.nap, repeat(0.1, naps), 1, warm=[0.1] * WORKERS)
    return {"value": count * 0.1 / WORKERS / seconds, "detail": {"workers": WORKERS}}


BARRIERS = (barrier2, barrier4, barrier16)
TOGETHER = (gather4, k_means, share)
FLOWS = (chain, branches)
ROWS = (
    chunk1, auto, arrays_in, arrays_inout, skew, cpu_items, fused, memory, ready, grow, replace, sleepers,
    *CALLS, *FLOWS, *BARRIERS, *TOGETHER,
)  # fmt: skip

if __name__ == "__main__":
    row, side, quick = sys.argv[1:4]
    measured = {function.__name__: function for function in ROWS}[row](side, quick=quick == "1")
    Path(sys.argv[4]).write_text(json.dumps(measured))
