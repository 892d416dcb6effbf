"""`Pool.run_on_all`: one function in every worker, together, all or none.

    open call -> attempt: barrier and exchange for the workers there are now, a chunk to each at once
                 -> events; the first end of any of them breaks the barrier for those who would wait for it
              -> all well: results by worker id · one died: another attempt, from the start · one failed: its error

Values that the workers exchange do not pass through here (`workers.collectives`). Runs in the thread of the caller, in
the coordinator process; one at a time in a pool, so that none waits for workers that another one holds.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from orchestrator import launch
from orchestrator.coordinator import Coordinator
from orchestrator.errors import ItemError, WorkerDiedError, describe_exit
from orchestrator.events import Broken, Finished, Lost, Refused, StageEvents
from orchestrator.failures import item_error, unsendable_error
from orchestrator.ledger import Chunk
from orchestrator.stage import encoded_function
from workers import payload
from workers.barrier import Barrier
from workers.errors import capture
from workers.exchange import ExchangeFile
from workers.runner import CallSpec
from workers.superstep import Together
from workers.wire import Flag

_MOST_ATTEMPTS = 100
"""With deaths that earlier chunks of the workers may have caused: these do not count against `max_deaths`."""


class Superstep:
    """One call of `run_on_all`.

    Args:
        coordinator: the pool's.
        function: run once in each worker.
        arguments: its arguments, the same for all.
        max_deaths: how often the step is run at most if a worker dies in it.
    """

    def __init__(
        self, coordinator: Coordinator, function: Callable[..., Any], arguments: tuple[Any, ...], max_deaths: int
    ) -> None:
        self._coordinator = coordinator
        self._function = function
        self._arguments = arguments
        self._max_deaths = max_deaths
        self._events: StageEvents = deque()

    def run(self) -> list[Any]:
        """Run it; return the results by worker id.

        Raises:
            ItemError: it failed in a worker, `.index` is that worker's id; or it can't be sent.
            WorkerDiedError: `max_deaths` times a worker died in it.
            OrchestratorError: the pool is broken or closed.
        """
        spec = CallSpec(
            Together(self._function),
            star=True,
            stop_at_failure=True,
            forward_output=self._coordinator.on_output is not None,
        )
        number = self._coordinator.open(self._events, encoded_function(spec))
        try:
            deaths = 0
            for count in range(1, _MOST_ATTEMPTS + 1):
                attempt = _Attempt(self._coordinator, number, self._events, self._arguments, count)
                results = attempt.run()
                if results is not None:
                    return results
                deaths += attempt.to_blame
                if deaths >= self._max_deaths:
                    break
            raise _given_up(attempt.lost[0], count)
        finally:
            self._coordinator.close_call(number)


class _Attempt:
    """One try of a step, with the workers that the pool has when it begins."""

    def __init__(
        self, coordinator: Coordinator, number: int, events: StageEvents, arguments: tuple[Any, ...], count: int
    ) -> None:
        self._coordinator = coordinator
        self._number = number
        self._events = events
        self._arguments = arguments
        self._count = count
        self._ids: tuple[int, ...] = ()
        self._left: list[int] = []  # worker ids in the order in which they ended
        self._results: dict[int, Any] = {}  # by worker id
        self._errors: dict[int, ItemError] = {}
        self.lost: list[Lost] = []
        self.to_blame = False
        """Whether a worker died that had begun the function, or held nothing else."""

    def run(self) -> list[Any] | None:
        """Return the results by worker id; None: a worker died, and all others have ended."""
        barrier, exchange = self._begin()
        try:
            while len(self._left) < len(self._ids):
                self._coordinator.drive(lambda: self._events)
                while self._events:
                    self._settle(barrier, exchange)
        finally:
            barrier.abort()  # if this is left early, nobody may wait for those who will not come
            _close(exchange)
        if self.lost:
            return None
        if self._errors:
            raise self._worst()
        return [self._results[worker_id] for worker_id in self._ids]

    def _begin(self) -> tuple[Barrier, ExchangeFile]:
        """Send a chunk to every worker at once: no chunk of another step may come between."""
        while True:
            self._ids = ids = self._coordinator.wait_for_workers()
            barrier, exchange = Barrier(len(ids)), ExchangeFile(len(ids))
            launch.own(exchange.fd)
            item = (barrier, exchange.where, ids, self._arguments)
            try:
                encoded = self._encode(item)
                chunks = {
                    worker_id: Chunk(self._number, place, [item], worker_id, attempt=self._count)
                    for place, worker_id in enumerate(ids)
                }
                if self._coordinator.dispatch_to_all(self._number, chunks, encoded):
                    return barrier, exchange
            except BaseException:
                _close(exchange)
                raise
            _close(exchange)  # workers came or went meanwhile

    def _encode(self, item: tuple[Any, ...]) -> payload.Encoded:
        try:
            return payload.encode((self._count, [item]))
        except Exception as error:
            raise unsendable_error(error, self._arguments, 0) from error

    def _settle(self, barrier: Barrier, exchange: ExchangeFile) -> None:
        """Take in one event. Whoever has ended will come to no barrier: those who wait there are let go."""
        try:
            event = self._events.popleft()
        except IndexError:  # another thread that closes the pool took it, and says so next
            return
        if isinstance(event, Broken):
            raise event.error
        if not self._left or isinstance(event, Lost):
            barrier.abort(event.pid if isinstance(event, Lost) else 0)
        worker_id = self._ids[event.chunk.seq]
        if isinstance(event, Lost):
            self.lost.append(event)
            self.to_blame = self.to_blame or event.alone or exchange.has_begun(event.chunk.seq)
        else:
            self._coordinator.consumed(event.chunk.size_bytes)
            self._take(worker_id, event)
        self._left.append(worker_id)

    def _take(self, worker_id: int, event: Finished | Refused) -> None:
        try:
            decoded = payload.decode(event.flags, event.buffers, event.body, event.reader)
        except BaseException as error:
            failed = item_error(capture(error), self._arguments, worker_id, self._count)
            failed.add_note("the function returned, but its result could not be unpickled in the coordinator")
            self._errors[worker_id] = failed
            return
        if isinstance(event, Refused):
            self._errors[worker_id] = item_error(decoded, self._arguments, worker_id, self._count)
        elif event.flags & Flag.FAILED:
            self._errors[worker_id] = item_error(decoded[1][0][1], self._arguments, worker_id, self._count)
        else:
            self._results[worker_id] = decoded[0]

    def _worst(self) -> ItemError:
        """Return the error to raise: one that is no mere consequence of another's."""
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
                f"worker {self._left[0]} had ended its function before: all workers have to come to the barrier, "
                "all_gather and all_reduce equally often"
            )
        return self._errors[worker_id]


def _close(exchange: ExchangeFile) -> None:
    launch.disown(exchange.fd)
    exchange.close()


def _given_up(lost: Lost, count: int) -> WorkerDiedError:
    return WorkerDiedError(
        f"worker {lost.worker} (pid {lost.pid}) {describe_exit(lost.exitcode)} in a step that runs in all workers; "
        f"it was run {count} times, each time a worker died, and is given up",
        worker=lost.worker,
        pid=lost.pid,
        exitcode=lost.exitcode,
        index=lost.worker,
        attempts=count,
    )
