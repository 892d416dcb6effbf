"""Implements `Pool.run_on_all`: runs one function in every worker, together, all or none.

    open call -> attempt: barrier and exchange for the workers there are now, a chunk to each at once
                 -> events; the first end of any of them breaks the barrier for those who would wait for it
              -> all well: results by worker id · one died: another attempt, from the start · one failed: its error

Values that the workers exchange do not pass through here (`workers.sync.collectives`). Runs in the thread of the
caller, in the coordinator process; one at a time in a pool, so that none waits for workers that another one holds.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.engine import Encoded, Engine
from orchestrator.engine.protocol.events import Broken, Finished, Lost, Refused, Returned, Split, StageEvents
from orchestrator.engine.protocol.functions import label_of
from orchestrator.engine.recovery.item_errors import how_it_ended, item_error, unsendable_error
from orchestrator.errors import ItemError, OrchestratorError, WorkerDiedError
from orchestrator.machine import own_descriptors
from workers.errors.capture import capture
from workers.functions.run_on_all import StepFunction
from workers.functions.runner import CallSpec
from workers.sync.barrier import Barrier
from workers.sync.exchange import ExchangeFile
from workers.transport.wire import Flag


class Superstep:
    """One call of `run_on_all`.

    Whoever drives the coordinator advances it (`go_on`), or waits for it (`run`).

    Args:
        coordinator: the pool's.
        function: run once in each worker.
        arguments: its arguments, the same for all.
        max_deaths: how often the step is run at most if a worker dies in it.
        when_closed: called once, at the end.

    Raises:
        ItemError: the function can't be sent.
        OrchestratorError: the pool is broken or closed.
    """

    def __init__(
        self,
        coordinator: Engine,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        max_deaths: int,
        when_closed: Callable[[], None],
    ) -> None:
        self._coordinator = coordinator
        self._arguments = arguments
        self._max_deaths = max_deaths
        self._when_closed = when_closed
        self._events: StageEvents = deque()
        self._attempt: _Attempt | None = None
        self._count = self._deaths = 0
        self._closed = False
        self.results: list[Any] = []
        """By worker id, once `go_on` has said that they are there."""
        forward = coordinator.forwards_output
        spec = CallSpec(StepFunction(function), star=True, stop_at_failure=True, forward_output=forward)
        self._number = coordinator.open(self._events, coordinator.encode_function(spec), name=label_of(function))

    def run(self) -> list[Any]:
        """Wait until the step is done, and return the results by worker id.

        Raises:
            ItemError: it failed in a worker, `.index` is that worker's id; or its arguments can't be sent.
            WorkerDiedError: `max_deaths` times a worker died in it.
            OrchestratorError: the pool is broken or closed.
        """
        try:
            while not self.go_on():
                self._coordinator.drive(lambda: self.has_news)
            return self.results
        finally:
            self.close()

    @property
    def has_news(self) -> bool:
        """Whether `go_on` would find something."""
        return bool(self._events) or (self._attempt is None and self._coordinator.has_workers)

    def go_on(self) -> bool:
        """Handle events, and begin the next attempt if needed.

        Returns whether the results are there.

        Does not wait; while the pool is paused nothing begins.

        Raises:
            Exception: as `run`.
        """
        if self._attempt is None:
            self._attempt = _Attempt(self._coordinator, self._number, self._events, self._arguments, self._count + 1)
        attempt = self._attempt
        if not (attempt.begun or attempt.begin()):
            self._attempt = None
            return False
        if not attempt.take_in():
            return False
        self._attempt = None
        self._count += 1
        results = attempt.finish()
        if results is None:
            self._deaths += attempt.to_blame
            if self._deaths >= self._max_deaths:
                raise _given_up(attempt.lost[0], self._count)
            return self.go_on()
        self.results = results
        return True

    def close(self) -> None:
        """End the step, finished or not, and release workers that wait for others in it.

        A second call does nothing.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._attempt is not None:
                self._attempt.release()
            self._coordinator.close_call(self._number)
        finally:
            self._when_closed()


