"""A stage: one function run over chunks by the pool, with its retries, its order and its window.

    cut -> send ~~~> (coordinator, worker) ~~~> settle -> reorder -> take

Owner: the thread of whoever consumes the results; only `events` is touched by the coordinator. User code (pickling of
items, unpickling of results) runs here, in that thread. `Pool.map` is "source -> stage -> results"; other nodes of a
graph feed and drain a stage by the same four methods: `wants`, `send`, `settle`, `take`.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from orchestrator.engine.core.chunking import ChunkSizer
from orchestrator.engine.core.credits import depth_for
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.core.reorder import ReorderBuffer
from orchestrator.engine.core.retry import RetryPolicy
from orchestrator.engine.core.window import SMALL_CHUNK_BYTES, Window
from orchestrator.engine.protocol.counts import StageCounts
from orchestrator.engine.protocol.engine import Encoded, Engine, Sendable, unable
from orchestrator.engine.protocol.events import Broken, Finished, Lost, Refused, Returned, StageEvents
from orchestrator.engine.protocol.functions import label_of
from orchestrator.engine.protocol.spilled import bound
from orchestrator.engine.recovery.assembly import Assembly, FailedItem
from orchestrator.engine.recovery.dead_letter_sinks import LetterSink
from orchestrator.engine.recovery.delivery import Deliveries, Delivery
from orchestrator.engine.recovery.item_errors import item_error, unsendable_error
from orchestrator.engine.recovery.recovery import Recovery
from orchestrator.errors import ItemError, OrchestratorError
from orchestrator.settings import MapOptions, PoolSettings, retries_by_name
from workers.errors.capture import ExceptionRecord, capture
from workers.errors.signal_handlers import is_of_a_handler
from workers.functions.runner import CallSpec
from workers.functions.steps import StepCounts, Steps
from workers.transport.wire import Flag

if TYPE_CHECKING:
    from orchestrator.sources.block_splitting import Divider

_AHEAD_CHUNK_S = 0.0001
"""Chunks that take longer may be encoded ahead of a lane's credit."""
_AHEAD_S = 10.0
_MOST_AHEAD = 1024
_ENCODING_S = 0.0005
"""So long chunks are encoded ahead before results are looked after again."""
_WEIGHT = 0.3


