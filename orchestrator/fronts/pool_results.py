"""What the pool of `fronts.multiprocessing` returns: results that are or will be there, one by one or all together.

Runs in the process that made the pool.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from orchestrator.engine.recovery.item_errors import Failure

if TYPE_CHECKING:
    from orchestrator.pool.map_results import MapResults


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
    """The results of `imap` in order, or those of `imap_unordered` as they come.

    Several threads may take them.
    """

    def __init__(self, pool: object, chunks: MapResults, as_theirs: Callable[[BaseException], BaseException]) -> None:
        """Take the map over the chunks, begun, and what makes theirs of its errors."""
        self._pool = pool
        self._chunks = chunks
        self._as_theirs = as_theirs
        self._lock = threading.Lock()
        self._results: deque[Any] = deque()
        self._error: BaseException | None = None
        """What reading the iterable raised; it comes behind the results of what was read before."""
        self.ended = threading.Event()
        """Set when all that was submitted has run."""

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
        ends = None if timeout is None else monotonic() + timeout
        if not self._lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            raise multiprocessing.TimeoutError
        try:
            while not self._results:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                self._take(None if ends is None else max(0.0, ends - monotonic()))
            result = self._results.popleft()
        finally:
            self._lock.release()
        if isinstance(result, Failure):
            raise self._as_theirs(result.error)
        return result

    def read_rest(self) -> None:
        """Wait until all has run, and keep the results."""
        with self._lock, suppress(StopIteration):
            while self._error is None:
                self._take(None)

    def _take(self, timeout: float | None) -> None:
        """Take the results of the next chunk.

        Raises:
            multiprocessing.TimeoutError: they are not there in time.
            StopIteration: there are no more.
        """
        try:
            found = self._chunks.next(timeout)
        except TimeoutError:
            raise multiprocessing.TimeoutError from None
        except StopIteration:
            self.ended.set()
            raise
        except Exception as error:
            self.ended.set()
            self._error = error
        else:
            self._results.extend([found] if isinstance(found, Failure) else found)
