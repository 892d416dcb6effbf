"""What the pool of `fronts.multiprocessing` returns: results that are or will be there, one by one or all together.

Runs in the process that made the pool.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol, Self


class Pool(Protocol):
    """What an iterator asks of its pool."""

    is_closed: bool
    """Whether nothing more is accepted."""

    @property
    def ahead(self) -> int:
        """How many chunks an `imap` has under way before its consumer takes a result."""


class AsyncResult:
    """What `apply_async` returns: a result that is or will be there."""

    def __init__(self, pool: object, future: Future[Any]) -> None:
        """Take the future of the result."""
        self._pool = pool  # one that nobody else refers to stays until the result is there
        self._future = future

    def ready(self) -> bool:
        """Whether the call has ended."""
        return self._future.done()

    def successful(self) -> bool:
        """Whether it has ended without raising.

        Raises:
            ValueError: it has not ended.
        """
        if not self.ready():
            msg = f"{self!r} not ready"
            raise ValueError(msg)
        return self._future.exception() is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended, for at most `timeout` seconds."""
        with suppress(TimeoutError):
            self._future.exception(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """Return the result, or raise what the function raised.

        Raises:
            multiprocessing.TimeoutError: it is not there after `timeout` seconds.
        """
        self.wait(timeout)
        if not self.ready():
            raise multiprocessing.TimeoutError
        return self._future.result()


class MapResult(AsyncResult):
    """What `map_async` and `starmap_async` return: the results in a list, once all calls have ended."""

    def __init__(self, pool: object, chunks: int, told: Callable[[Any, BaseException | None], object]) -> None:
        """Wait for as many chunks, and call `told` with the list of results or the first exception."""
        super().__init__(pool, Future())
        self._left = chunks
        self._found: list[list[Any]] = [[]] * chunks
        self._error: BaseException | None = None
        self._told = told
        self._lock = threading.Lock()  # the caller's thread tells of a chunk that can't be sent, the driver's of others
        if not chunks:  # nobody is told of that, as by theirs
            self._future.set_result([])

    def take(self, place: int, results: list[Any] | None, error: BaseException | None) -> None:
        """Take what became of a chunk.

        Runs in the thread that resolves the futures, or in the caller's if the chunk can't be sent.
        """
        with self._lock:
            self._found[place] = results or []
            self._error = self._error or error
            self._left -= 1
            is_last = not self._left
        if is_last:
            self._end()

    def _end(self) -> None:
        results = [result for chunk in self._found for result in chunk]
        self._found = []
        self._told(results, self._error)
        if self._error is None:
            self._future.set_result(results)
        else:
            self._future.set_exception(self._error)


class IMapIterator:
    """The results of `imap` in order, or those of `imap_unordered` as they come."""

    def __init__(
        self, pool: Pool, chunks: Iterator[list[Any]], submit: Callable[[list[Any]], Future[Any]], *, ordered: bool
    ) -> None:
        """Take the chunks of calls, and what submits one."""
        self._pool = pool
        self._chunks: Iterator[list[Any]] | None = chunks
        self._submit = submit
        self._lock = threading.RLock()
        self._ordered = ordered
        self._waiting: deque[Future[Any]] = deque()  # in order; those that are not ordered come by the queue
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._results: deque[Any] = deque()
        self._error: BaseException | None = None
        """What reading the iterable raised; it comes behind the results of what was read before."""
        self.submit_ahead(pool.ahead)

    def submit_ahead(self, most: int | None) -> None:
        """Submit chunks until as many are under way, or with None all that there are."""
        with self._lock:
            while self._chunks is not None and (most is None or len(self._waiting) < most):
                try:
                    chunk = next(self._chunks, None)
                except Exception as error:
                    self._error, chunk = error, None
                if chunk is None:
                    self._chunks = None
                    return
                future = self._submit(chunk)
                self._waiting.append(future)
                if not self._ordered:
                    future.add_done_callback(self._done.put)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result, or raise what the function raised for it.

        Raises:
            multiprocessing.TimeoutError: it is not there after `timeout` seconds.
            StopIteration: there are no more.
        """
        while not self._results:
            future = self._next_done(timeout)
            with self._lock:
                self._waiting.remove(future)
                if not self._pool.is_closed:
                    self.submit_ahead(self._pool.ahead)
            self._results.extend(future.result())
        return self._results.popleft()

    def _next_done(self, timeout: float | None) -> Future[Any]:
        """Return the call whose results are next, when it has ended."""
        if not self._waiting:
            error, self._error = self._error, None
            if error is not None:
                raise error
            raise StopIteration
        if not self._ordered:
            try:
                done: Future[Any] = self._done.get(timeout=timeout)
            except queue.Empty:
                raise multiprocessing.TimeoutError from None
            return done
        future = self._waiting[0]
        with suppress(TimeoutError):
            future.exception(timeout)
        if not future.done():
            raise multiprocessing.TimeoutError
        return future
