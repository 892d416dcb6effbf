"""Implements `Pool.submit` with real futures.

A caller that waits for one drives the loop itself, or a thread does, which exists once something is submitted
(`turns`). Whoever drives owns the stages.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

from orchestrator.engine.protocol.counts import StageCounts
from orchestrator.engine.protocol.engine import Engine
from orchestrator.engine.protocol.interrupts import HeldBack
from orchestrator.engine.protocol.reentrancy import importing
from orchestrator.engine.recovery.delivery import Delivery
from orchestrator.engine.recovery.item_errors import Failure
from orchestrator.engine.stage import Stage
from orchestrator.errors import ClosedError, ItemError, ReentrantCallError
from orchestrator.pool.calls.submitted import SubmittedCall, run_here
from orchestrator.pool.calls.turns import Turns
from orchestrator.settings import MapOptions, PoolSettings, usable_cpus
from workers.errors.describe import describe_function, text_of, type_name
from workers.errors.signal_handlers import is_of_a_handler
from workers.pickling import by_value
from workers.transport.submission import Submission, run_submission

if TYPE_CHECKING:

    from orchestrator.pool.calls.pool_future import PoolFuture

_ENDING_S = 0.01
"""How often to look whether a call that was cancelled is being run, or can be taken back."""
_ABORT_S = 5.0
_SHORT_S = _LOOKING_S = 0.0001
"""For how long to look for the result of a call that is as short before sleeping.

A sleeping thread takes about 40 µs to wake on a CPU that has gone idle.
"""


class _Kind:
    """Calls that have the same options: their stage, and those that it has, by index."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.running: dict[int, tuple[PoolFuture, SubmittedCall]] = {}
        self._next_index = 0

    def submit(self, future: PoolFuture, call: SubmittedCall) -> None:
        """Put a call into the stage."""
        index = self._next_index
        self._next_index += 1
        self.running[index] = future, call
        self.stage.submit([call], index)