class Stage:
    """One call on the pool."""

    def __init__(
        self,
        coordinator: Engine,
        settings: PoolSettings,
        function: Callable[..., Any] | Steps,
        options: MapOptions,
        *,
        star: bool,
        total: int | None,
        forward_output: bool,
        stop_at_failure: bool | None = None,
        divider: Divider | None = None,
        order: int = 0,
    ) -> None:
        """Begin the call; `order` tells which of the pool's calls it is, for its random numbers.

        Raises:
            ItemError: the function can't be pickled.
            ClosedError: the pool is closed.
            ConfigError: dead letters can't be written where they are to go.
        """
        if options.timeout_s is not None and "deadlines" not in coordinator.capabilities:
            raise unable(coordinator.name, "timeout", "deadlines")
        self._coordinator = coordinator
        self._seeded = settings.seed is not None
        self._options = options
        self.events: StageEvents = deque()
        self.counts = StageCounts()
        self.on_lost: Callable[[Lost], None] | None = None
        """Told, in the consumer's thread, of each chunk that a worker died with or was ended at; it may run again."""
        self._fused = isinstance(function, Steps)
        if isinstance(function, Steps):
            self.counts.steps = {name: StepCounts() for name in function.names}
        self._tallies = tuple(self.counts.steps.values())
        jitter = int.from_bytes(os.urandom(8)) if options.retry_delay_s else 0
        max_deaths = 1 if options.at_most_once else settings.max_deaths
        policy = RetryPolicy(retries_by_name(options.retries), options.retry_delay_s, max_deaths, jitter)
        self._recovery = Recovery(policy, self.counts, self._assembled, divider)
        self._workers = coordinator.size or 1
        self._sizer = self._new_sizer(total, apart=policy.at_most_once)
        self._reorder: ReorderBuffer[Finished | Assembly] = ReorderBuffer(ordered=options.ordered)
        self._window = Window(self._workers, settings.buffer_bytes)
        self._backlog: deque[Sendable] = deque()  # encoded, no lane had credit for them
        self._head: Assembly | None = None  # popped from the reorder buffer, and then had to be run again
        self._chunk_s: float | None = None
        self._total = total
        self._ahead = options.look_ahead and options.ahead and self.pickles
        self._in_lanes = self._freed_bytes = 0
        self._uncounted_bytes = 0
        """Of chunks that are being put ahead: the coordinator doesn't know of them yet."""
        self._next_seq = 0
        self._closed = False
        self.cut_items = 0
        if stop_at_failure is None:
            stop_at_failure = options.on_error == "raise" and not options.retries
        self._function: object = function  # kept, as what it shares (`Pool.share`) lives as long as its handle here
        watched = options.timeout_s is not None or policy.at_most_once
        prompt = options.prompt or policy.at_most_once  # a result that is not written yet is lost with its worker
        seed = None if settings.seed is None else (settings.seed, order)
        spec = CallSpec(
            function, star, stop_at_failure, forward_output, watched, prompt, seed, options.drop_none
        )
        self._most_items = settings.items_per_worker or sys.maxsize
        encoded = coordinator.encode_function(spec)
        self._deliveries = Deliveries(options, function, self._recovery, self.counts, grouped=self._fused)
        try:
            self._number = coordinator.open(self.events, encoded, options.timeout_s, name=label_of(function))
        except BaseException:
            self._deliveries.close()
            raise

    def _new_sizer(self, total: int | None, *, apart: bool) -> ChunkSizer:
        """Return what says how many items a chunk has."""
        by_columns = self._seeded and self._fused  # where no item of a chunk would have random numbers of its own
        sizer = ChunkSizer("auto" if by_columns else self._options.chunk, self._workers, total)
        if by_columns or "batches" not in self._coordinator.capabilities:
            sizer.pin()
        if apart:
            sizer.keep_apart()
        return sizer

    # ---- into the pool ----------------------------------------------------------------------------------------

    @property
    def chunk_items(self) -> int:
        """How many items the next chunk should have."""
        return self._sizer.next_size(self.cut_items)

    @property
    def wanted_items(self) -> int:
        """How many items the next chunk should have, or may be fetched for it and those behind it."""
        return max(self.chunk_items, self._sizer.ahead())

    def feed(self, cut: Callable[[int], Sequence[Any]]) -> None:
        """Send while lanes have credit and the window allows; `cut(n)` gives at most n items, none at the end."""
        self.give_back()
        if self._workers != self._coordinator.size:
            self._workers = self._sizer.workers = self._window.workers = self._coordinator.size or 1
        depth = self._depth()
        if not self._count_ahead:
            self._fill_lanes(cut, depth)
        if self._ahead:
            self._go_ahead(cut, depth)

    @property
    def _count_ahead(self) -> int:
        """How many chunks are encoded and wait for a credit, wherever this consumer is."""
        return self._coordinator.count_ahead(self._number) if self._ahead else 0

    def _go_ahead(self, cut: Callable[[int], Sequence[Any]], depth: int) -> None:
        """Encode chunks that are sent as credits come free, for a moment; what runs again goes before them."""
        if self._recovery.head is not None and self._count_ahead:
            while self._recovery.head is not None and (more := self._encoded(_nothing)) is not None:
                self._backlog.append(more)
        if self._backlog or self._count_ahead:
            self._put_ahead(depth, first=True)  # also to have those sent that there are
        if not self._may_go_ahead:
            return
        ends, room = perf_counter() + _ENCODING_S, self._most_ahead - self._count_ahead
        while len(self._backlog) < room and (more := self._encoded(cut)) is not None:
            self._backlog.append((more[0], more[1].kept()))
            self._uncounted_bytes += more[1].size
            if perf_counter() > ends:
                break
        if self._backlog:
            self._put_ahead(depth, first=False)

    def _put_ahead(self, depth: int, *, first: bool) -> None:
        batch = list(self._backlog)
        self._coordinator.put_ahead(self._number, batch, depth, first=first)
        self._backlog.clear()
        self._in_lanes += len(batch)
        self._uncounted_bytes = 0

    def drop_ahead(self) -> None:
        """Send no chunk that no worker has been sent yet: the run is to end, and these will not come back."""
        if self._ahead:
            self._ahead = False
            self._in_lanes -= self._coordinator.drop_ahead(self._number)

    @property
    def _may_go_ahead(self) -> bool:
        """Whether chunks may be encoded before a lane has credit for them, so that no pause starves the workers.

        The shortest are not worth it; large payloads are not copied twice.
        """
        return (
            self._ahead
            and self._chunk_s is not None
            and self._chunk_s >= _AHEAD_CHUNK_S
            and self._window.expected_bytes <= SMALL_CHUNK_BYTES
            and self._recovery.head is None
        )

    @property
    def _most_ahead(self) -> int:
        """How many: enough work for a long pause of the consumer, as far as the window and the byte budget allow."""
        return max(self._workers, min(_MOST_AHEAD, self._workers * int(_AHEAD_S / (self._chunk_s or _AHEAD_S) + 1)))

    def _encoded(self, cut: Callable[[int], Sequence[Any]]) -> Sendable | None:
        """Return the next chunk that can be sent, encoded and counted; None: there is none now."""
        while True:
            again = self._recovery.next()
            chunk = again or self._cut(cut)
            if chunk is None:
                return None
            encoded = chunk.encoded or self._encode(chunk, again=again is not None)  # sent, and taken back: as it was
            if encoded is not None:
                break
        if chunk.parent is None:
            self._window.sent(encoded.size, again=again is not None)
        return chunk, encoded

    def _fill_lanes(self, cut: Callable[[int], Sequence[Any]], depth: int) -> None:
        """Send what lanes have credit for now."""
        room = self._coordinator.room(depth)
        backlog = self._backlog
        if backlog and not (room and self._dispatch(depth)):
            return
        while len(backlog) < room and (more := self._encoded(cut)) is not None:
            backlog.append(more)
            if more[1].buffers:
                # These are still the source's own arrays: placed before the source, which may use them again, goes on.
                room -= len(backlog)
                if not self._dispatch(depth):
                    backlog[0] = (backlog[0][0], backlog[0][1].kept())
                    break
        if backlog and room > 0:
            self._dispatch(depth)

    def _dispatch(self, depth: int) -> bool:
        """Send what is encoded; return whether nothing is left over."""
        backlog = self._backlog
        sent = self._coordinator.dispatch(self._number, list(backlog), depth)
        self._in_lanes += sent
        for _ in range(sent):
            backlog.popleft()
        return not backlog

    def call_off(self, item: Any, error: ItemError) -> None:
        """Settle the chunk of this one item with an error; if a worker has it, have it given up, and ask again.

        Not for stages that look ahead of their consumer.
        """
        found = self._recovery.take_out(item)
        for chunk, encoded in [entry for entry in self._backlog if entry[0].items[0] is item]:
            self._backlog.remove((chunk, encoded))
            if chunk.parent is None:
                self._window.lost(encoded.size)
            found.append(chunk)
        for chunk in found:
            self._recovery.settle(chunk, error)
        if not found and self._in_lanes:
            self._coordinator.call_off(self._number, item)

    def give_back(self) -> None:
        """Return to the pool's budget what was taken since the last time."""
        if self._freed_bytes or self._recovery.freed_bytes:
            self._coordinator.consumed(self._number, self._freed_bytes + self._recovery.freed_bytes)
            self._freed_bytes = self._recovery.freed_bytes = 0

    def wants_room(self, *, source_ended: bool = False) -> bool:
        """Tell whether there is something to send, and a lane that would take it now."""
        depth = self._depth_wanted(source_ended)
        if not depth:
            return False
        ahead = self._count_ahead
        if not source_ended and self._may_go_ahead and ahead < self._most_ahead:
            return True
        if ahead:  # these are next
            return self._recovery.head is not None
        return self._coordinator.room(depth) > 0

    def is_waiting(self, *, source_ended: bool) -> bool:
        """Tell whether something will happen of its own accord: a chunk comes back, falls due, or gets its credit.

        What is finished and waits for its consumer does not count: only the consumer can end that wait.
        """
        return self._in_lanes > 0 or self.timeout_s is not None or self._depth_wanted(source_ended) > 0

    def _depth_wanted(self, source_ended: bool) -> int:
        """Return how many chunks a lane may hold that the next one goes to; 0: nothing may be sent."""
        if self._backlog:
            return 1 if self._backlog[0][0].alone else self._depth()
        if (again := self._recovery.head) is not None:
            return 1 if again.alone else self._depth()
        if source_ended or not self._may_cut:
            return 0
        return self._depth()

    def _depth(self) -> int:
        """Return how many chunks a lane may hold now."""
        if not self._options.look_ahead:
            return 1
        if self._total is not None and self._total - self.cut_items <= self._workers * self.chunk_items:
            return 1  # what is left is shared out evenly rather than ahead of time
        return depth_for(self._chunk_s, self._window.expected_bytes, self._workers)

    @property
    def pickles(self) -> bool:
        """Whether items go to other processes, so that the functions get copies of them."""
        return "processes" in self._coordinator.capabilities

    @property
    def ordered(self) -> bool:
        """Whether results come in the order of the items."""
        return self._options.ordered

    @property
    def dead_letters(self) -> LetterSink | None:
        """Where the items go that are given up on."""
        return self._deliveries.dead_letters

    @property
    def in_lanes(self) -> int:
        """Chunks that a lane holds: each will bring an event."""
        return self._in_lanes

    @property
    def _may_cut(self) -> bool:
        """Whether the window and the pool's byte budget allow one more chunk."""
        return self._window.allows(self._coordinator.in_flight_bytes + self._uncounted_bytes, self._chunk_s)

    def _cut(self, cut: Callable[[int], Sequence[Any]]) -> Chunk | None:
        if not self._may_cut:
            return None
        items = cut(min(self._sizer.next_size(self.cut_items), self._most_items))
        if not items:
            return None
        return self._new_chunk(items)

    def _new_chunk(self, items: Sequence[Any]) -> Chunk:
        chunk = Chunk(self._number, self._next_seq, items, self.cut_items)
        self._next_seq += 1
        self.cut_items += len(items)
        return chunk

    def _encode(self, chunk: Chunk, *, again: bool) -> Encoded | None:
        try:
            if self._seeded:
                return self._coordinator.encode((chunk.attempt, chunk.items, chunk.first_index))
            return self._coordinator.encode((chunk.attempt, chunk.items))
        except BaseException as error:
            if is_of_a_handler(error):
                raise
            if chunk.parent is None:
                self._window.sent(0, again=again)
                self._window.lost(0)
            if len(chunk.items) > 1:
                self._recovery.split(chunk)
            else:
                self._recovery.settle(chunk, unsendable_error(error, chunk.items[0], chunk.first_index))
            return None

    @property
    def timeout_s(self) -> float | None:
        """How long to wait at most before feeding again, None: until something happens."""
        return self._recovery.wait_s

    # ---- out of the pool --------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Take in what the coordinator has told since the last time.

        Raises:
            OrchestratorError: the pool is broken or closed.
        """
        events = self.events
        while events:
            try:
                event = events.popleft()
            except IndexError:  # another thread that closes the pool took it, and says so next
                return
            self._in_lanes -= 1
            if type(event) is Finished:
                self._finished(event)
            elif type(event) is Lost:
                self._lost(event)
            elif type(event) is Refused:
                self._refused(event)
            elif type(event) is Returned:
                self._returned(event.chunk)
            elif type(event) is Broken:
                raise _fresh(event.error)

    def _finished(self, event: Finished) -> None:
        chunk, run_s = event.chunk, event.run_s
        if self._recovery.died_loading:
            self._recovery.died_loading.clear()
        self.counts.seconds += run_s
        old = self._chunk_s
        self._chunk_s = run_s if old is None else old + _WEIGHT * (run_s - old)
        if chunk.parent is not None:
            self._part_finished(event)
            return
        self._window.grew(event.size_bytes, chunk.size_bytes)
        self.counts.chunks += 1
        self._sizer.observe(len(chunk.items), run_s, chunk.size_bytes)
        if not event.flags & Flag.FAILED:
            self._reorder.put(chunk.seq, event)
            return
        if self._options.retries:
            self._recovery.retry_failed(chunk, *self._decode(event))
        else:
            self._reorder.put(chunk.seq, event)

    def _part_finished(self, event: Finished) -> None:
        chunk, recovery = event.chunk, self._recovery
        recovery.free(chunk)
        try:
            decoded = self._decode(event)
        except BaseException as error:
            if is_of_a_handler(error):
                raise
            if recovery.halve(chunk) is None:
                recovery.give_up(chunk, partial(_undecodable, error), chunk.attempt)
            return
        if event.flags & Flag.FAILED:
            recovery.item_failed(chunk, decoded[1][0][1])
        elif self._fused and not event.flags & Flag.SPILLED:
            recovery.settle(chunk, decoded)
        else:
            recovery.settle(chunk, decoded[0] if decoded else None)  # None: dropped already

    def _refused(self, event: Refused) -> None:
        chunk = event.chunk
        if chunk.parent is None:
            self._window.grew(event.size_bytes, chunk.size_bytes)
        record: ExceptionRecord = self._decode(event)
        if len(chunk.items) > 1:
            self._recovery.split(chunk, chunk.size_bytes)
        else:
            self._recovery.free(chunk)
            error = item_error(record, chunk.items[0], chunk.first_index, chunk.attempt)
            self._recovery.settle(chunk, error)

    def _lost(self, event: Lost) -> None:
        if self.on_lost is not None:
            self.on_lost(event)
        chunk = event.chunk
        size_bytes, chunk.size_bytes = chunk.size_bytes, 0  # the coordinator has given it back to the budget
        if chunk.parent is None:
            self._window.lost(size_bytes)
        self._recovery.lost(event)

    def _returned(self, chunk: Chunk) -> None:
        size_bytes, chunk.size_bytes = chunk.size_bytes, 0  # as above
        if chunk.parent is None:
            self._window.lost(size_bytes)
        self._recovery.returned(chunk)

    def _assembled(self, assembly: Assembly) -> None:
        if assembly is not self._head:
            self._reorder.put(assembly.chunk.seq, assembly)

    @property
    def is_ready(self) -> bool:
        """Whether `take` has something to give, nearly always: not if that turns out to have to run again."""
        return self._reorder.ready

    def take(self) -> Delivery | None:
        """Return what the chunk whose turn it is gave; None if it is not there yet. Releases its budget."""
        done: Finished | Assembly | None
        if self._head is not None:
            if self._head.missing:
                return None
            done, self._head = self._head, None
        else:
            done = self._reorder.pop()
            if done is None:
                return None
        if type(done) is Finished:
            chunk = done.chunk
            try:
                decoded = self._decode(done)
            except BaseException as error:
                if is_of_a_handler(error):
                    raise
                return self._take_again(done, error)
            self._consumed(chunk.size_bytes)
            if done.flags & (Flag.FAILED | Flag.SPILLED):
                if done.flags & Flag.FAILED:
                    decoded = self._deliveries.merged(chunk, *decoded)
                return self._deliveries.of(chunk, decoded)
            self.counts.items += len(chunk.items)
            return Delivery(decoded, None, len(chunk.items), chunk.first_index, chunk.size_bytes)
        assert isinstance(done, Assembly)  # noqa: S101 - for the type checker
        self._consumed(done.size_bytes)
        return self._deliveries.of(done.chunk, done.outcomes)

    def _take_again(self, done: Finished, error: BaseException) -> Delivery | None:
        """The results can't be unpickled here: run the items singly to find whose is at fault."""
        chunk = done.chunk
        if len(chunk.items) == 1:
            self._head = self._recovery.halve(chunk, chunk.size_bytes)
            if self._head is not None:
                return None
            self._consumed(chunk.size_bytes)
            failed = _undecodable(error, chunk.items[0], chunk.first_index, chunk.attempt)
            return self._deliveries.of(chunk, [FailedItem(failed)])
        self._head = self._recovery.split(chunk, chunk.size_bytes, ran=True)
        return None

    def _decode(self, event: Finished | Refused) -> Any:
        """Return what a frame carries; of fused steps as of one function, and what the steps counted is entered."""
        decoded = event.body.decode()
        if not self._fused or type(event) is Refused:
            return decoded
        results, failures, tally = decoded
        for number, counts in enumerate(self._tallies):
            counts.add(*tally[number * 5 : number * 5 + 5])
        if event.flags & Flag.SPILLED:
            assert event.spill is not None  # noqa: S101 - for the type checker: it was made before
            results = bound(results, event.spill)
            failures = [
                (at, bound(what, event.spill) if isinstance(what, list) else what) for at, what in failures
            ]
        return (results, failures) if failures else results

    def _consumed(self, size_bytes: int) -> None:
        self._freed_bytes += size_bytes
        self._window.consumed(size_bytes)

    @property
    def outstanding(self) -> int:
        """Chunks sent or to be sent again, and not yet taken."""
        return self._window.chunks

    def close(self) -> None:
        """End the call and free what it holds; chunks that run are not waited for. Runs at most once."""
        if self._closed:
            return
        self._closed = True
        for done in self._reorder.drain():
            if isinstance(done, Finished):
                done.body.discard()
        self._recovery.clear()
        self._function = None
        self._coordinator.close_call(self._number)
        self._deliveries.close()


def _nothing(_: int) -> Sequence[Any]:
    return ()


def _undecodable(
    error: BaseException, item: Any, index: int, attempts: int, name: str | None = None
) -> ItemError:
    failed = item_error(capture(error), item, index, attempts, name)
    failed.add_note("the function returned, but its result can't be unpickled in the coordinator")
    return failed


def _fresh(error: OrchestratorError) -> OrchestratorError:
    """Return the error for one more raise: the same object raised twice would pile up tracebacks."""
    error.__traceback__ = None
    return error
