"""The future that `Pool.submit` returns, a standard one that knows its pool."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from orchestrator.errors import ItemError
from orchestrator.option_values import wait_seconds

_DONE = frozenset(("FINISHED", "CANCELLED", "CANCELLED_AND_NOTIFIED"))


class PoolFuture(Future[Any]):
    """A `concurrent.futures.Future` of a pool.

    In a signal handler that interrupted the pool its waits raise instead of hanging.
    """

    _wait: Callable[[PoolFuture, float | None], float | None]
    _end: Callable[[PoolFuture], object]
    _need: Callable[[], object] | None = None
    is_watched = False
    """Whether somebody is to be told of its end who does not wait in `result`."""

    def __init__(self) -> None:
        super().__init__()
        self._waiters: _Waiters = _Waiters()  # in place of the standard library's list

    @property
    def is_done(self) -> bool:
        """Whether it is done, at once: `done` takes a lock."""
        return self._state in _DONE

    def belong(
        self,
        wait: Callable[[PoolFuture, float | None], float | None],
        need: Callable[[], object],
        end: Callable[[PoolFuture], object],
    ) -> None:
        """Take the pool's part.

        Args:
            wait: called before a wait of so many seconds; drives the pool, and returns the seconds that are left.
            need: called when somebody is to be told of the end, who drives nothing.
            end: ends a running call.
        """
        self._wait, self._end = wait, end
        self._need = self._waiters.need = need

    def fail(self, error: BaseException) -> None:
        """Resolve the future with what the function itself raised, else with our own error.

        The pool calls it, with an `ItemError` if the call failed. A front's future tells failures in its own way.
        """
        of_function = isinstance(error, ItemError) and error.raised_by_function and error.__cause__ is not None
        self.set_exception(error.__cause__ if of_function else error)

    def cancel(self, *, running: bool = False) -> bool:
        """Cancel the call.

        Returns False if it is done, or runs and is not to be stopped.

        Args:
            running: whether to end a call that runs, too. Its worker is ended with the processes that the call started,
                and replaced; other calls that the worker held run again in another. asyncio, which calls this for a
                cancelled `wrap_future`, always means that: nobody waits for the result any more.
        """
        was_running = False
        if running or sys._getframe(1).f_globals.get("__name__") == "asyncio.futures":  # noqa: SLF001 - who asks
            with self._condition:
                was_running = self.running()
                if was_running:
                    self._state = "PENDING"  # what can be cancelled; if the result comes first, it stays
        cancelled = super().cancel()
        if was_running and cancelled:
            self.set_running_or_notify_cancel()  # tells those who wait in `concurrent.futures.wait`
            self._end(self)
        return cancelled

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Call `fn` with this future when it is done.

        What it raises is logged, as `concurrent.futures` does.
        """
        self.is_watched = True
        super().add_done_callback(partial(_call, fn))
        if self._need is not None and not self.is_done:
            self._need()

    def result(self, timeout: float | None = None) -> Any:
        """Return what the call returned, or raise what it raised.

        Raises:
            TimeoutError: it is not there after `timeout` seconds.
            CancelledError: the call was cancelled.
            ReentrantCallError: a signal handler asks that interrupted this thread within the pool, and it is not there.
        """
        timeout = wait_seconds("timeout", timeout)
        if not self.is_done:
            timeout = self._wait(self, timeout)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised, or None if it returned.

        Raises as `result` does.
        """
        timeout = wait_seconds("timeout", timeout)
        if not self.is_done:
            timeout = self._wait(self, timeout)
        return super().exception(timeout)


class _Waiters(list[Any]):
    """Those whom `concurrent.futures.wait` and `as_completed` have told of: they drive nothing themselves."""

    __slots__ = ("need",)
    need: Callable[[], object]

    def append(self, waiter: Any) -> None:
        super().append(waiter)
        if hasattr(self, "need"):
            self.need()


def _call(callback: Callable[[Future[Any]], object], future: Future[Any]) -> None:
    """Call the callback, and log what it raises, SystemExit too.

    The thread serves all futures.
    """
    try:
        callback(future)
    except BaseException:
        if threading.current_thread() is threading.main_thread():
            raise
        logging.getLogger("concurrent.futures").exception("exception calling callback for %r", future)