class FutureDriver:
    """Owns the stages that futures run in, one for each kind of options."""

    def __init__(self, coordinator: Engine, settings: PoolSettings) -> None:
        self._coordinator = coordinator
        self._settings = settings
        self._stays = "background" not in coordinator.capabilities
        """Calls run in this process, and in the thread that submits them."""
        self._pickles = "processes" in coordinator.capabilities
        self._turns = Turns(self._has_work, self._thread_turn, coordinator.wake)
        self._lock = self._turns.lock
        self._pending: list[tuple[int, int, PoolFuture, SubmittedCall]] = []  # a heap: by priority, then by number
        self._numbers = itertools.count()
        self._kinds: dict[object, _Kind] = {}
        self._to_end: deque[PoolFuture] = deque()  # cancelled while they ran, by any thread
        self._ending: set[PoolFuture] = set()  # the same, as far as the driver has seen them
        self._closing = self._cancels_waiting = False
        self._counts = StageCounts()  # of kinds that were closed
        self._cpus = usable_cpus()

    @property
    def is_interrupted(self) -> bool:
        """Whether this thread holds the lock, which means that a signal handler interrupted its holder."""
        return self._turns.is_interrupted

    def submit(  # noqa: PLR0917 - all of a call
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: MapOptions,
        priority: int,
        future: PoolFuture | None = None,
    ) -> PoolFuture:
        """Queue a call.

        Runs in the caller's thread.

        Raises:
            ClosedError: the pool is closed or broken.
        """
        self._coordinator.refuse_if_foreign()
        with importing("submit"):
            from orchestrator.pool.calls.pool_future import PoolFuture  # noqa: PLC0415 - for those who submit: it imports slowly

        future = PoolFuture() if future is None else future
        future.belong(self._wait_for, self._turns.need, self._end)
        try:
            sent = _portable(function) if self._pickles else function
            call = SubmittedCall(Submission(sent, args, kwargs), options, function, stays=not self._pickles)
        except Exception as error:
            if is_of_a_handler(error):
                raise
            future.set_running_or_notify_cancel()
            failure = ItemError(
                f"{describe_function(function)} or its arguments can't be sent to a worker: "
                f"{type_name(type(error))}: {text_of(error)}",
                item=args,
            )
            failure.__cause__ = error
            future.fail(failure)
            return future
        with HeldBack():
            with self._lock:
                if self._closing or self._coordinator.closed:
                    raise ClosedError("the pool is closed; make a new one")
                self._coordinator.check_usable()
                number = next(self._numbers)
                heapq.heappush(self._pending, (-priority, number, future, call))
                is_next = self._pending[0][1] == number
                if not self._stays:
                    self._turns.start()
            if not self._stays and is_next:  # else the driver waits for what comes before, or has been woken
                self._send_here(future)
        if self._stays:
            self._run_here(future)
        return future

    def _send_here(self, future: PoolFuture) -> None:
        """Send what waits, or have the driver do it."""
        if future.is_watched:
            self._turns.need()
        if not self._turns.take():
            self._turns.tell()
            return
        try:
            self._send()
        except BaseException as error:
            self.abort(error)
        finally:
            self._turns.leave(needed=bool(self._pending))

    def _wait_for(self, future: PoolFuture, timeout: float | None) -> float | None:
        """Drive the loop until a future is done or the time is over, unless others have to drive.

        Returns how much of the time is left.

        Raises:
            ReentrantCallError: this thread has a lock which the wait would need, or is to resolve the future itself.
        """
        self._coordinator.refuse_if_foreign()
        self._coordinator.refuse_if_interrupted("future.result()")
        if self.is_interrupted or (self._turns.are_mine and timeout is None):
            raise ReentrantCallError("future.result()")
        ends = None if timeout is None else time.monotonic() + timeout
        left = timeout
        with HeldBack(self._coordinator.wake) as held:
            if not self._stays and self._turns.take():

                def leaves() -> bool:
                    return held.came or self._turns.needed

                try:
                    while not (future.is_done or leaves() or (left is not None and left <= 0)) and self._has_work():
                        self._turn(left, leaves)
                        left = None if ends is None else ends - time.monotonic()
                except BaseException as error:
                    self.abort(error)
                finally:
                    self._turns.leave(needed=bool(self._pending))
        if not future.is_done:
            self._coordinator.take_over()  # this thread may be in the wait itself, interrupted by a signal handler
            self._turns.need()
        return None if left is None else max(0.0, left)

    def _run_here(self, future: PoolFuture) -> None:
        """Drive the loop in the caller's thread until its call is done.

        What ends the program is raised.
        """
        try:
            with self._lock:
                while not future.done():
                    self._turn()
        except BaseException as error:
            for kind in self._kinds.values():
                kind.stage.close()
            undone = {future, *(each for kind in self._kinds.values() for each, _ in kind.running.values())}
            self._kinds.clear()
            for each in undone:
                with _unless_resolved():
                    each.fail(error)
            raise

    def _end(self, future: PoolFuture) -> None:
        """Request the end of a call that was cancelled while it ran.

        From any thread, and from a signal handler.
        """
        self._to_end.append(future)
        self._turns.need()
        self._coordinator.wake()

    def _thread_turn(self) -> None:
        try:
            self._turn()
        except BaseException as error:
            self.abort(error)

    def _turn(self, timeout: float | None = None, leaves: Callable[[], bool] | None = None) -> None:
        """Send what can be sent, wait for news at most until `leaves()`, and resolve what is done."""
        self._send()
        some = self._resolve_all()  # what can't be sent is there at once
        if not some and self._has_work():  # else all that was left had been cancelled
            self._wait_for_news(timeout, leaves)
            for kind in list(self._kinds.values()):
                kind.stage.settle()
            self._resolve_all()
        self._close_idle_kinds()

    def _send(self) -> None:
        """Send what can be sent."""
        if self._pending:
            self._coordinator.notice_rebound()
        self._end_cancelled()
        self._feed()
        if self._cancels_waiting:
            self._cancel_waiting()

    def _has_work(self) -> bool:
        """Whether there are calls that are not done."""
        if self._pending:
            return True
        for kind in list(self._kinds.values()):  # noqa: SIM110 - each call comes here several times
            if kind.stage.outstanding:
                return True
        return False

    def _open(self, key: object, options: MapOptions) -> _Kind:
        forward = self._coordinator.forwards_output
        run = run_submission if self._pickles else run_here
        stage = Stage(
            self._coordinator, self._settings, run, options, star=False, total=None, forward_output=forward
        )
        kind = self._kinds[key] = _Kind(stage)
        return kind

    @property
    def counts(self) -> StageCounts:
        """The counts of the calls, of all kinds."""
        counts = StageCounts()
        counts.add(self._counts)
        for kind in list(self._kinds.values()):
            counts.add(kind.stage.counts)
        return counts

    def _head(self) -> SubmittedCall | None:
        """Return the call that is to run next, dropping cancelled ones."""
        while self._pending:
            _, _, future, call = self._pending[0]
            if not future.cancelled():
                return call
            heapq.heappop(self._pending)[2].set_running_or_notify_cancel()
        return None

    def _feed(self) -> None:
        """Send retries, then submitted calls by priority, each in the stage of its kind."""
        for kind in self._kinds.values():
            kind.stage.give_back()
            if kind.stage.timeout_s is not None or kind.stage.wants_room(source_ended=True):  # a retry may be due
                kind.stage.send()
        fed = None
        while self._pending:
            with self._lock:
                head = self._head()
            if head is None:
                return
            kind = self._kinds.get(head.kind) or self._open(head.kind, head.options)
            if kind is fed:
                return  # there is no room
            while self._pending and kind.stage.room() > 0 and (found := self._next_of(head.kind)) is not None:
                kind.submit(*found)
            kind.stage.send()
            fed = kind

    def _cancel_waiting(self) -> None:
        with self._lock:
            self._cancels_waiting = False
            waiting = [future for _, _, future, _ in self._pending]
        for future in waiting:  # without the lock: callbacks run
            future.cancel()
        self._head()

    def _next_of(self, key: object) -> tuple[PoolFuture, SubmittedCall] | None:
        """Remove and return the next call, if it is of this kind."""
        with self._lock:
            while (head := self._head()) is not None and head.kind == key:
                _, _, future, call = heapq.heappop(self._pending)
                if future.set_running_or_notify_cancel():
                    return future, call
        return None

    def _end_cancelled(self) -> None:
        """End the calls that were cancelled while they ran.

        Repeated until nothing of them is left.
        """
        while self._to_end:
            self._ending.add(self._to_end.popleft())
        if not self._ending:
            return
        found = set()
        for kind in self._kinds.values():
            for future, call in list(kind.running.values()):
                if future in self._ending:
                    found.add(future)
                    kind.stage.call_off(call, ItemError("the call was cancelled"))
        self._ending = found

    def _wait_for_news(self, timeout: float | None, leaves: Callable[[], bool] | None) -> None:
        if self._is_stranded:
            raise ClosedError("the pool was closed while it was paused; this call did not run")
        waits = [kind.stage.timeout_s for kind in self._kinds.values()] + [_ENDING_S if self._ending else None, timeout]
        wait_s = min((wait for wait in waits if wait is not None), default=None)

        def has_news() -> bool:
            return self._has_news or self._is_stranded or (leaves is not None and leaves())

        if leaves is None or not self._comes_at_once or not self._look_for(has_news, wait_s):
            self._coordinator.drive(has_news, wait_s)

    @property
    def _comes_at_once(self) -> bool:
        """Whether nothing but one call runs, and calls of its kind are short."""
        if self._coordinator.chunks_in_flight != 1 or self._cpus < 2:
            return False
        for kind in self._kinds.values():
            if kind.stage.in_lanes:
                seconds = kind.stage.seconds_per_item
                return seconds is not None and seconds <= _SHORT_S
        return False

    def _look_for(self, has_news: Callable[[], bool], timeout: float | None) -> bool:
        """Poll for a moment, and return whether there is news."""
        ends = time.perf_counter() + min(_LOOKING_S, _LOOKING_S if timeout is None else timeout)
        while not (found := has_news()) and time.perf_counter() < ends:
            self._coordinator.poll()
        return found

    def _resolve_all(self) -> bool:
        """Resolve the futures whose outcome is known, and return whether there were any."""
        some = False
        for kind in self._kinds.values():
            while (delivery := kind.stage.take()) is not None:
                self._resolve(kind, delivery)
                some = True
        return some

    @property
    def _has_news(self) -> bool:
        """Whether something came back, or waits for a lane that has room."""
        if self._to_end or self._cancels_waiting:
            return True
        for kind in self._kinds.values():
            if kind.stage.events or kind.stage.wants_room(source_ended=True):
                return True
        if not self._pending:
            return False
        head = self._kinds.get(self._pending[0][3].kind)
        return head is None or head.stage.wants_room()

    @property
    def _is_stranded(self) -> bool:
        """Whether nothing will run what is left, as the pool is closing and paused."""
        return (
            self._closing
            and not self._coordinator.size
            and not any(kind.stage.in_lanes or kind.stage.events for kind in self._kinds.values())
        )

    def _close_idle_kinds(self) -> None:
        """Close the stages whose options no call has at the moment.

        An open timeout costs looks.
        """
        for key, kind in list(self._kinds.items()):
            kind.stage.give_back()
            if key is not None and not kind.stage.outstanding:
                self._counts.add(kind.stage.counts)
                del self._kinds[key]
                kind.stage.close()

    def _resolve(self, kind: _Kind, delivery: Delivery) -> None:
        future, _ = kind.running.pop(delivery.first_index)
        result = delivery.results[0]
        with _unless_resolved():
            if isinstance(result, Failure) and isinstance(result.item, SubmittedCall):
                future.fail(result.error)
            else:
                future.set_result(result)

    def cancel_waiting(self) -> None:
        """Have the driver cancel the calls for which no worker has room."""
        with HeldBack(), self._lock:
            self._cancels_waiting = True
            self._turns.need()
            self._coordinator.wake()

    @property
    def is_driven_here(self) -> bool:
        """Whether this thread drives the calls, as in a callback."""
        return self._turns.are_mine

    def close(self, timeout: float | None) -> None:
        """Accept nothing more, and wait until every future is done."""
        with self._lock:
            self._closing = True
        self._turns.close()
        self._coordinator.wake()
        self._turns.join(timeout)
        self._close_kinds()

    def abort(self, error: BaseException) -> None:
        """Set this error on every future that is not done."""
        with self._lock:
            self._closing = True
            self._turns.end()
            undone = [entry[2] for entry in self._pending]
            self._pending.clear()
            for kind in self._kinds.values():
                undone += [future for future, _ in kind.running.values()]
                kind.running.clear()
        for future in undone:
            with _unless_resolved():
                if not future.cancelled():
                    future.fail(error)
        self._turns.join(_ABORT_S)
        self._close_kinds()

    def _close_kinds(self) -> None:
        for kind in list(self._kinds.values()):
            kind.stage.close()


def _unless_resolved() -> AbstractContextManager[None]:
    """Ignore a future that its owner has resolved or cancelled."""
    from concurrent.futures import InvalidStateError  # noqa: PLC0415 - loaded by whoever made the future

    return suppress(InvalidStateError)


def _portable(function: Callable[..., Any]) -> Callable[..., Any] | bytes:
    """Return the function, or its pickle by value if it lives in the main module and may be defined anew."""
    if getattr(function, "__module__", None) != "__main__":
        return function
    return by_value.dumps(function)
