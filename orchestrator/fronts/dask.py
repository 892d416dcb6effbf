"""A scheduler for Dask over a `Pool`, instead of `dask.multiprocessing.get`.

Dask's own `get_async` walks through the graph, in the thread that computes. Results of tasks stay pickled, large ones
in shared memory (`workers.sync.kept`): the tasks that need them map that memory, and only what was asked for is
unpickled here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from typing import Any

from dask import config
from dask import multiprocessing as theirs
from dask.callbacks import Callback, unpack_callbacks
from dask.local import get_async
from dask.multiprocessing import get as dask_get
from dask.optimization import cull, fuse
from dask.utils import ensure_dict

from orchestrator.engine.recovery.item_errors import rebuild
from orchestrator.errors import ItemError, WorkerDiedError
from orchestrator.fronts.common.contexts import ForkingPool, context_of
from orchestrator.fronts.common.remote import as_raised_there, show_traceback
from orchestrator.pool.calls.pool_future import PoolFuture
from orchestrator.pool.pool import Pool
from orchestrator.pool.sync.kept_results import KeptResults
from orchestrator.settings import usable_cpus
from workers.errors.capture import ExceptionRecord, add_note
from workers.errors.describe import describe
from workers.sync.kept import KeepingCall, Kept, Ran, run_keeping

_AT_ONCE = 16
"""Tasks that Dask makes ready together, and the most that travel together, unless the program says how many."""
_CALL_S = 0.002
"""How long the tasks of one call take together, if they are short."""
_MOST_NAMED = 6
"""Tasks that a message names."""
if isinstance(_frames := config.get("admin.traceback.shorten", None), list):
    _frames.append(r"orchestrator[\\/]fronts[\\/]dask\.py")  # left out of tracebacks, as those of Dask itself


class _Scheduler:
    """The class of `get`, which equals Dask's: Dask takes locks that processes share for what does."""

    def __call__(  # noqa: PLR0917 - Dask's own
        self,
        dsk: Mapping[Any, Any],
        keys: Sequence[Any] | Any,
        num_workers: int | None = None,
        func_loads: Callable[[bytes], Any] | None = None,
        func_dumps: Callable[[Any], bytes] | None = None,
        optimize_graph: bool = True,
        pool: Pool | Executor | Any | None = None,
        initializer: Callable[[], object] | None = None,
        chunksize: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Compute keys of a graph in worker processes, as `dask.multiprocessing.get` does.

        Options are arguments of `compute`, or of `dask.config.set` by Dask's names: `scheduler`, `num_workers`, `pool`,
        `chunksize`, `func_loads`, `func_dumps`, `multiprocessing.initializer`, `multiprocessing.context`.

        Args:
            dsk: the graph.
            keys: the key that is wanted, or a list of keys or lists.
            num_workers: how many processes; None: as many as this process may use CPUs.
            func_loads: unpickles tasks and results. With it or `func_dumps`, all results pass through this process.
            func_dumps: pickles them.
            optimize_graph: whether to fuse chains of tasks.
            pool: a `Pool`, which stays open; None: one for this computation. Another executor, or a
                `multiprocessing.Pool`, is handed to `dask.multiprocessing.get`.
            initializer: called once in each worker of the pool that is made for this computation.
            chunksize: how many tasks travel together; -1: all that are ready, evenly; None: only short ones do.
            kwargs: what `dask.local.get_async` takes: `callbacks`, `rerun_exceptions_locally`, `cache`.

        Raises:
            Exception: what a task raised, its cause the worker's traceback.
            WorkerDiedError: tasks took `max_deaths` workers down.
        """
        pool = pool or config.get("pool", None)
        if pool is not None and not isinstance(pool, Pool):
            kwargs.update(chunksize=chunksize, func_loads=func_loads, func_dumps=func_dumps)
            return dask_get(
                dsk, keys, pool=pool, initializer=initializer, optimize_graph=optimize_graph, **kwargs
            )
        initializer = initializer or config.get("multiprocessing.initializer", None)
        kwargs["chunksize"] = chunksize or config.get("chunksize", None)
        marshal = func_dumps or config.get("func_dumps", None), func_loads or config.get("func_loads", None)
        graph = _optimized(dsk, keys, fuses=optimize_graph)
        with _opened(pool, num_workers or config.get("num_workers", None), initializer) as workers:
            if any(marshal):
                return _marshalled(workers, graph, keys, marshal, kwargs)
            return _Computation(workers, kwargs).run(graph, keys)

    def __eq__(self, other: object) -> bool:
        return other is self or other is dask_get

    def __hash__(self) -> int:
        return hash(dask_get)

    def __reduce__(self) -> str:
        return "get"


get = _Scheduler()


def _optimized(dsk: Any, keys: Any, *, fuses: bool) -> Any:
    """Return what is needed of the graph, its chains fused."""
    graph = ensure_dict(dsk.__dask_graph__() if hasattr(dsk, "__dask_graph__") else dsk)
    graph, dependencies = cull(graph, keys)
    return fuse(graph, keys, dependencies)[0] if fuses else graph


@contextmanager
def _opened(pool: Pool | None, workers: int | None, initializer: Callable[[], object] | None) -> Iterator[Pool]:
    """Give the pool that was given, or one for this computation, closed at its end."""
    if pool is not None:
        yield pool
        return
    name = config.get("multiprocessing.context", None)
    method: Any = name or context_of(None, recycling=False).get_start_method()
    with ForkingPool(workers or usable_cpus(), start_method=method, initializer=initializer) as made:
        yield made


class _Calls:
    """The calls of a computation, each of which runs some tasks."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._made: set[Future[Any]] = set()

    def submit(
        self, function: Callable[..., Any], tasks: list[Any], future: PoolFuture | None = None, priority: int = 0
    ) -> Future[Any]:
        """Have a worker call the function with the tasks, lists or tuples that begin with their keys."""
        future = future or _CallFuture([key for key, *_ in tasks])
        made = self._pool.call(function, (tasks,), future=future, priority=priority)
        self._made.add(made)
        made.add_done_callback(self._made.discard)
        return made

    def call_off(self) -> None:
        """Cancel the calls that no worker has begun, as nobody waits for them any more."""
        for future in list(self._made):
            future.cancel()


class _CallFuture(PoolFuture):
    """The future of a call that runs some tasks."""

    def __init__(self, keys: list[Any], outcomes: Callable[[Any], Any] | None = None) -> None:
        """Take the tasks' keys, and what turns the worker's result into what Dask expects."""
        super().__init__()
        self._keys = keys
        self._outcomes = outcomes

    def set_result(self, result: Any) -> None:
        super().set_result(result if self._outcomes is None else self._outcomes(result))

    def fail(self, error: BaseException) -> None:
        if isinstance(error, ItemError) and not isinstance(error, WorkerDiedError):
            error = as_raised_there(error)
        elif isinstance(error, WorkerDiedError):
            named = ", ".join(describe(key) for key in self._keys[:_MOST_NAMED])
            add_note(error, f"it ran the Dask tasks {named}{', …' * (len(self._keys) > _MOST_NAMED)}")
        self.set_exception(error)


class _Calling(list[_CallFuture]):
    """The calls that a batch of Dask's became, each of which tells it of its end."""

    def add_done_callback(self, tell: Callable[[Any], object]) -> None:
        """Call `tell` with each of the futures when it is done."""
        for future in self:
            future.add_done_callback(tell)


class _Cache(dict[Any, Any]):
    """The results that Dask knows, by key."""

    def __init__(self, dropped: Callable[[Any], object]) -> None:
        super().__init__()
        self._dropped = dropped

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        self._dropped(key)


class _Computation:
    """One computation, whose tasks hand their results on in shared memory.

    In Dask's cache stand `Kept` results, and the graph's own data as it is. Where others look into the cache, such as
    callbacks that are told each result, it has the results themselves.
    """

    def __init__(self, pool: Pool, options: dict[str, Any]) -> None:
        self._calls = _Calls(pool)
        self._options = options
        self._workers = self._at_once = pool.size
        self._chunksize = options["chunksize"]
        if self._chunksize is None:
            options["chunksize"] = _AT_ONCE
            self._at_once *= 2  # batches: while one runs, the next are made ready
        elif self._chunksize == -1:  # not by Dask, which divides by zero while nothing is ready
            options["chunksize"] = sys.maxsize
        self._memory = KeptResults()
        self._kept: dict[Any, Kept] = {}
        self._task_s = _CALL_S
        """How long a task takes, as far as is known."""
        if options.get("cache") is None:
            options["cache"] = config.get("cache", None)
        reruns = options.get("rerun_exceptions_locally")
        callbacks = options.get("callbacks")
        told = unpack_callbacks(Callback.active if callbacks is None else callbacks)[3]
        self._loads_all = bool(
            told
            or options["cache"] is not None
            or (config.get("rerun_exceptions_locally", False) if reruns is None else reruns)
        )

    def run(self, graph: Any, keys: Any) -> Any:
        """Return the results of the keys."""
        if self._options["cache"] is None:
            self._options["cache"] = _Cache(self._drop)
        try:
            found = get_async(
                self._submit, self._at_once, graph, keys, dumps=self._prepared, loads=self._taken, **self._options
            )
            return _loaded(keys, found, {})
        finally:
            self._calls.call_off()
            self._memory.close()

    def _prepared(self, given: tuple[Any, dict[Any, Any]]) -> KeepingCall:
        """Return the call for a task and the results that it needs."""
        task, data = given
        for key, value in data.items():
            if key not in self._kept:
                self._kept[key] = self._memory.keep(value)
        return KeepingCall(task, {key: self._kept[key] for key in data}, self._memory.slot())

    def _submit(self, _: Any, batch: list[tuple[Any, ...]]) -> _Calling:
        """Send a batch of tasks, each of which begins with its key and what `_prepared` made.

        Those that need results of others go before those that need none, so that memory is freed before more is taken.
        """
        size = self._chunksize or int(_CALL_S / self._task_s) or 1
        if size == -1:
            size = -(-len(batch) // self._workers)
        calling = _Calling()
        for at in range(0, len(batch), size):
            keys = [key for key, *_ in batch[at : at + size]]
            tasks = [task for _, task, *_ in batch[at : at + size]]
            calling.append(_CallFuture(keys, partial(self._outcomes, keys, tasks)))
            self._calls.submit(run_keeping, tasks, calling[-1], 0 if any(task.arguments for task in tasks) else -1)
        return calling

    def _outcomes(self, keys: list[Any], tasks: list[KeepingCall], ran: Ran) -> list[tuple[Any, Any, bool]]:
        """Return for each task its key, what `_taken` takes, and whether it failed.

        Runs in the pool's thread.
        """
        self._task_s = (self._task_s + ran.run_s / len(tasks)) / 2 + 1e-9
        return [
            (key, (key, ran.pid, task, outcome), isinstance(outcome, ExceptionRecord))
            for key, task, outcome in zip(keys, tasks, ran.outcomes, strict=True)
        ]

    def _taken(self, told: tuple[Any, int, KeepingCall, Kept | ExceptionRecord]) -> tuple[Any, Any]:
        """Return the result of a task and the worker's pid, or what it raised."""
        key, pid, task, outcome = told
        if isinstance(outcome, ExceptionRecord):
            error = rebuild(outcome)
            show_traceback(error, outcome)
            return error, None
        if outcome.slot is None:
            self._memory.give_back(task.slot)
        self._kept[key] = outcome
        return outcome.load() if self._loads_all else outcome, pid

    def _drop(self, key: Any) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._memory.drop(kept)


def _loaded(keys: Any, found: Any, known: dict[Any, Any]) -> Any:
    """Return the results of keys in lists of lists, each loaded once."""
    if isinstance(keys, list):
        return tuple(_loaded(key, each, known) for key, each in zip(keys, found, strict=True))
    if keys not in known:
        known[keys] = found.load() if isinstance(found, Kept) else found
    return known[keys]


def _marshalled(pool: Pool, graph: Any, keys: Any, marshal: tuple[Any, Any], options: dict[str, Any]) -> Any:
    """Compute with the program's own pickling, which all results pass through."""
    dumps, loads = marshal
    calls = _Calls(pool)
    try:
        return get_async(
            calls.submit,
            pool.size,
            graph,
            keys,
            get_id=os.getpid,
            loads=loads or theirs._loads,  # noqa: SLF001 - its defaults have no other name
            dumps=dumps or theirs._dumps,  # noqa: SLF001
            pack_exception=theirs.pack_exception,
            raise_exception=theirs.reraise,
            **options,
        )
    finally:
        calls.call_off()
