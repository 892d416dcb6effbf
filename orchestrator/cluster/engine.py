"""An engine whose workers are elsewhere: it hands chunks to a carrier, and tells calls what became of them.

    dispatch, put_ahead -> room? -> carrier.send ~~~~> (node pool, worker) ~~~~> done -> events of the call
                             ^                                                    |
                             +------------------ one more may be sent <-----------+

Owner of the state: the engine, under `_lock`. The carrier is called without it, as it may call back at once. Threads of
the carrier only append events, and send what was put ahead; no user code runs in them.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from orchestrator.cluster import results
from orchestrator.cluster.book import Book, CarriedCall, SentChunk
from orchestrator.cluster.carrier import Carrier, Result
from orchestrator.cluster.code import Packer
from orchestrator.cluster.codec import Codec, Function
from orchestrator.cluster.node.lifeline import Lifeline
from orchestrator.cluster.node.messages import Call, Outcome, Versions, Work
from orchestrator.cluster.node_settings import node_settings
from orchestrator.engine.core.chunking import Limits
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.consumer_driven import ConsumerDriven
from orchestrator.engine.protocol.engine import Capability, Encoded, Sendable, unable
from orchestrator.engine.protocol.events import Broken, Finished, Lost, Refused, StageEvents
from orchestrator.engine.protocol.interrupts import HeldBack
from orchestrator.engine.protocol.status import (
    Farewell,
    PoolStatus,
    WorkerInfo,
    WorkerStatus,
    describe_chunk,
)
from orchestrator.errors import OrchestratorError, ReentrantCallError
from orchestrator.settings import PoolSettings
from workers.functions.runner import CallSpec

_DEPTH = 2
"""How many chunks a slot may be given: the one that runs, and the next."""


class ClusterEngine(ConsumerDriven):
    """An `Engine` over a carrier."""

    def __init__(
        self,
        settings: PoolSettings,
        carrier: Carrier,
        codec: Codec,
        *,
        packer: Packer | None = None,
        name: str,
        capabilities: frozenset[Capability],
        limits: Limits,
    ) -> None:
        """Start the carrier's reports.

        Raises:
            WorkerStartError: the initializer or finalizer can't be pickled.
        """
        super().__init__(settings)
        self.name = name
        self.capabilities = capabilities
        self.limits = limits
        self._lifeline = Lifeline()
        self._node_settings = node_settings(settings, self._lifeline)
        self._carrier = carrier
        self._codec = codec
        self._packer = packer
        self._lock = threading.RLock()
        self._cap = settings.workers
        self._book = Book()
        self._abandoned: deque[int] = deque()
        self._feeding = threading.Lock()
        """Held by the thread that sends what was put ahead."""
        self.deaths = 0
        carrier.start(self._done, self._changed, self._break)

    # ---- calls and their chunks -------------------------------------------------------------------------------

    def encode_function(self, spec: CallSpec) -> Function:
        """Encode a function, with what it takes of `__main__`."""
        return self._codec.function(spec)

    def encode(self, message: Any) -> Encoded:
        """Encode what a chunk carries."""
        return self._codec.message(message)

    def open(
        self, events: StageEvents, function: Function, timeout_s: float | None = None, *, name: str = ""
    ) -> int:
        """Open a call, and return its number."""
        self.refuse_if_interrupted("map, run or iteration")
        self._forget_calls()
        self.check_usable()
        code = None if self._packer is None else self._packer.packed()
        call = Call(
            self.token,
            0,
            0,
            tuple(Versions.here()),  # type: ignore[arg-type]
            self._node_settings,
            name,
            timeout_s,
            function.data,
            function.forwards_output,
            function.definitions,
            code,
        )
        opened = None
        try:
            with HeldBack():
                with self._lock:
                    opened = self._book.open(call, events)
                self._carry(opened)
            return opened.call.number
        except BaseException:  # Ctrl-C: nobody learns the number, and would close it
            if opened is not None:
                self.close_call(opened.call.number)
            raise

    def _carry(self, opened: CarriedCall) -> None:
        """Have the carrier know a call as it is by now. Called without the lock."""
        call = opened.call
        if opened.carried_version != call.version:
            opened.carried, opened.carried_version = self._carrier.carry(call), call.version

    def call_off(self, number: int, item: object) -> None:
        """Take back the chunk of this one item, or have its worker ended."""
        with HeldBack(), self._lock:
            found = self._book.of_item(number, item)
        for ident in found:
            self._carrier.cancel(ident, running=True)

    def close_call(self, number: int) -> None:
        """End a call. Safe within a garbage collection."""
        self._abandoned.append(number)
        if os.getpid() == self._pid and not self.is_interrupted and self._lock.acquire(blocking=False):
            try:
                self._forget_calls()
            finally:
                self._lock.release()

    def end_call(self, number: int, grace_s: float) -> None:
        """Do nothing more: tasks were taken back when the call was closed, and nodes stop what runs."""

    def _forget_calls(self) -> None:
        while self._abandoned:
            with HeldBack(), self._lock:
                try:
                    closed = self._book.close(self._abandoned.popleft())
                except IndexError:  # another thread took it
                    return
                oldest = self._book.oldest
            if closed is not None:
                opened, idents = closed
                self._carrier.drop(idents, opened.carried, oldest)
                self.wake()

    def room(self, depth: int) -> int:
        """Return how many chunks could be sent now."""
        with self._lock:
            return self._room(depth)

    def _room(self, depth: int) -> int:
        return max(0, self.size * min(depth, _DEPTH) - len(self._book.sent))

    def dispatch(self, number: int, batch: list[Sendable], depth: int) -> int:
        """Send the chunks in turn while there is room, and return how many were sent."""
        self.refuse_if_interrupted("what sends items to workers")
        sent = 0
        with HeldBack() as held:  # beyond the sending: whoever calls must learn how many were sent
            for chunk, encoded in batch:
                with self._lock:
                    self.check_usable()
                    if held.came or not self._room(depth):
                        break
                    ident = self._book.send(number, chunk, encoded)
                self._send(ident)
                sent += 1
        return sent

    def _send(self, ident: int) -> None:
        """Hand a chunk to the carrier. Called without the lock."""
        with self._lock:
            sent, oldest = self._book.sent.get(ident), self._book.oldest
        if sent is None:  # its call was closed meanwhile
            return
        chunk, opened = sent.chunk, sent.opened
        work = Work(
            ident,
            oldest,
            len(chunk.items),
            chunk.first_index,
            chunk.attempt,
            chunk.alone,
            chunk.watched,
            *self._codec.parts(sent.encoded),
        )
        self._carrier.send(opened.carried, opened.call, work, once=self._settings.max_deaths == 1)

    # ---- chunks that are sent while their consumer is away ------------------------------------------------------

    def put_ahead(self, number: int, batch: list[Sendable], depth: int, *, first: bool = False) -> None:  # noqa: ARG002
        """Take chunks that are sent as soon as there is room."""
        self.refuse_if_interrupted("what sends items to workers")
        with HeldBack():
            with self._lock:
                self.check_usable()
                self._book.put_ahead(number, batch, first=first)
            self._feed()

    def count_ahead(self, number: int) -> int:
        """Count the chunks of a call that were put ahead and are not sent yet. Takes no lock."""
        return self._book.count_ahead(number)

    def drop_ahead(self, number: int) -> int:
        """Drop the chunks of a call that were put ahead and are not sent yet, and return how many."""
        with HeldBack(), self._lock:
            return self._book.drop_ahead(number)

    def _feed(self) -> None:
        """Send what was put ahead, as far as there is room, by one thread at a time."""
        while self._book.has_ahead and self._feeding.acquire(blocking=False):
            try:
                with self._lock:
                    if not self._book.has_ahead or not self._room(_DEPTH) or self.closed:
                        return
                    ident = self._book.send_ahead()
                self._send(ident)
            finally:
                self._feeding.release()

    def consumed(self, number: int, size_bytes: int) -> None:
        """Return bytes of a call that have left for the consumer to the budget."""
        with HeldBack(), self._lock:
            self._book.consumed(number, size_bytes)

    # ---- what came back, in a thread of the carrier's -----------------------------------------------------------

    def _done(self, ident: int, result: Result) -> None:
        """Report what became of a chunk."""
        with HeldBack():  # where the carrier runs what it is sent at once
            with self._lock:
                sent = self._book.sent.get(ident)
                again = sent is not None and isinstance(result, Outcome) and sent.needs_more(result)
                if sent is not None and not again:
                    del self._book.sent[ident]
                    self._tell(sent, result)
            if sent is not None and again:
                self._carry(sent.opened)
                self._send(ident)
                return
            self._feed()
            self.wake()

    def _tell(self, sent: SentChunk, result: Result) -> None:
        chunk, events = sent.chunk, sent.opened.events
        if isinstance(result, Outcome):
            for printed in result.printed:
                self._prints.add(*printed)
            if result.kept is not None:
                events.append(self._book.shorten(chunk, result.kept))
            if result.error is not None and result.kind == "broken":
                self._break(result.error)
                return
        event = results.event_of(chunk, result, self._codec)
        if isinstance(event, Finished | Refused):
            self._book.brought(sent, event.size_bytes)
        else:
            self._book.brought_nothing(sent)
        if isinstance(event, Lost):
            self.deaths += event.ended is None or event.ended.reason == "node"
        events.append(event)

    def _changed(self) -> None:
        """Take in that there are more slots, or fewer. In any thread."""
        self._feed()
        self.wake()

    def _break(self, error: OrchestratorError) -> None:
        """Tell every call that the engine can't continue. In any thread."""
        if self._broken is None and not self.closed:
            self._broken = error
            for opened in list(self._book.calls.values()):
                opened.events.append(Broken(error))
        self.wake()

    # ---- the loop ---------------------------------------------------------------------------------------------

    def drive(self, ready: Callable[[], Any], timeout: float | None = None) -> None:
        """Wait until `ready()` or for `timeout` seconds."""
        self.refuse_if_interrupted("what waits for workers")
        self._forget_calls()
        self._wait(ready, timeout, lambda: False)  # carriers have threads that work

    def poll(self) -> None:
        """Show what was printed, and forget calls that have ended."""
        self._forget_calls()
        super().poll()

    look = poll

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal handler interrupted this thread while it held the lock."""
        owned: Any = self._lock
        return bool(owned._is_owned())  # noqa: SLF001 - an RLock tells nobody else

    def refuse_if_interrupted(self, what: str) -> None:
        """Raise `ReentrantCallError` where a signal handler has interrupted a change.

        Raises:
            ClosedError: this is a forked child.
        """
        self.refuse_if_foreign()
        if self.is_interrupted:
            raise ReentrantCallError(what)

    # ---- workers, and looking ---------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many chunks may run at once: the slots that there are, or as many of them as are wanted."""
        return min(self._cap, self._carrier.slots)

    def resize(self, size: int) -> None:
        """Set how many slots are used at most, from any thread."""
        self.check_usable()
        self._cap = size
        self._changed()

    def worker_ids(self) -> tuple[int, ...]:
        """Refuse, as the workers can't meet."""
        raise unable(self.name, "run_on_all", "supersteps")

    def dispatch_to_all(self, number: int, chunks: dict[int, Chunk], encoded: Any) -> bool:  # noqa: ARG002
        """Refuse, as the workers can't meet."""
        raise unable(self.name, "run_on_all", "supersteps")

    @property
    def has_workers(self) -> bool:
        """Whether anything can run now."""
        return self.size > 0 and not self.closed

    @property
    def busy_workers(self) -> int:
        """Slots that have a chunk. Takes no lock."""
        return min(len(self._book.sent), self.size)

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Return the slots, by the processes that have them."""
        found = [site for site in self._carrier.sites() for _ in range(site.slots)]
        return tuple(
            WorkerInfo(number, site.pid, "ready", 0, 0, 0, site.host)
            for number, site in enumerate(found[: self.size])
        )

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of chunks and results that are on the way, or not yet consumed."""
        return self._book.in_flight_bytes

    @property
    def chunks_in_flight(self) -> int:
        """Chunks that the carrier has."""
        return len(self._book.sent)

    def at_work(self) -> list[tuple[Chunk, int, float]]:
        """Return the chunks that were sent first, of which each slot may be at one."""
        with self._lock:
            return self._book.at_work(self.size)

    def status(self, describe: Callable[[Any], str | None]) -> PoolStatus:
        """Return what was sent first, from any thread."""
        with self._lock:
            sent = self._book.at_work(self.size)
            names = [self._book.name_of(chunk) for chunk, _, _ in sent]
        workers = tuple(
            WorkerStatus(slot, 0, "ready", 0, 1, describe_chunk(chunk, None, describe, name), for_s)
            for (chunk, slot, for_s), name in zip(sent, names, strict=True)
        )
        return PoolStatus(self.size, self.chunks_in_flight, self.in_flight_bytes, self.deaths, workers)

    left_workers = (0.0, 0)

    # ---- the end ----------------------------------------------------------------------------------------------

    def stop(self, timeout: float | None = None) -> None:
        """End what was made for the pool on the nodes, gracefully."""
        if self._end("closed"):
            self._leave(timeout)

    def terminate(self) -> None:
        """End what was made for the pool on the nodes, and leave."""
        if os.getpid() == self._pid and self._end("terminated"):
            self._leave(0.0)

    def _leave(self, timeout: float | None) -> None:
        try:
            given = self._carrier.stop(timeout)
            self.farewells += [Farewell(number, *each[1:]) for number, each in enumerate(given)]
        finally:
            self._lifeline.close()
            self._carrier.close()
            with suppress(Exception):  # the pool is ended whatever becomes of its prints
                self._prints.pass_on()

    def kill(self) -> None:
        """Accept nothing more. Takes no lock."""
        self.closed = True

    def _end(self, how: str) -> bool:
        """Report to all calls, and return False if that was done before."""
        with self._lock:
            if self._ended:
                return False
            self._ended = self.closed = True
            calls, idents = self._book.end()
        self._tell_of_end([each.events for each in calls], how)
        for each in calls:
            self._carrier.drop([], each.carried, 1 << 62)
        self._carrier.drop(idents, None, 1 << 62)
        self.wake()
        return True

    _ended = False
