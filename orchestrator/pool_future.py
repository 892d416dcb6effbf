"""The future that `Pool.submit` gives: one of the standard library, which knows its pool."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class PoolFuture(Future[Any]):
    """A `concurrent.futures.Future`; in a signal handler that interrupted the pool its waits raise, not hang."""

    def __init__(self, before_wait: Callable[[], None]) -> None:
        """Take what is called before a wait, to raise if that would never end."""
        super().__init__()
        self._before_wait = before_wait

    def result(self, timeout: float | None = None) -> Any:
        """Return what the call returned, or raise what it raised.

        Raises:
            TimeoutError: it is not there after `timeout` seconds.
            CancelledError: the call was cancelled.
            ReentrantCallError: a signal handler asks that interrupted this thread within the pool, and it is not there.
        """
        if not self.done():
            self._before_wait()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised, None if it returned; raises as `result` does."""
        if not self.done():
            self._before_wait()
        return super().exception(timeout)
