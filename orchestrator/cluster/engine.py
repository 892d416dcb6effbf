"""An engine whose workers are elsewhere: it hands chunks to a carrier, and tells calls what became of them.

    dispatch, put_ahead -> room? -> carrier.send ~~~~> (node pool, worker) ~~~~> done -> events of the call
                             ^                                                    |
                             +------------------ one more may be sent <-----------+

Owner of the state: the engine, under `_lock`. The carrier is called without it, as it may call back at once. Threads of
the carrier only append events, and send what was put ahead; no user code runs in them.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

from orchestrator.cluster import results
from orchestrator.cluster.carrier import Carrier, NodeLost, Result, Withdrawn
from orchestrator.cluster.code import Packer
from orchestrator.cluster.codec import Codec, Function
from orchestrator.cluster.node.lifeline import Lifeline
from orchestrator.cluster.node.messages import Call, Outcome, Settings, Versions, Work
from orchestrator.engine.core.chunking import Limits
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.engine import Capability, Encoded, OutputCallback, Sendable, unable
from orchestrator.engine.protocol.events import Broken, Returned, Split, StageEvents
from orchestrator.engine.protocol.interrupts import HeldBack
from orchestrator.engine.protocol.main_definitions import offered
from orchestrator.engine.protocol.status import (
    Farewell,
    PoolStatus,
    Traffic,
    WorkerInfo,
    WorkerStatus,
    describe_chunk,
)
from orchestrator.errors import ClosedError, OrchestratorError, ReentrantCallError, WorkerStartError
from orchestrator.machine.terminal import for_stream, visible
from orchestrator.settings import PoolSettings
from workers.errors.describe import text_of
from workers.functions.runner import CallSpec
from workers.pickling import bindings, by_value
from workers.pickling.main_module import Wanted

_DEPTH = 2
"""How many chunks a slot may be given: the one that runs, and the next."""
_MOST_ROUNDS = 8
"""How often a chunk is sent again with more definitions of `__main__`."""


class _Open:
    """A call that is open."""

    __slots__ = ("call", "carried", "carried_version", "events", "unconsumed")

    def __init__(self, call: Call, carried: Any, events: StageEvents) -> None:
        self.call = call
        self.carried = carried
        """What the carrier has made of the call, in this version."""
        self.carried_version = call.version
        self.events = events
        self.unconsumed = 0
        """Bytes of chunks that came back and of their results, until `consumed`."""


class _Sent:
    """A chunk that the carrier has."""

    __slots__ = ("chunk", "encoded", "number", "rounds", "since_s")

    def __init__(self, number: int, chunk: Chunk, encoded: Encoded) -> None:
        self.number = number
        self.chunk = chunk
        self.encoded = encoded
        self.rounds = 0
        self.since_s = time.monotonic()


class ClusterEngine:
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
        self.name = name
        self.capabilities = capabilities
        self.limits = limits
        self.token = os.urandom(16)
        self._settings = settings
        self._lifeline = Lifeline()
        self._node_settings = _node_settings(settings, self._lifeline)
        self._carrier = carrier
        self._codec = codec
        self._packer = packer
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._next_number, self._idents = 1, itertools.count()
        self._cap = settings.workers
        self._calls: dict[int, _Open] = {}
        self._sent: dict[int, _Sent] = {}
        self._ahead: deque[tuple[int, Chunk, Encoded]] = deque()
        self._abandoned: deque[int] = deque()
        self._sleepers: dict[SimpleQueue[None], None] = {}
        self._printed: deque[tuple[int, str, str]] = deque()
        self._callback: OutputCallback | None = None
        self._broken: OrchestratorError | None = None
        self._feeding = threading.Lock()
        """Held by the thread that sends what was put ahead."""
        self.in_flight_bytes = 0
        self.deaths = 0
        self.closed = False
        self.farewells: list[Farewell] = []
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
        with HeldBack(), self._lock:  # entered in the order of the numbers: see `_oldest`
            number = self._next_number
            self._next_number += 1
            opened = self._calls[number] = _Open(replace(call, number=number), None, events)
        opened.carried = self._carrier.carry(opened.call)
        return number

    def call_off(self, number: int, item: object) -> None:
        """Take back the chunk of this one item, or have its worker ended."""
        with HeldBack(), self._lock:
            found = [
                ident for ident, each in self._sent.items() if each.number == number and each.chunk.items[0] is item
            ]
        for ident in found:
            self._carrier.cancel(ident, running=True)

    def close_call(self, number: int) -> None:
        """End a call. Safe within a garbage collection."""
        self._abandoned.append(number)
        self._forget_if_free()

    def end_call(self, number: int, grace_s: float) -> None:
        """Do nothing more: tasks were taken back when the call was closed, and nodes stop what runs."""

    def _forget_if_free(self) -> None:
        if os.getpid() == self._pid and not self.is_interrupted and self._lock.acquire(blocking=False):
            try:
                self._forget_calls()
            finally:
                self._lock.release()

    def _forget_calls(self) -> None:
        while self._abandoned:
            with HeldBack(), self._lock:
                try:
                    number = self._abandoned.popleft()
                except IndexError:
                    return
                opened = self._calls.pop(number, None)
                if opened is None:
                    continue
                self.in_flight_bytes -= opened.unconsumed
                self._drop_ahead(number)
                idents = [ident for ident, each in self._sent.items() if each.number == number]
                for ident in idents:
                    self.in_flight_bytes -= self._sent.pop(ident).chunk.size_bytes
                oldest = self._oldest()
            self._carrier.drop(idents, opened.carried, oldest)
            self.wake()

    def _oldest(self) -> int:
        """Return the number of the oldest call that is open, or of the next one."""
        return next(iter(self._calls), self._next_number)

    def room(self, depth: int) -> int:
        """Return how many chunks could be sent now."""
        with self._lock:
            return self._room(depth)

    def _room(self, depth: int) -> int:
        return max(0, self.size * min(depth, _DEPTH) - len(self._sent))

    def dispatch(self, number: int, batch: list[Sendable], depth: int) -> int:
        """Send the chunks in turn while there is room, and return how many were sent."""
        self.refuse_if_interrupted("what sends items to workers")
        sent = 0
        for chunk, encoded in batch:
            self.check_usable()
            with HeldBack(), self._lock:
                if not self._room(depth):
                    break
                ident = self._enter(number, chunk, encoded)
                self.in_flight_bytes += encoded.size
            self._send(ident)
            sent += 1
        return sent

    def _enter(self, number: int, chunk: Chunk, encoded: Encoded) -> int:
        """Note a chunk as sent. Called under the lock."""
        if encoded.buffers:
            encoded = encoded.kept()
        chunk.ident = ident = next(self._idents)
        chunk.size_bytes = encoded.size
        chunk.encoded = None if encoded.buffers else encoded
        self._sent[ident] = _Sent(number, chunk, encoded)
        return ident

    def _send(self, ident: int) -> None:
        """Hand a chunk to the carrier. Called without the lock."""
        with HeldBack(), self._lock:
            sent, oldest = self._sent.get(ident), self._oldest()
            opened = None if sent is None else self._calls.get(sent.number)
        if sent is None or opened is None:  # its call was closed meanwhile
            return
        chunk, encoded = sent.chunk, sent.encoded
        once = self._settings.max_deaths == 1
        work = Work(
            ident,
            oldest,
            len(chunk.items),
            chunk.first_index,
            chunk.attempt,
            chunk.alone,
            chunk.watched,
            *self._codec.parts(encoded),
        )
        self._carrier.send(opened.carried, opened.call, work, once=once)

    # ---- chunks that are sent while their consumer is away ------------------------------------------------------

    def put_ahead(self, number: int, batch: list[Sendable], depth: int, *, first: bool = False) -> None:  # noqa: ARG002
        """Take chunks that are sent as soon as there is room."""
        self.refuse_if_interrupted("what sends items to workers")
        self.check_usable()
        with HeldBack(), self._lock:
            new = [(number, chunk, encoded.kept() if encoded.buffers else encoded) for chunk, encoded in batch]
            self.in_flight_bytes += sum(encoded.size for _, _, encoded in new)
            if first:
                self._ahead.extendleft(reversed(new))
            else:
                self._ahead.extend(new)
        self._feed()

    def count_ahead(self, number: int) -> int:
        """Count the chunks of a call that were put ahead and are not sent yet. Takes no lock."""
        return sum(each[0] == number for each in tuple(self._ahead)) if self._ahead else 0

    def drop_ahead(self, number: int) -> int:
        """Drop the chunks of a call that were put ahead and are not sent yet, and return how many."""
        with HeldBack(), self._lock:
            return self._drop_ahead(number)

    def _drop_ahead(self, number: int) -> int:
        dropped = [each for each in self._ahead if each[0] == number]
        self._ahead = deque(each for each in self._ahead if each[0] != number)
        self.in_flight_bytes -= sum(encoded.size for _, _, encoded in dropped)
        return len(dropped)

    def _feed(self) -> None:
        """Send what was put ahead, as far as there is room, by one thread at a time."""
        while self._ahead and self._feeding.acquire(blocking=False):
            try:
                with HeldBack(), self._lock:
                    if not self._ahead or not self._room(_DEPTH) or self.closed:
                        return
                    ident = self._enter(*self._ahead.popleft())
                self._send(ident)
            finally:
                self._feeding.release()

    def consumed(self, number: int, size_bytes: int) -> None:
        """Return bytes of a call that have left for the consumer to the budget."""
        with HeldBack(), self._lock:
            opened = self._calls.get(number)
            if opened is not None:
                opened.unconsumed -= size_bytes
                self.in_flight_bytes -= size_bytes

    # ---- what came back, in a thread of the carrier's -----------------------------------------------------------

    def _done(self, ident: int, result: Result) -> None:
        """Report what became of a chunk."""
        again = False
        with self._lock:
            sent = self._sent.get(ident)
            opened = None if sent is None else self._calls.get(sent.number)
            if sent is not None and opened is not None:
                again = isinstance(result, Outcome) and self._needs_more(sent, opened, result)
                if not again:
                    del self._sent[ident]
                    self._tell(sent, opened, result)
        if again:
            self._send_with_more(ident)
            return
        self._feed()
        self.wake()

    def _tell(self, sent: _Sent, opened: _Open, result: Result) -> None:
        chunk, events = sent.chunk, opened.events
        if isinstance(result, Outcome):
            self._printed.extend(result.printed)
            if result.kept is not None:
                self._split(chunk, events, result.kept)
        if isinstance(result, NodeLost):
            self.deaths += 1
            self.in_flight_bytes -= chunk.size_bytes
            events.append(results.lost_with_node(chunk, result))
        elif isinstance(result, Withdrawn) or result.kind == "returned":
            self.in_flight_bytes -= chunk.size_bytes
            events.append(Returned(chunk))
        elif result.kind == "broken":
            assert result.error is not None  # noqa: S101 - for the type checker
            self._break(result.error)
        elif result.death is not None:
            self.deaths += result.death.reason is None
            self.in_flight_bytes -= chunk.size_bytes
            events.append(results.died(chunk, result.death, result.host))
        else:
            before, chunk.encoded = chunk.size_bytes, None
            body = self._codec.body(result)
            events.append(results.finished(chunk, result, body, body.size))
            opened.unconsumed += chunk.size_bytes
            self.in_flight_bytes += chunk.size_bytes - before

    def _split(self, chunk: Chunk, events: StageEvents, kept: int) -> None:
        """Give back the items that a node has not begun."""
        rest, freed = chunk.items[kept:], chunk.size_bytes * (len(chunk.items) - kept) // len(chunk.items)
        chunk.items, chunk.encoded = chunk.items[:kept], None
        chunk.size_bytes -= freed
        self.in_flight_bytes -= freed
        events.append(Split(chunk, rest, freed))

    def _needs_more(self, sent: _Sent, opened: _Open, result: Outcome) -> bool:
        """Whether a chunk failed for want of names of `__main__` that are here.

        They go with the call from now on.
        """
        names = _names_here(result.missing)
        if not names or sent.rounds == _MOST_ROUNDS or result.kept is not None:
            return False
        sent.rounds += 1
        known = {each.token for each in opened.call.definitions}
        new = [each for each in offered(names) if each.token not in known]
        if new:
            more = (*opened.call.definitions, *new)
            opened.call = replace(opened.call, definitions=more, version=opened.call.version + 1)
        return True

    def _send_with_more(self, ident: int) -> None:
        sent = self._sent.get(ident)
        opened = None if sent is None else self._calls.get(sent.number)
        if opened is None:
            return
        call = opened.call
        if opened.carried_version != call.version:
            opened.carried, opened.carried_version = self._carrier.carry(call), call.version
        self._send(ident)

    def _changed(self) -> None:
        """Take in that there are more slots, or fewer. In any thread."""
        self._feed()
        self.wake()

    def _break(self, error: OrchestratorError) -> None:
        """Tell every call that the engine can't continue. In any thread."""
        if self._broken is None and not self.closed:
            self._broken = error
            for opened in list(self._calls.values()):
                opened.events.append(Broken(error))
        self.wake()

    # ---- the loop ---------------------------------------------------------------------------------------------

    def drive(self, ready: Callable[[], Any], timeout: float | None = None) -> None:
        """Wait until `ready()` or for `timeout` seconds."""
        self.refuse_if_interrupted("what waits for workers")
        self._forget_calls()
        ends = None if timeout is None else time.monotonic() + timeout
        bell = SimpleQueue[None]()
        self._sleepers[bell] = None  # before `ready` is asked, so that no ring is missed
        try:
            while not (ready() or self.closed or self._broken):
                left = None if ends is None else ends - time.monotonic()
                if left is not None and left <= 0:
                    break
                with suppress(Empty):
                    bell.get(timeout=left)
                self._pass_on()
        finally:
            del self._sleepers[bell]
        self._pass_on()

    def _pass_on(self) -> None:
        """Show what was printed, in the thread that waits."""
        while self._printed:
            try:
                worker, stream, text = self._printed.popleft()
            except IndexError:  # another thread took it
                return
            if self._callback is not None:
                self._callback(worker, stream, text)
                continue
            target = sys.stdout if stream == "stdout" else sys.stderr
            if target is not None and not target.closed:
                target.write(for_stream(text, target))

    def poll(self) -> None:
        """Show what was printed."""
        self._forget_calls()
        self._pass_on()

    look = poll

    def wake(self) -> None:
        """Wake all threads that wait."""
        for bell in list(self._sleepers):
            bell.put(None)

    def take_over(self) -> None:
        """Do nothing, as each consumer waits for itself."""

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

    def refuse_if_foreign(self) -> None:
        """Raise `ClosedError` in a forked child."""
        if os.getpid() != self._pid:
            raise ClosedError(f"this pool belongs to process {self._pid}; make a new one in this forked process")

    def check_usable(self) -> None:
        """Raise the error that prevents use of the engine, if there is one."""
        self.refuse_if_foreign()
        if self._broken is not None:
            raise self._broken.with_traceback(None)
        if self.closed:
            raise ClosedError("the pool is closed; make a new one")

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

    def start_timer(self, every_s: float, act: Callable[[], None]) -> Any:
        """Never called, as no size follows this machine."""
        raise NotImplementedError

    def cancel_timer(self, timer: Any) -> None:
        """Never called, as no size follows this machine."""
        raise NotImplementedError

    def worker_ids(self) -> tuple[int, ...]:
        """Refuse, as the workers can't meet."""
        raise unable(self.name, "run_on_all", "supersteps")

    def dispatch_to_all(self, number: int, chunks: dict[int, Chunk], encoded: Any) -> bool:  # noqa: ARG002
        """Refuse, as the workers can't meet."""
        raise unable(self.name, "run_on_all", "supersteps")

    def notice_rebound(self) -> None:
        """Do nothing: what a call takes of `__main__` goes with it."""

    @property
    def has_workers(self) -> bool:
        """Whether anything can run now."""
        return self.size > 0 and not self.closed

    @property
    def busy_workers(self) -> int:
        """Slots that have a chunk. Takes no lock."""
        return min(len(self._sent), self.size)

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Return the slots, by the processes that have them."""
        found = [site for site in self._carrier.sites() for _ in range(site.slots)]
        return tuple(
            WorkerInfo(number, site.pid, "ready", 0, 0, 0, site.host)
            for number, site in enumerate(found[: self.size])
        )

    def worker_pids(self, *, ready: bool = False) -> list[int]:  # noqa: ARG002
        """Return nothing: their pids mean nothing here, or are not ours to kill."""
        return []

    @property
    def buffer_bytes(self) -> int:
        """The byte budget of the pool."""
        return self._settings.buffer_bytes

    @property
    def chunks_in_flight(self) -> int:
        """Chunks that the carrier has."""
        return len(self._sent)

    def at_work(self) -> list[tuple[Chunk, int, float]]:
        """Return the chunks that were sent first, of which each slot may be at one."""
        now_s = time.monotonic()
        with self._lock:
            first = list(itertools.islice(self._sent.values(), self.size))
        return [(each.chunk, slot, now_s - each.since_s) for slot, each in enumerate(first)]

    def status(self, describe: Callable[[Any], str | None]) -> PoolStatus:
        """Return what was sent first, from any thread."""
        at_work = self.at_work()
        calls = self._calls
        shown = []
        for chunk, slot, for_s in at_work:
            opened = calls.get(chunk.call)
            runs = describe_chunk(chunk, None, describe, "" if opened is None else opened.call.name)
            shown.append(WorkerStatus(slot, 0, "ready", 0, 1, runs, for_s))
        return PoolStatus(self.size, len(self._sent), self.in_flight_bytes, self.deaths, tuple(shown))

    def traffic(self) -> dict[int, Traffic]:
        """Return nothing, as there are no pipes of ours."""
        return {}

    left_workers = (0.0, 0)

    @property
    def forwards_output(self) -> bool:
        """Whether a callback shows what user code prints."""
        return self._callback is not None

    @property
    def output_callback(self) -> OutputCallback | None:
        """The callback for what user code prints.

        None: the program's own streams show what comes with results.
        """
        return self._callback

    def show_output_by(self, callback: OutputCallback | None) -> None:
        """Pass what user code prints to a callback, in the thread that waits."""
        self._callback = callback

    def say(self, text: str) -> None:
        """Show a line of our own where the workers' prints are."""
        self._printed.append((-1, "stderr", f"orchestrator: {visible(text)}\n"))

    # ---- the end ----------------------------------------------------------------------------------------------

    def drop_shared(self, token: bytes) -> None:
        """Do nothing: workers forget the object with their call."""

    @property
    def owner_pid(self) -> int:
        """The process that made the engine."""
        return self._pid

    def stop(self, timeout: float | None = None) -> None:
        """End what was made for the pool on the nodes, gracefully."""
        if self._end("closed"):
            try:
                self.farewells += _farewells(self._carrier.stop(timeout))
            finally:
                self._lifeline.close()
                self._carrier.close()
                self._pass_on()

    def terminate(self) -> None:
        """End what was made for the pool on the nodes, and leave."""
        if os.getpid() == self._pid and self._end("terminated"):
            try:
                self._carrier.stop(0.0)
            finally:
                self._lifeline.close()
                self._carrier.close()

    def kill(self) -> None:
        """Accept nothing more. Takes no lock."""
        self.closed = True

    def _end(self, how: str) -> bool:
        """Report to all calls, and return False if that was done before."""
        with self._lock:
            if self._ended:
                return False
            self._ended = self.closed = True
            opened, self._calls = self._calls, {}
            idents = list(self._sent)
            self._sent.clear()
            self._ahead.clear()
        for each in opened.values():
            each.events.append(Broken(ClosedError(f"the pool was {how} while this was still running")))
            self._carrier.drop([], each.carried, 1 << 62)
        self._carrier.drop(idents, None, 1 << 62)
        self.wake()
        return True

    _ended = False