class _Attempt:
    """One attempt at a step, with the workers that the pool has when it begins."""

    def __init__(
        self, coordinator: Engine, number: int, events: StageEvents, arguments: tuple[Any, ...], count: int
    ) -> None:
        self._coordinator = coordinator
        self._number = number
        self._events = events
        self._arguments = arguments
        self._count = count
        self._barrier: Barrier | None = None
        self._exchange: ExchangeFile | None = None
        self._ids: tuple[int, ...] = ()
        self._left: list[int] = []  # worker ids in the order in which they ended
        self._results: dict[int, Any] = {}  # by worker id
        self._errors: dict[int, ItemError] = {}
        self.lost: list[Lost] = []
        self.to_blame = False
        """Whether a worker died that was at the step: what else it held does not count."""

    @property
    def begun(self) -> bool:
        """Whether all workers were given their part."""
        return self._exchange is not None

    def begin(self) -> bool:
        """Send a chunk to every worker at once, so that no chunk of another step comes between.

        Returns:
            Whether that was done; not if there is no worker.
        """
        while True:
            self._ids = ids = self._coordinator.worker_ids()
            if not ids:
                return False
            barrier, exchange = Barrier(len(ids)), ExchangeFile(len(ids))
            own_descriptors.own(exchange.fd)
            item = (barrier, exchange.where, ids, self._arguments)
            try:
                encoded = self._encode(item)
                chunks = {
                    worker_id: Chunk(self._number, place, [item], worker_id, attempt=self._count)
                    for place, worker_id in enumerate(ids)
                }
                if self._coordinator.dispatch_to_all(self._number, chunks, encoded):
                    self._barrier, self._exchange = barrier, exchange
                    return True
            except BaseException:
                _close(exchange)
                raise
            _close(exchange)  # workers came or went meanwhile

    def take_in(self) -> bool:
        """Handle events, and return whether all workers have ended.

        Raises:
            OrchestratorError: the pool is broken or closed.
        """
        assert self._barrier is not None and self._exchange is not None  # noqa: S101, PT018 - for the type checker
        while self._events:
            self._settle(self._barrier)
        return len(self._left) == len(self._ids)

    def finish(self) -> list[Any] | None:
        """Return the results by worker id, or None if a worker died.

        Raises:
            ItemError: it failed in one.
        """
        self.release()
        if self.lost:
            return None
        if self._errors:
            raise self._worst()
        return [self._results[worker_id] for worker_id in self._ids]

    def release(self) -> None:
        """Free what the step holds.

        If it is left early, nobody may wait for those who will not come.
        """
        if self._barrier is not None and self._exchange is not None:
            self._barrier.abort()
            _close(self._exchange)
            self._barrier = self._exchange = None

    def _encode(self, item: tuple[Any, ...]) -> Encoded:
        try:
            return self._coordinator.encode((self._count, [item]))
        except Exception as error:
            raise unsendable_error(error, self._arguments, 0) from error

    def _settle(self, barrier: Barrier) -> None:
        """Handle one event.

        A worker that has ended will come to no barrier, so those who wait there are released.
        """
        try:
            event = self._events.popleft()
        except IndexError:  # another thread that closes the pool took it, and says so next
            return
        if isinstance(event, Broken):
            raise event.error
        assert not isinstance(event, Returned | Split)  # noqa: S101 - for the type checker: no part of a step is taken back
        if not self._left or isinstance(event, Lost):
            barrier.abort(event.pid if isinstance(event, Lost) else 0)
        worker_id = self._ids[event.chunk.seq]
        if isinstance(event, Lost):
            self.lost.append(event)
            self.to_blame = self.to_blame or event.to_blame
        else:
            self._coordinator.consumed(self._number, event.chunk.size_bytes)
            self._take(worker_id, event)
        self._left.append(worker_id)

    def _take(self, worker_id: int, event: Finished | Refused) -> None:
        try:
            decoded = event.body.decode()
        except BaseException as error:
            failed = item_error(capture(error), self._arguments, worker_id, self._count)
            if isinstance(error, OrchestratorError):
                failed.__cause__ = error.with_traceback(None)
            else:
                failed.add_note("the function returned, but its result can't be unpickled in the coordinator")
            self._errors[worker_id] = failed
            return
        if isinstance(event, Refused):
            self._errors[worker_id] = item_error(decoded, self._arguments, worker_id, self._count)
        elif event.flags & Flag.FAILED:
            self._errors[worker_id] = item_error(decoded[1][0][1], self._arguments, worker_id, self._count)
        else:
            self._results[worker_id] = decoded[0]

    def _worst(self) -> ItemError:
        """Return the error to raise: one that is not a mere consequence of another's."""
        own = [
            error
            for _, error in sorted(self._errors.items())
            if not isinstance(error.__cause__, threading.BrokenBarrierError)
        ]
        if own:
            return own[0]
        worker_id = min(self._errors)
        if self._left[0] != worker_id:
            self._errors[worker_id].add_note(
                f"worker {self._left[0]} had already returned from its function: all workers must call the barrier, "
                "all_gather and all_reduce equally often"
            )
        return self._errors[worker_id]


def _close(exchange: ExchangeFile) -> None:
    own_descriptors.disown(exchange.fd)
    exchange.close()


def _given_up(lost: Lost, count: int) -> WorkerDiedError:
    return WorkerDiedError(
        f"{lost.who} {how_it_ended(lost)} in a step that runs in all workers; "
        f"it ran {count} times, a worker died each time, and it is not tried again",
        worker=lost.worker,
        pid=lost.pid,
        exitcode=lost.exitcode,
        index=lost.worker,
        attempts=count,
    )
