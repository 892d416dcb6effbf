"""The joblib backend "orchestrator", which importing this module registers.

    import joblib, orchestrator.fronts.joblib
    with joblib.parallel_config(backend="orchestrator", n_jobs=4): ...

joblib cuts the calls into batches and submits each; a batch is a call of the pool. The pool is kept for the next
`Parallel`, by `reused_pool`.
"""

from __future__ import annotations

import multiprocessing
import pickle
import threading
import warnings
from collections.abc import Callable
from typing import Any

from joblib.externals.loky.process_executor import BrokenProcessPool
from joblib.externals.loky.process_executor import TerminatedWorkerError as _TheirTerminatedWorkerError
from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    cpu_count,
    register_parallel_backend,
)

from orchestrator.errors import ClosedError, ItemError, WorkerDiedError, WorkerStartError
from orchestrator.fronts import joblib_worker
from orchestrator.fronts.common.remote import as_raised_there
from orchestrator.fronts.common.reused_pool import ReusedPool
from orchestrator.fronts.joblib_batches import Copies
from orchestrator.pool.calls.pool_future import PoolFuture
from orchestrator.pool.pool import Pool
from workers.errors.describe import describe, short_name, text_of, type_name

__all__ = ["OrchestratorBackend", "TerminatedWorkerError", "shutdown"]
_IDLE_S = 300
"""After which the pool ends by default, as loky's workers."""
_NOT_OURS = ("prefer", "require", "verbose", "context", "temp_folder", "max_nbytes", "mmap_mode")
"""Options of `Parallel` that are not the pool's."""

_reused = ReusedPool()


def shutdown() -> None:
    """End the pool that is kept between `Parallel` calls, if there is one.

    Calls that it still has are done first. The next `Parallel` makes a new one.
    """
    _reused.shutdown()


class TerminatedWorkerError(_TheirTerminatedWorkerError):  # type: ignore[misc]
    """A batch killed its workers and was given up.

    The `WorkerDiedError` that says how is its `__cause__`. The backend stays usable.
    """


class OrchestratorBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """joblib's backend over a pool that all `Parallel` calls of the program share.

    A worker that dies is replaced, and its batch runs again: one that takes `max_deaths` workers down raises
    `TerminatedWorkerError`. An exception of the function is its own, its cause the worker's traceback.

    Args:
        nesting_level: joblib's.
        inner_max_num_threads: how many threads BLAS and the like may use in a worker; None: its share of the CPUs.
        options: `idle_worker_timeout`, the seconds without a `Parallel` call after which the workers end (300; None:
            never), and options of `Pool` such as `initializer`, `initargs`, `memory_limit`, `max_deaths`.
            Those given to `Parallel` itself come first.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    MIN_IDEAL_BATCH_DURATION = 0.05
    MAX_IDEAL_BATCH_DURATION = 0.5
    """A quarter of theirs, in seconds: a batch costs less here, and the last ones leave no worker idle for long."""

    def __init__(
        self, nesting_level: int | None = None, inner_max_num_threads: int | None = None, **options: Any
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads, **options)
        self._pool: Pool | None = None
        self._wanted: tuple[Any, ...] = ()
        """Of `ReusedPool.use`."""
        self._copies = Copies(None, None)
        self._running: dict[_BatchFuture, Any] = {}
        """The `Parallel` of each batch that is not done."""

    # ---- joblib asks, in the thread that calls `Parallel` ---------------------------------------------------------

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many workers `n_jobs` means here: 1 in a daemonic process, and in a thread of a backend."""
        if n_jobs == 0:
            msg = "n_jobs == 0 in Parallel has no meaning"
            raise ValueError(msg)
        if n_jobs is None:
            return 1
        where = ""
        if multiprocessing.current_process().daemon:
            where = "called in a daemonic process"
        elif self.nesting_level != 0 and threading.current_thread() is not threading.main_thread():
            where = "nested below threads"
        if where:
            if n_jobs != 1:
                text = f"Orchestrator-backed parallel loops cannot be {where}, setting n_jobs=1"
                warnings.warn(text, stacklevel=3)
            return 1
        return n_jobs if n_jobs > 0 else max(cpu_count() + 1 + n_jobs, 1)

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **options: Any) -> int:
        """Make ready for a `Parallel`, and return the number of workers.

        Raises:
            FallbackToBackend: it is one, and the calls run in this process.
            ValueError: an option can't be used.
        """
        workers = self.effective_n_jobs(n_jobs)
        if workers == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        options = {**self.backend_kwargs, **options}
        self._copies = Copies(options.get("max_nbytes"), options.get("mmap_mode"))
        for name in _NOT_OURS:
            options.pop(name, None)
        if "timeout" in options:
            msg = "`timeout` belongs to Parallel; workers without work end after `idle_worker_timeout` seconds"
            raise ValueError(msg)
        idle_s = options.pop("idle_worker_timeout", _IDLE_S)
        options["env"] = {**self._prepare_worker_env(workers), **(options.get("env") or {})}
        self._wanted = workers, idle_s, options
        self.parallel = parallel
        self._pool = self._use()
        return workers

    def _use(self) -> Pool:
        return _reused.use(self, *self._wanted)

    def stop_call(self) -> None:
        """Free the arrays' shared memory."""
        self._copies.clear()

    def terminate(self) -> None:
        """Give the pool back, which is kept for the next `Parallel`."""
        self._pool = None
        self._copies.clear()
        if not self._running:
            _reused.leave(self)
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: ARG002 - the pool always is
        """End what a failed `Parallel` has under way.

        Workers that run its batches are killed and replaced. Those of other `Parallel` calls continue.
        """
        for future, parallel in list(self._running.items()):
            if getattr(parallel, "_aborting", True):
                future.cancel(running=True)

    # ---- joblib submits: from that thread, then from the one that resolves futures --------------------------------

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None) -> PoolFuture:
        """Send a batch to a worker.

        The callback gets the future, in the thread that resolves all.
        """
        future = _BatchFuture(func)
        self._running[future] = getattr(callback, "parallel", None)
        future.add_done_callback(self._forget)
        if callback is not None:
            future.add_done_callback(callback)
        try:
            sent, future.copies = self._copies.pickled(func)
        except Exception as error:
            what = f"{type_name(type(error))}: {text_of(error)}"
            told = pickle.PicklingError(f"can't pickle the task to send it to a worker: {what}")
            told.__cause__ = error
            future.set_exception(told)
            return future
        try:
            (self._pool or self._use()).call(joblib_worker.run, (sent,), future=future)
        except (ClosedError, WorkerStartError) as error:
            future.fail(error)
        return future

    apply_async = submit

    def _forget(self, future: Any) -> None:
        self._running.pop(future, None)

    def retrieve_result_callback(self, out: PoolFuture) -> Any:
        """Return the results of a batch, or raise what its function raised.

        Raises:
            TerminatedWorkerError: it killed its workers.
            RuntimeError: the pool was shut down.
        """
        return out.result()


class _BatchFuture(PoolFuture):
    """The future of a batch, which fails as loky's would."""

    copies: list[Any]
    """Of its arrays, which stay in shared memory until it is done."""

    def __init__(self, batch: Any) -> None:
        """Remember of the batch what a message needs."""
        super().__init__()
        calls = getattr(batch, "items", None) or [(batch, (), {})]
        self._first, self._calls = calls[0][0], len(calls)

    def fail(self, error: BaseException) -> None:
        """Fail with what the function raised, or what joblib's users expect."""
        told = error
        if isinstance(error, WorkerDiedError):
            what = f"a batch of {self._calls} calls, the first of {short_name(self._first) or describe(self._first)}"
            told = TerminatedWorkerError(str(error).replace(f"{error.item!r}", what))
            told.__cause__ = error
        elif isinstance(error, ItemError):
            told = as_raised_there(error)
            if error.is_unloadable:
                told = BrokenProcessPool(str(error))
                told.__cause__ = error.__cause__
        elif isinstance(error, WorkerStartError):
            told = BrokenProcessPool(str(error))
            told.__cause__ = error.__cause__ or error
        elif isinstance(error, ClosedError):
            told = RuntimeError(f"the executor underlying Parallel has been shut down: {error}")
        self.set_exception(told)


register_parallel_backend("orchestrator", OrchestratorBackend)
