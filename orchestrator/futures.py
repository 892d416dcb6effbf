"""`Pool.submit`: real futures, driven by one thread a pool that exists only once something is submitted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

from orchestrator.coordinator import Coordinator
from orchestrator.counts import StageCounts
from orchestrator.delivery import Delivery
from orchestrator.errors import ClosedError, ItemError, ReentrantCallError
from orchestrator.failures import Failure
from orchestrator.reentry import importing
from orchestrator.settings import MapOptions, PoolSettings
from orchestrator.stage import Stage
from workers import by_value
from workers.describe import describe_function, text_of, type_name
from workers.handlers import is_of_a_handler
from workers.submission import Submission, run_submission

if TYPE_CHECKING:
    from concurrent.futures import Future

_OPTIONS = MapOptions(ordered=False, chunk=1, on_error="return", prompt=True)


class FutureDriver:
    """Owns the stage that futures run in, and the thread that drives it."""

    def __init__(self, coordinator: Coordinator, settings: PoolSettings) -> None:
        self._coordinator = coordinator
        self._settings = settings
        self._more = threading.Condition()
        self._pending: deque[tuple[Future[Any], Submission]] = deque()
        self._running: dict[int, Future[Any]] = {}  # by the index of the item that it is
        self._next_index = 0
        self._thread: threading.Thread | None = None
        self._has_thread = False
        self._closing = False
        self.counts = StageCounts()

    @property
    def is_interrupted(self) -> bool:
        """Whether this thread holds the lock: asked from outside, a signal handler has interrupted whoever took it."""
        return bool(self._more._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001

    def submit(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Queue a call; runs in the caller's thread.

        Raises:
            ClosedError: the pool is closed or broken.
        """
        self._coordinator.refuse_if_foreign()
        with importing("submit"):
            from orchestrator.pool_future import PoolFuture  # noqa: PLC0415 - for those who submit: it imports slowly

        future = PoolFuture(self.refuse_to_wait)
        try:
            submission = Submission(_portable(function), args, kwargs)
        except Exception as error:
            if is_of_a_handler(error):
                raise
            future.set_running_or_notify_cancel()
            failure = ItemError(
                f"the function {describe_function(function)} can't be sent to a worker: "
                f"{type_name(type(error))}: {text_of(error)}",
                item=args,
            )
            failure.__cause__ = error
            future.set_exception(failure)
            return future
        with self._more:
            if self._closing or self._coordinator.closed:
                raise ClosedError("the pool is closed; make a new one")
            self._coordinator.check_usable()
            self._pending.append((future, submission))
            if not self._has_thread:
                self._has_thread = True  # first: a signal handler may submit something in the middle of this
                self._thread = threading.Thread(target=self._run, name="orchestrator-futures", daemon=True)
                self._thread.start()
            self._more.notify()
        self._coordinator.wake()
        return future

    def refuse_to_wait(self) -> None:
        """Raise `ReentrantCallError` where a wait for a future would wait for a lock that its own thread holds."""
        self._coordinator.refuse_if_foreign()
        self._coordinator.refuse_if_interrupted("future.result()")
        if self.is_interrupted:
            raise ReentrantCallError("future.result()")
        self._coordinator.take_over()

    def _run(self) -> None:
        """Drive the loop as long as a future is not done; the thread ends with the pool."""
        try:
            stage = Stage(
                self._coordinator,
                self._settings,
                run_submission,
                _OPTIONS,
                star=False,
                total=None,
                forward_output=self._coordinator.hearing.on_output is not None,
            )
        except BaseException as error:
            self.abort(error)
            return
        self.counts = stage.counts
        try:
            while self._wait_for_work(stage):
                if self._pending:
                    self._coordinator.notice_rebound()
                stage.feed(self._cut)
                some = self._resolve_all(stage)  # what can't be sent is there at once
                if not some and (self._pending or stage.outstanding):  # else all that was left had been cancelled
                    self._wait_for_news(stage)
                    stage.settle()
                    self._resolve_all(stage)
                stage.give_back()
        except BaseException as error:
            self.abort(error)
        finally:
            stage.close()

    def _wait_for_news(self, stage: Stage) -> None:
        if self._is_stranded(stage):
            raise ClosedError("the pool was closed while it was paused; this was not done")
        self._coordinator.drive(lambda: self._has_news(stage) or self._is_stranded(stage), stage.timeout_s)

    def _resolve_all(self, stage: Stage) -> bool:
        """Resolve the futures whose outcome is there; return whether there were any."""
        some = False
        while (delivery := stage.take()) is not None:
            self._resolve(delivery)
            some = True
        return some

    def _has_news(self, stage: Stage) -> bool:
        """Whether something came back, or waits and a lane would take it: a new call, or one that runs again."""
        return bool(stage.events) or stage.wants_room(source_ended=not self._pending)

    def _is_stranded(self, stage: Stage) -> bool:
        """Whether nobody will run what is left: the pool is being closed, and has been paused."""
        return self._closing and not self._coordinator.size and not stage.in_lanes and not stage.events

    def _wait_for_work(self, stage: Stage) -> bool:
        with self._more:
            while not (self._pending or stage.outstanding):
                if self._closing:
                    return False
                self._more.wait()
            return True

    def _cut(self, _: int) -> list[Submission]:
        """Give the stage the next call that was not cancelled."""
        while self._pending:
            future, submission = self._pending.popleft()
            if future.set_running_or_notify_cancel():
                self._running[self._next_index] = future
                self._next_index += 1
                return [submission]
        return []

    def _resolve(self, delivery: Delivery) -> None:
        future = self._running.pop(delivery.first_index)
        result = delivery.results[0]
        with _unless_resolved():
            if isinstance(result, Failure) and isinstance(result.item, Submission):
                future.set_exception(_of_function(result.error))
            else:
                future.set_result(result)

    def close(self, timeout: float | None) -> None:
        """Accept nothing more; wait until every future is done."""
        with self._more:
            self._closing = True
            self._more.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._coordinator.wake()
            self._thread.join(timeout)

    def abort(self, error: BaseException) -> None:
        """Give every future that is not done this error."""
        with self._more:
            self._closing = True
            self._more.notify()
            undone = [future for future, _ in self._pending] + list(self._running.values())
            self._pending.clear()
            self._running.clear()
        for future in undone:
            with _unless_resolved():
                if not future.cancelled():
                    future.set_exception(error)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)


def _unless_resolved() -> AbstractContextManager[None]:
    """Let a future be that its owner has resolved or cancelled."""
    from concurrent.futures import InvalidStateError  # noqa: PLC0415 - loaded by whoever made the future

    return suppress(InvalidStateError)


def _of_function(error: ItemError) -> BaseException:
    """Return what the function itself raised, as the futures of the standard library do; else our own error."""
    return error.__cause__ if error.raised_by_function and error.__cause__ is not None else error


def _portable(function: Callable[..., Any]) -> Callable[..., Any] | bytes:
    """Return the function, or its pickle by value if it lives in the main module and may be defined anew."""
    if getattr(function, "__module__", None) != "__main__":
        return function
    return by_value.dumps(function)
