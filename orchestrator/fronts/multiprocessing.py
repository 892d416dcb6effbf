"""`multiprocessing.Pool` over a `Pool` of ours: change the import, and the program stays as it is.

`apply` is a call. `map`, `starmap` and their `_async` are a call a chunk, all submitted at once; `imap` and
`imap_unordered` are a map over the chunks that begins at once.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from multiprocessing import pool as theirs
from multiprocessing.context import BaseContext
from typing import Any, Self

from orchestrator.errors import ItemError, WorkerDiedError
from orchestrator.fronts.common.contexts import ForkingPool, context_of
from orchestrator.fronts.common.remote import as_raised_there
from orchestrator.fronts.pool_results import AsyncResult, IMapIterator, MapResult
from orchestrator.pool.calls.pool_future import PoolFuture
from orchestrator.pool.pool import Pool as OurPool
from orchestrator.settings import usable_cpus
from workers.transport.submission import run_all
from workers.transport.unsendable import UnpicklableResultError

_theirs: Any = theirs  # these two names are known to no type checker
MaybeEncodingError, RemoteTraceback = _theirs.MaybeEncodingError, _theirs.RemoteTraceback
_CHUNKS_A_WORKER = 4
"""Of a map without a chunk size, as theirs."""
_Callback = Callable[[Any], object]
ApplyResult = AsyncResult


class _CallFuture(PoolFuture):
    """The future of a call, which tells `ended` before those who wait for it."""

    def __init__(self, ended: Callable[[Any, BaseException | None], object] | None = None) -> None:
        """Take what is called with the result and the exception, one of which is None."""
        super().__init__()
        self._ended = ended
        self.is_watched = ended is not None

    def fail(self, error: BaseException) -> None:
        """Fail as theirs does."""
        self.set_exception(_as_theirs(error))

    def set_result(self, result: Any) -> None:
        """Succeed."""
        self._tell(result, None)
        super().set_result(result)

    def set_exception(self, exception: BaseException | None) -> None:
        """Fail with this very exception."""
        self._tell(None, exception)
        super().set_exception(exception)

    def _tell(self, result: Any, error: BaseException | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(result, error)


class Pool:
    """A `multiprocessing.Pool` whose workers are those of an `orchestrator.Pool`.

    A worker that dies is replaced, and its calls run again. An exception is the function's own, its cause the worker's
    traceback. What was submitted to a pool that is dropped without `close`, or when the interpreter exits, is lost, as
    with theirs.

    Args:
        processes: how many workers; None: as many as this process may use CPUs.
        initializer: called with `initargs` once in each worker.
        initargs: its arguments.
        maxtasksperchild: how many calls a worker runs before it is replaced; a chunk of a map is one.
        context: a context of `multiprocessing`, whose start method is used; None: "forkserver", or "spawn" if
            `multiprocessing.set_start_method` asks for it.

    Raises:
        ValueError: a number is below 1.
        TypeError: the initializer can't be called.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: BaseContext | None = None,
    ) -> None:
        if processes is None:
            processes = usable_cpus()
        if processes < 1:
            msg = "Number of processes must be at least 1"
            raise ValueError(msg)
        if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0):
            msg = "maxtasksperchild must be a positive int or None"
            raise ValueError(msg)
        if initializer is not None and not callable(initializer):
            msg = "initializer must be a callable"
            raise TypeError(msg)
        method: Any = context_of(context, recycling=False).get_start_method(allow_none=False)
        self._processes = processes
        self._workers = ForkingPool(
            processes,
            start_method=method,
            initializer=initializer,
            initargs=tuple(initargs),
            items_per_worker=maxtasksperchild,
        )
        self._iterators: list[IMapIterator] = []
        """Of an `imap` that may not have ended: all that was submitted runs, even if nobody takes the results."""
        self._closing: threading.Thread | None = None
        self.is_closed = False
        """Whether nothing more is accepted."""

    # ---- calls ------------------------------------------------------------------------------------------------

    def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: Mapping[str, Any] | None = None) -> Any:
        """Return `func(*args, **kwds)`, called in a worker."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: _Callback | None = None,
        error_callback: _Callback | None = None,
    ) -> AsyncResult:
        """Submit `func(*args, **kwds)`.

        A callback gets its result, or `error_callback` what it raised, in the thread that serves all results.
        """
        self._check_running()
        tells = callback is not None or error_callback is not None
        future = _CallFuture(partial(_tell, callback, error_callback) if tells else None)
        self._workers.call(func, tuple(args), kwds, future=future)
        return AsyncResult(self, future)

    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Return the results of `func` for all items, in order, once all have run."""
        calls = ((item,) for item in iterable)
        found: list[Any] = self._map_async(func, calls, _length(iterable), chunksize).get()
        return found

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[Any]:
        """Do as `map`, with tuples of arguments."""
        found: list[Any] = self._map_async(func, map(tuple, iterable), _length(iterable), chunksize).get()
        return found

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: _Callback | None = None,
        error_callback: _Callback | None = None,
    ) -> MapResult:
        """Submit what `map` does.

        The callback gets the list of results, or `error_callback` the first exception.
        """
        calls = ((item,) for item in iterable)
        return self._map_async(func, calls, _length(iterable), chunksize, callback, error_callback)

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: _Callback | None = None,
        error_callback: _Callback | None = None,
    ) -> MapResult:
        """Submit what `starmap` does."""
        return self._map_async(func, map(tuple, iterable), _length(iterable), chunksize, callback, error_callback)

    def imap(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1) -> IMapIterator:
        """Return an iterator over the results, in order.

        The iterable is read from now on, in the thread that takes results, as far ahead as the workers and the pool's
        `buffer_bytes` take; not at once and to its end, as theirs. `join` reads the rest.
        """
        return self._imap(func, iterable, chunksize, ordered=True)

    def imap_unordered(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1) -> IMapIterator:
        """Do as `imap`, with the results as they come."""
        return self._imap(func, iterable, chunksize, ordered=False)

    def _map_async(  # noqa: PLR0917 - all that a map has
        self,
        func: Callable[..., Any],
        calls: Iterator[tuple[Any, ...]],
        length: int | None,
        chunksize: int | None,
        callback: _Callback | None = None,
        error_callback: _Callback | None = None,
    ) -> MapResult:
        self._check_running()
        if length is None:
            calls = iter(found := list(calls))
            length = len(found)
        if chunksize is None:
            chunksize = max(1, -(-length // (self._processes * _CHUNKS_A_WORKER)))
        chunks = list(_chunks(calls, chunksize))
        result = MapResult(self, len(chunks), partial(_tell, callback, error_callback))
        for place, chunk in enumerate(chunks):
            self._workers.call(run_all, (func, chunk), future=_CallFuture(partial(result.take, place)))
        return result

    def _imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int, *, ordered: bool
    ) -> IMapIterator:
        self._check_running()
        if chunksize < 1:
            msg = f"Chunksize must be 1+, not {chunksize:n}"
            raise ValueError(msg)
        chunks = _chunks(((item,) for item in iterable), chunksize)
        results = self._workers.map(partial(run_all, func), chunks, ordered=ordered, chunk=1, on_error="return")
        found = IMapIterator(self, results.start(), _as_theirs)
        self._iterators = [each for each in self._iterators if not each.ended.is_set()] + [found]
        return found

    # ---- ending -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Accept nothing more, and let the workers end when all that was submitted is done."""
        if not self.is_closed:
            self.is_closed = True
            ended = [each.ended for each in self._iterators]
            self._closing = threading.Thread(
                target=_close, args=(self._workers, ended), name="orchestrator-closing", daemon=True
            )
            self._closing.start()

    def terminate(self) -> None:
        """End the workers at once.

        Results that are not there fail with `ClosedError`.
        """
        self.is_closed = True
        self._workers.terminate()
        for each in self._iterators:
            each.ended.set()

    def join(self) -> None:
        """Wait until the workers have ended.

        Raises:
            ValueError: neither `close` nor `terminate` was called.
        """
        if not self.is_closed:
            msg = "Pool is still running"
            raise ValueError(msg)
        if self._closing is not None:
            for each in self._iterators:
                if not each.ended.is_set():
                    each.read_rest()
            self._closing.join()

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    def __del__(self) -> None:
        if not self.__dict__.get("is_closed", True):
            warnings.warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self.is_closed else 'running'}, {self._processes} workers>"

    def __reduce__(self) -> Any:
        msg = "pool objects cannot be passed between processes or pickled"
        raise NotImplementedError(msg)

    def _check_running(self) -> None:
        if self.is_closed:
            msg = "Pool not running"
            raise ValueError(msg)


def _close(workers: OurPool, ended: list[threading.Event]) -> None:
    """Close the pool when these have ended, in a thread."""
    for each in ended:
        each.wait()
    workers.close()


def _as_theirs(error: BaseException) -> BaseException:
    """Return what a pool of `multiprocessing` raises where ours raises this."""
    cause = error.__cause__
    if isinstance(cause, UnpicklableResultError):
        told: BaseException = MaybeEncodingError(cause.__cause__, cause)
        return told
    if isinstance(error, ItemError) and not isinstance(error, WorkerDiedError):
        return as_raised_there(error, RemoteTraceback)
    return error


def _tell(
    callback: _Callback | None, error_callback: _Callback | None, result: Any, error: BaseException | None
) -> None:
    """Call the one that is meant.

    What it raises is logged, as the thread serves everybody's calls.
    """
    chosen, value = (callback, result) if error is None else (error_callback, error)
    if chosen is not None:
        try:
            chosen(value)
        except BaseException:
            logging.getLogger("multiprocessing").exception("exception calling %r", chosen)


def _chunks(calls: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(islice(calls, size)):
        yield chunk


def _length(iterable: Iterable[Any]) -> int | None:
    try:
        return len(iterable)  # type: ignore[arg-type]
    except TypeError:
        return None