def _names_here(missing: Wanted) -> list[str]:
    """Return the names, of those that a node has missed, that `__main__` has here."""
    found = []
    for name, token in missing:
        bound = bindings.current(name) if token is None else bindings.of_token(name, token)
        if bound.value is not bindings.MISSING:
            found.append(name)
    return found


def _farewells(given: Iterable[tuple[int, int, object, BaseException | None]]) -> list[Farewell]:
    return [Farewell(number, pid, result, error) for number, (_, pid, result, error) in enumerate(given)]


def _node_settings(settings: PoolSettings, lifeline: Lifeline) -> Settings:
    """Return what nodes are told of the pool's settings.

    Raises:
        WorkerStartError: the initializer, its arguments or the finalizer can't be pickled.
    """
    first, last = settings.initializer, settings.finalizer
    beginning, names = None, set[str]()
    if first is not None or last is not None:
        try:
            parts = (first, settings.initargs) if first else None, (last, ()) if last else None
            beginning, names = by_value.with_names(parts)
        except Exception as error:
            why = f"{type(error).__name__}: {text_of(error)}"
            raise WorkerStartError(
                f"the initializer, its arguments or the finalizer can't be sent to a node: {why}"
            ) from error
    return Settings(
        lifeline.where,
        settings.buffer_bytes,
        settings.memory_limit,
        settings.items_per_worker,
        settings.threads_per_worker,
        settings.seed,
        tuple((settings.env or {}).items()),
        beginning,
        last is not None,
        tuple(offered(names)) if names else (),
    )
