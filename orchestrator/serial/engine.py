"""Runs functions in this process, in the thread that waits for their results.

For `breakpoint()`, `pdb` and prints.

    dispatch -> one waiting chunk a thread -> drive: function(item)… -> events of the call

Nothing is pickled or copied: items, results and exceptions are the program's own objects. One function runs at a time,
as in a pool of one worker. A chunk runs in the thread that sent it; in another one only if that thread has left its
wait, so that results can be handed from thread to thread.

No lock is held that a signal handler could wait for in vain: shared state is changed by single operations only.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, ClassVar

from orchestrator.engine.core.chunking import LOCAL, Limits
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.consumer_driven import ConsumerDriven
from orchestrator.engine.protocol.engine import Capability, Sendable, unable
from orchestrator.engine.protocol.events import Finished, Refused, Returned, StageEvents
from orchestrator.engine.protocol.in_process import Live, OpenCall
from orchestrator.engine.protocol.status import (
    Farewell,
    PoolStatus,
    WorkerInfo,
    WorkerStatus,
    describe_chunk,
    rss_bytes,
)
from orchestrator.errors import WorkerStartError
from orchestrator.serial.chunks import Waiting
from orchestrator.serial.surroundings import Surroundings
from orchestrator.settings import PoolSettings
from workers.errors.capture import capture, keeping_exceptions
from workers.functions.calls import begin, runner_of
from workers.functions.runner import CallSpec


class SerialEngine(ConsumerDriven):
    """An `Engine` without workers, which calls itself worker 0."""

    name: ClassVar[str] = "serial"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {"supersteps", "shared memory", "seeds", "initializers", "single runs"}
    )
    limits: ClassVar[Limits] = LOCAL

    def __init__(self, settings: PoolSettings) -> None:
        """Start the engine, and run the initializer."""
        super().__init__(settings)
        self._numbers = itertools.count(1)
        self._calls: dict[int, OpenCall] = {}
        self._waiting: deque[Waiting] = deque()
        self._surroundings = Surroundings(settings.seed, self._prints)
        self._at_work: tuple[Waiting, float] | None = None
        self._driving: Counter[int] = Counter()  # threads that are in `drive`
        self._done_chunks = self._done_items = 0
        if settings.initializer is not None:
            self._initialize(settings.initializer)

    def _initialize(self, initializer: Callable[..., object]) -> None:
        try:
            with self._surroundings.entered():
                initializer(*self._settings.initargs)
        except Exception as error:
            self._broken = WorkerStartError("the initializer failed; see the cause")
            self._broken.__cause__ = error

    # ---- calls and their chunks -------------------------------------------------------------------------------

    def encode_function(self, spec: CallSpec) -> CallSpec:
        """Return the function as it is."""
        return spec

    def encode(self, message: Any) -> Live:
        """Return the items as they are."""
        return Live(message)

    def open(self, events: StageEvents, function: CallSpec, timeout_s: float | None = None, *, name: str = "") -> int:
        """Open a call, and return its number."""
        if timeout_s is not None:
            raise unable(self.name, "timeout", "deadlines")
        self.check_usable()
        number = next(self._numbers)
        self._calls[number] = OpenCall(events, function, name)
        return number

    def call_off(self, number: int, item: object) -> None:
        """Take back the chunk of this one item, if it has not begun.

        What runs, runs to its end.
        """
        for each in list(self._waiting):
            if each.number == number and each.chunk.items[0] is item and self._take(each):
                self._calls[number].events.append(Returned(each.chunk))

    def close_call(self, number: int) -> None:
        """End a call."""
        self._calls.pop(number, None)
        for each in list(self._waiting):
            if each.number == number:
                self._take(each)

    def end_call(self, number: int, grace_s: float) -> None:
        """Do nothing, as what runs, runs in its consumer's thread."""

    def room(self, depth: int) -> int:  # noqa: ARG002 - of workers
        """Return 1, unless this thread has sent a chunk that has not run."""
        me = threading.get_ident()
        return 0 if any(each.thread == me for each in list(self._waiting)) else 1

    def dispatch(self, number: int, batch: list[Sendable], depth: int) -> int:
        """Queue the first chunk to run when its sender waits.

        Returns 1, or 0 if one waits already.
        """
        self.check_usable()
        sent = self.room(depth)
        for chunk, direct in batch[:sent]:
            self._waiting.append(Waiting(number, chunk, direct.value))
        return min(sent, len(batch))

    def put_ahead(self, number: int, batch: list[Sendable], depth: int, *, first: bool = False) -> None:
        """Never called, as nothing runs while the consumer is away."""
        raise NotImplementedError

    def count_ahead(self, number: int) -> int:  # noqa: ARG002 - none of any call
        """Return 0, as nothing was put ahead."""
        return 0

    def drop_ahead(self, number: int) -> int:  # noqa: ARG002 - none of any call
        """Return 0, as nothing was put ahead."""
        return 0

    def consumed(self, number: int, size_bytes: int) -> None:
        """Do nothing, as no copy takes memory."""

    def worker_ids(self) -> tuple[int, ...]:
        """Return the only worker id, 0."""
        self.check_usable()
        return (0,)

    def dispatch_to_all(self, number: int, chunks: dict[int, Chunk], encoded: Live) -> bool:
        """Queue the one chunk to run when its sender waits."""
        self.check_usable()
        self._waiting.append(Waiting(number, chunks[0], encoded.value))
        return True

    # ---- the loop ---------------------------------------------------------------------------------------------

    def drive(self, ready: Callable[[], Any], timeout: float | None = None) -> None:
        """Run waiting chunks until `ready()`, at least one.

        Without any, wait for `timeout` seconds.
        """
        self.refuse_if_foreign()
        me = threading.get_ident()
        self._driving[me] += 1
        try:
            self._wait(ready, timeout, lambda: self._run_next(me))
        finally:
            self._driving[me] -= 1

    def _run_next(self, me: int) -> bool:
        """Run a chunk, and return False if there is none for this thread."""
        found = self._next(me)
        if found is not None:
            self._run(found)
        return found is not None

    def _next(self, me: int) -> Waiting | None:
        """Claim a chunk of this thread, else one whose thread is elsewhere."""
        waiting = list(self._waiting)
        mine = [each for each in waiting if each.thread == me]
        others = [each for each in waiting if each.thread != me and not self._driving[each.thread]]
        return next((each for each in mine + others if self._take(each)), None)

    def _take(self, which: Waiting) -> bool:
        """Claim a waiting chunk, and return False if another thread was quicker."""
        try:
            self._waiting.remove(which)
        except ValueError:
            return False
        return True

    def _run(self, found: Waiting) -> None:
        """Run a chunk, and report to its call.

        What a signal handler raised, and leaving pdb, ends the wait instead.
        """
        call, chunk = self._calls.get(found.number), found.chunk
        if call is None:
            return
        with self._surroundings.entered():
            outer, self._at_work = self._at_work, (found, time.monotonic())
            try:
                with keeping_exceptions():
                    event = self._outcome(call, found)
            except BaseException:
                call.events.append(Returned(chunk))
                raise
            finally:
                self._at_work = outer
        self._done_chunks += 1
        self._done_items += len(chunk.items)
        call.events.append(event)
        self.wake()

    def _outcome(self, call: OpenCall, found: Waiting) -> Finished | Refused:
        message, chunk = found.message, found.chunk
        try:
            runner = call.runner = call.runner or runner_of(call.spec, call.ask_file)
        except Exception as error:
            return Refused(chunk, 0.0, 0, Live(capture(error)), 0)
        begin(runner, message)
        started = time.perf_counter()
        done = runner.run(list(message[1]), lambda: found.number not in self._calls)
        run_s = time.perf_counter() - started
        answer, flags = call.answer(done)
        return Finished(chunk, run_s, flags, Live(answer), 0, call.take_file())

    @property
    def is_interrupted(self) -> bool:
        """Return False, as no change is ever half done."""
        return False

    def refuse_if_interrupted(self, what: str) -> None:  # noqa: ARG002 - nothing stands in the way
        """Raise `ClosedError` in a forked child only."""
        self.refuse_if_foreign()

    # ---- workers, and looking ---------------------------------------------------------------------------------

    size = 1
    deaths = 0
    in_flight_bytes = 0

    def resize(self, size: int) -> None:  # noqa: ARG002 - to nothing
        """Refuse, as there is one process.

        Raises:
            ConfigError: always.
        """
        raise unable(self.name, "resize", "resizing")

    @property
    def has_workers(self) -> bool:
        """Whether anything runs here any more."""
        return not self.closed

    @property
    def busy_workers(self) -> int:
        """Return 1 while a function runs."""
        return int(self._at_work is not None)

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Return this process as worker 0."""
        if self.closed:
            return ()
        return (WorkerInfo(0, self._pid, "ready", rss_bytes(self._pid), self._done_chunks, self._done_items),)

    @property
    def chunks_in_flight(self) -> int:
        """Chunks that wait or run."""
        return len(self._waiting) + self.busy_workers

    def at_work(self) -> list[tuple[Chunk, int, float]]:
        """Return the chunk that runs, if there is one, and since how many seconds."""
        at_work = self._at_work
        return [] if at_work is None else [(at_work[0].chunk, 0, time.monotonic() - at_work[1])]

    def status(self, describe: Callable[[Any], str | None]) -> PoolStatus:
        """Return what runs, from any thread."""
        at_work, runs, for_s = self._at_work, "", 0.0
        if at_work is not None:
            call = self._calls.get(at_work[0].number)
            runs = describe_chunk(at_work[0].chunk, None, describe, "" if call is None else call.name)
            for_s = time.monotonic() - at_work[1]
        worker = WorkerStatus(0, self._pid, "ready", rss_bytes(self._pid), self.chunks_in_flight, runs, for_s)
        return PoolStatus(1, self.chunks_in_flight, 0, 0, () if self.closed else (worker,))

    @property
    def left_workers(self) -> tuple[float, int]:
        """Return the CPU seconds of what has run.

        No memory is counted, as it is the program's.
        """
        return self._surroundings.cpu_s, 0

    # ---- the end ----------------------------------------------------------------------------------------------

    def stop(self, timeout: float | None = None) -> None:
        """Accept nothing more, and call the finalizer as soon as no function runs, for `timeout` seconds."""
        if not self._end("closed"):
            return
        if self._settings.finalizer is not None and self._broken is None:
            if not self._surroundings.running.acquire(timeout=-1 if timeout is None else timeout):
                return
            try:
                self.farewells.append(self._farewell(self._settings.finalizer))
            finally:
                self._surroundings.running.release()

    def _farewell(self, finalizer: Callable[[], object]) -> Farewell:
        try:
            with self._surroundings.entered():
                return Farewell(0, self._pid, finalizer())
        except Exception as error:
            return Farewell(0, self._pid, error=error)

    def terminate(self) -> None:
        """Accept nothing more.

        What runs in another thread runs to its end, and nobody waits for its result.
        """
        if os.getpid() == self._pid:
            self._end("terminated")

    def kill(self) -> None:
        """Accept nothing more."""
        self.terminate()

    def _end(self, how: str) -> bool:
        """Report to all calls, and return False if that was done before."""
        if self.closed:
            return False
        self.closed = True
        self._tell_of_end([call.events for call in list(self._calls.values())], how)
        self._calls.clear()
        self._waiting.clear()
        self.wake()
        return True
