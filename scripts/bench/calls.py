"""Calls, side against side, each pool warm: submitted, mapped, awaited, and made by joblib and scikit-learn.

The value is the median of several rounds in one process, in µs or ms.
"""

import asyncio
import contextlib
import statistics
import time

import functions
from sides import OURS, SIDES

WORKERS = 2
CALLERS = (OURS, "mp.Pool", "ProcessPoolExecutor", "loky", "mpire", "pebble")
AWAITS = ("ProcessPoolExecutor", "loky")
BACKENDS = (OURS, "loky")
"""Of joblib."""
_SUBMITS = {
    "mp.Pool": lambda pool, item: pool.apply_async(functions.nothing, (item,)).get,
    "mpire": lambda pool, item: pool.apply_async(functions.nothing, (item,)).get,
    "pebble": lambda pool, item: pool.schedule(functions.nothing, args=(item,)).result,
}
"""By side, what submits a call and returns what waits for its result; the others are executors."""


def _submit(pool, item):
    return pool.submit(functions.nothing, item).result


def median(run, rounds, per=1, unit=1e6):
    """Return the median time of a round; the first is not counted."""
    run()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return {"value": statistics.median(seconds) * unit / per}


@contextlib.contextmanager
def submitting(side):
    """Give what submits a call to a warm pool of a side."""
    submit = _SUBMITS.get(side, _submit)
    with contextlib.closing(SIDES[side](WORKERS)) as made:
        yield lambda item: submit(made.pool, item)


def call(side, *, quick):
    with submitting(side) as submit:
        return median(lambda: submit(1)(), 100 if quick else 2_000)  # noqa: PLW0108 - each is submitted anew


def calls(side, *, quick):
    count = 500 if quick else 5_000

    def gather():
        if [get() for get in [submit(item) for item in range(count)]] != list(range(count)):
            raise RuntimeError("a wrong result")

    with submitting(side) as submit:
        return median(gather, 1 if quick else 5, count)


def map10(side, *, quick):
    with contextlib.closing(SIDES[side](WORKERS)) as pool:
        return median(lambda: list(pool.map(functions.nothing, range(10))), 20 if quick else 500)


def awaits(side, *, quick):
    """The sides are warm, and so is the loop."""

    async def gather(call):
        if await asyncio.gather(*map(call, range(100))) != list(range(100)):
            raise RuntimeError("a wrong result")

    async def rounds(call):
        seconds = []
        for _ in range(3 if quick else 30):
            started = time.perf_counter()
            await gather(call)
            seconds.append(time.perf_counter() - started)
        return {"value": statistics.median(seconds[1:]) * 1e3}

    async def ours():
        from orchestrator import AsyncPool

        async with AsyncPool(workers=WORKERS) as pool:
            return await rounds(lambda item: pool.submit(functions.nothing, item))

    async def theirs():
        with contextlib.closing(SIDES[side](WORKERS)) as made:
            loop = asyncio.get_running_loop()
            return await rounds(lambda item: loop.run_in_executor(made.pool, functions.nothing, item))

    return asyncio.run(ours() if side == OURS else theirs())


@contextlib.contextmanager
def backend(side):
    """Have joblib use a side."""
    from joblib import parallel_config

    if side == OURS:
        import orchestrator.fronts.joblib  # noqa: F401 - registers the backend
    with parallel_config(backend=side, n_jobs=WORKERS):
        yield


def joblib_rounds(side, fn, items, *, quick):
    from joblib import Parallel, delayed

    with backend(side):
        return median(lambda: Parallel()(delayed(fn)(item) for item in items), 1 if quick else 3, unit=1e3)


def joblib_ms(side, *, quick):
    return joblib_rounds(side, time.sleep, [0.001] * (100 if quick else 1_000), quick=quick)


def joblib_noops(side, *, quick):
    return joblib_rounds(side, functions.nothing, range(5_000 if quick else 100_000), quick=quick)


def table(*, quick):
    from sklearn.datasets import make_classification

    return make_classification(200 if quick else 5_000, 20, random_state=1)


def cross_val(side, *, quick):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    data = table(quick=quick)
    with backend(side):
        return median(lambda: cross_val_score(LogisticRegression(), *data, cv=10), 1 if quick else 5, unit=1e3)


def forest(side, *, quick):
    from sklearn.ensemble import RandomForestClassifier

    data = table(quick=quick)
    with backend(side):
        model = RandomForestClassifier(10 if quick else 100, random_state=1)
        return median(lambda: model.fit(*data), 1 if quick else 3, unit=1e3)


def forest_memory(side, *, quick):
    return forest(side, quick=quick)


CALLS = (call, calls, map10, awaits, joblib_ms, joblib_noops, cross_val, forest, forest_memory)
