"""`concurrent.futures.ProcessPoolExecutor` over a `Pool`: change the import, and the program stays as it is."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from multiprocessing.context import BaseContext
from typing import Any, Literal

from orchestrator.errors import ClosedError, ItemError, WorkerDiedError, WorkerStartError
from orchestrator.fronts.common import closing
from orchestrator.fronts.common.contexts import ForkingPool, context_of
from orchestrator.fronts.common.remote import as_raised_there
from orchestrator.option_values import one_of
from orchestrator.pool.calls.pool_future import PoolFuture
from orchestrator.pool.pool import Pool
from orchestrator.settings import usable_cpus
from workers.process.logged_initializer import LoggedInitializer
from workers.transport.submission import run_all

_DEATHS = {"retry": 3, "break": 1}
"""How many workers a call may take down, by `on_death`."""


class TerminatedWorkerError(BrokenProcessPool):
    """A call killed its workers and was given up.

    The `WorkerDiedError` that says how is its `__cause__`.

    Not a broken executor: with `on_death="retry"` other calls continue.
    """


class ProcessPoolExecutor(Executor):
    """A `concurrent.futures.ProcessPoolExecutor` whose workers are those of a `Pool`.

    Workers start with the first call. What was submitted runs, even if the executor is dropped or the program ends.

    Args:
        max_workers: how many processes; None: as many as this process may use CPUs.
        mp_context: a context of `multiprocessing`, whose start method is used; None: "spawn" if
            `multiprocessing.set_start_method` or `max_tasks_per_child` asks for it, else "forkserver".
        initializer: called with `initargs` once in each worker. If it raises, that is logged, and the executor breaks.
        initargs: its arguments.
        max_tasks_per_child: how many calls a worker runs before it is replaced; a chunk of `map` is one.
        on_death: "retry" (default): a worker that dies is replaced, its call runs again, and fails with
            `TerminatedWorkerError` when it took three workers down. "break": as in the standard library the first
            death of a worker in a call ends the executor, and fails all its calls with `BrokenProcessPool`.

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument has the wrong type.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        on_death: Literal["retry", "break"] = "retry",
    ) -> None:
        if max_workers is None:
            max_workers = usable_cpus()
        elif max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
        one_of("on_death", on_death, tuple(_DEATHS))
        mp_context = context_of(mp_context, recycling=max_tasks_per_child is not None)
        method: Any = mp_context.get_start_method(allow_none=False)
        if max_tasks_per_child is not None and method == "fork":
            raise ValueError(
                "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method; "
                "supply a different mp_context."
            )
        self._mp_context = mp_context
        self._max_workers = max_workers
        self._lock = threading.RLock()
        self._shut = False
        self._state = _State(
            partial(
                ForkingPool,
                max_workers,
                start_method=method,
                initializer=None if initializer is None else LoggedInitializer(initializer),
                initargs=tuple(initargs),
                items_per_worker=max_tasks_per_child,
                max_deaths=_DEATHS[on_death],
            ),
            breaks=on_death == "break",
        )
        weakref.finalize(self, self._state.finish, wait=False).atexit = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn(*args, **kwargs)` in a worker, and return its future.

        The arguments are pickled before this returns. A cancelled `loop.run_in_executor` ends the call that runs, and
        frees its worker.

        Raises:
            BrokenProcessPool: the executor is broken.
            RuntimeError: it was shut down, or the interpreter exits.
        """
        with self._lock:
            self._state.refuse_if_broken()
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if closing.is_exiting():
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            pool = self._state.started()
            try:
                return pool.call(fn, args, kwargs, future=_ExecutorFuture(self._state))
            except WorkerStartError as error:
                self._state.broken = error.with_traceback(None)  # whose frames would keep the caller alive
            self._state.refuse_if_broken()
            raise AssertionError

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Return an iterator over `fn(x, y, ...)` for the items of the iterables, in order.

        Args:
            fn: the function.
            iterables: are read at once and to their end, unless `buffersize` is given.
            timeout: seconds from now after which a result that is not there raises TimeoutError.
            chunksize: how many items are sent as one call.
            buffersize: how many calls may be submitted whose results were not taken; None: any number.

        Raises:
            TypeError: `buffersize` is not a whole number.
            ValueError: `chunksize` or `buffersize` is below 1.
        """
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        ends = None if timeout is None else timeout + time.monotonic()
        chunks = _chunks(zip(*iterables, strict=False), chunksize)
        first = chunks if buffersize is None else islice(chunks, buffersize)
        futures = deque(self.submit(run_all, fn, chunk) for chunk in first)
        return _results(futures, chunks, weakref.ref(self), fn, ends)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the workers when those that were submitted are done.

        Args:
            wait: whether to wait for that. If not, it is done all the same, before the interpreter exits.
            cancel_futures: whether to cancel the calls that no worker has been given.
        """
        with self._lock:
            self._shut = True
        self._state.finish(wait=wait, cancel=cancel_futures)

    def terminate_workers(self) -> None:
        """Kill the workers and shut down. Unfinished futures get `BrokenProcessPool`."""
        with self._lock:
            self._shut = True
        self._state.kill(ClosedError("the workers were terminated before this call finished"), wait=True)

    def kill_workers(self) -> None:
        """Kill the workers and shut down, as `terminate_workers`, which leaves them no time either."""
        self.terminate_workers()

    @property
    def _broken(self) -> str | bool:
        """Why the executor is broken, where the standard library's has it."""
        return False if self._state.broken is None else str(self._state.broken)


class _State:
    """What futures know of their executor, and what outlives it: the pool, and why it broke."""

    def __init__(self, make: Callable[[], Pool], *, breaks: bool) -> None:
        self._make = make
        self._breaks = breaks
        self._pool: Pool | None = None
        self.broken: BaseException | None = None

    def started(self) -> Pool:
        """Return the pool, which the first call makes."""
        if self._pool is None:
            self._pool = self._make()
            closing.keep(self._pool)
        return self._pool

    def refuse_if_broken(self) -> None:
        """Raise `BrokenProcessPool` if nothing can run any more."""
        if self.broken is not None:
            raise BrokenProcessPool(f"the executor is broken: {self.broken}") from self.broken

    def finish(self, *, wait: bool, cancel: bool = False) -> None:
        """Close the pool when its calls are done."""
        if self._pool is not None:
            if cancel:
                self._pool.cancel_waiting()
            closing.finish(self._pool, wait=wait)

    def kill(self, reason: BaseException, *, wait: bool) -> None:
        """End the pool at once, and break the executor."""
        self.broken = self.broken or reason
        if self._pool is not None:
            closing.finish(self._pool, wait=wait, kill=True)

    def as_theirs(self, error: BaseException) -> BaseException:
        """Return what a future of the standard library raises where a pool's raises this."""
        if isinstance(error, WorkerDiedError):
            if self._breaks:
                self.kill(error, wait=False)
            return _because(TerminatedWorkerError(str(error)), error)
        if isinstance(error, ItemError):
            if error.is_unloadable:
                return _because(BrokenProcessPool(str(error)), error.__cause__ or error)
            return as_raised_there(error)
        if isinstance(error, WorkerStartError):
            self.broken = error.with_traceback(None)
        if self.broken is not None:
            told = f"the executor broke before this call finished: {self.broken}"
            return _because(BrokenProcessPool(told), self.broken)
        return error


class _ExecutorFuture(PoolFuture):
    """The future of a call, which fails as the standard library's would."""

    def __init__(self, state: _State) -> None:
        super().__init__()
        self._executor = state

    def fail(self, error: BaseException) -> None:
        self.set_exception(self._executor.as_theirs(error))


def _because(error: BrokenProcessPool, cause: BaseException) -> BrokenProcessPool:
    error.__cause__ = cause
    return error


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while chunk := list(islice(items, size)):
        yield chunk


def _results(
    futures: deque[Future[list[Any]]],
    chunks: Iterator[list[Any]],
    executor: weakref.ref[ProcessPoolExecutor],
    fn: Callable[..., Any],
    ends: float | None,
) -> Iterator[Any]:
    """Yield the results of each call in turn, and submit another one for each that is taken."""
    try:
        while futures:
            if (open_executor := executor()) is not None and (chunk := next(chunks, None)) is not None:
                futures.append(open_executor.submit(run_all, fn, chunk))
            del open_executor
            left = None if ends is None else max(0.0, ends - time.monotonic())
            results = futures.popleft().result(left)
            results.reverse()
            while results:
                yield results.pop()
    finally:
        for future in futures:
            future.cancel()
