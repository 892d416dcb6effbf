"""Runs one function over chunks by the pool, with retries, order and window.

    room, submit, send ~~~> (engine, worker) ~~~> settle -> reorder -> take

Owner: the thread of whoever consumes the results; only `events` is touched by the engine. User code (pickling of
items, unpickling of results) runs here, in that thread. `Pool.map` is "source -> stage -> results"; other nodes of a
graph feed and drain a stage by the same methods:

    while (size := stage.room()) > 0 and (items := ...):     at most `size` of them
        stage.submit(items, first_index)
    stage.send()
    stage.settle()
    delivery = stage.take()

What sends is `dispatcher`; what runs again is `recovery.recovery`. Each has its own state.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.engine.core.known_times import KnownTimes
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.core.reorder import ReorderBuffer
from orchestrator.engine.core.retry import RetryPolicy
from orchestrator.engine.dispatcher import Dispatcher
from orchestrator.engine.protocol.counts import StageCounts
from orchestrator.engine.protocol.engine import Engine, unable
from orchestrator.engine.protocol.events import Broken, Finished, Lost, Refused, Returned, Split, StageEvents
from orchestrator.engine.protocol.functions import label_of
from orchestrator.engine.protocol.spilled import bound
from orchestrator.engine.recovery.assembly import Assembly, FailedItem
from orchestrator.engine.recovery.delivery import Deliveries, Delivery
from orchestrator.engine.recovery.item_errors import item_error
from orchestrator.engine.recovery.recovery import Recovery
from orchestrator.errors import ItemError, OrchestratorError
from orchestrator.settings import MapOptions, PoolSettings, retries_by_name
from orchestrator.sinks.given import NodeSink
from workers.errors.capture import ExceptionRecord, capture
from workers.errors.signal_handlers import is_of_a_handler
from workers.functions.runner import CallSpec
from workers.functions.steps import StepCounts, Steps
from workers.transport.payload import Encoded
from workers.transport.wire import Flag

if TYPE_CHECKING:
    from orchestrator.sources.block_splitting import Divider


_known_times = KnownTimes()
"""Of all pools of this process."""


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
        """Open the call.

        `order` is its number among the pool's calls, for its random numbers.

        Raises:
            ItemError: the function can't be pickled.
            ClosedError: the pool is closed.
            ConfigError: dead letters can't be written where they are to go.
        """
        if options.timeout_s is not None and "deadlines" not in coordinator.capabilities:
            raise unable(coordinator.name, "timeout", "deadlines")
        if options.at_most_once and "single runs" not in coordinator.capabilities:
            raise unable(coordinator.name, "at_most_once", "single runs")
        self._coordinator = coordinator
        self._seeded = settings.seed is not None
        self._options = options
        self.events: StageEvents = deque()
        self.counts = StageCounts()
        self._on_lost: Callable[[Lost], None] | None = None
        self._on_split: Callable[[int, int], None] | None = None
        self._fused = isinstance(function, Steps)
        if isinstance(function, Steps):
            self.counts.steps = {name: StepCounts() for name in function.names}
        self._tallies = tuple(self.counts.steps.values())
        jitter = int.from_bytes(os.urandom(8)) if options.retry_delay_s else 0
        max_deaths = 1 if options.at_most_once else settings.max_deaths
        policy = RetryPolicy(retries_by_name(options.retries), options.retry_delay_s, max_deaths, jitter)
        self._recovery = Recovery(policy, self.counts, self._assembled, divider)
        singly = self._seeded and self._fused  # fused steps run by columns, where no item has numbers of its own
        self._dispatcher = Dispatcher(coordinator, settings, options, self._recovery, total=total, singly=singly)
        self._reorder: ReorderBuffer[Finished | Assembly] = ReorderBuffer(ordered=options.ordered)
        self._head: Assembly | None = None  # popped from the reorder buffer, and then had to be run again
        self._closed = False
        if stop_at_failure is None:
            stop_at_failure = options.on_error == "raise" and not options.retries
        self._function: object = function  # kept, as what it shares (`Pool.share`) lives as long as its handle here
        watched = options.timeout_s is not None or policy.at_most_once
        prompt = options.prompt or policy.at_most_once  # a result that is not written yet is lost with its worker
        seed = None if settings.seed is None else (settings.seed, order)
        spec = CallSpec(
            function, star, stop_at_failure, forward_output, watched, prompt, seed, options.drop_none
        )
        encoded = coordinator.encode_function(spec)
        self._deliveries = Deliveries(options, function, self._recovery, self.counts, grouped=self._fused)
        try:
            self._number = coordinator.open(self.events, encoded, options.timeout_s, name=label_of(function))
        except BaseException:
            self._deliveries.close()
            raise
        self._pickle = encoded.pickle if isinstance(encoded, Encoded) else b""
        self._dispatcher.begin(self._number, _known_times.of(self._pickle))

    def tell_split(self, on_split: Callable[[int, int], None]) -> None:
        """Call a function for each chunk that is split, with its first index and the items that it keeps."""
        self._on_split = on_split

    def tell_lost(self, on_lost: Callable[[Lost], None]) -> None:
        """Call it, in the consumer's thread, for each chunk that a worker died or was killed with.

        The chunk may run again.
        """
        self._on_lost = on_lost

    # ---- into the pool ----------------------------------------------------------------------------------------

    def room(self) -> int:
        """Return how many items the next chunk may have, or 0 if none may be submitted now.

        What runs again is sent first. The round that this begins ends with `send`.
        """
        return self._dispatcher.room()

    def submit(self, items: Sequence[Any], first_index: int) -> None:
        """Encode items as one chunk, of which the first has this index."""
        self._dispatcher.submit(items, first_index)

    def send(self) -> None:
        """Send submitted and retried chunks as far as lanes have room."""
        self._dispatcher.send()

    def drop_ahead(self) -> None:
        """Drop the chunks that were not sent yet, as the run is to end."""
        self._dispatcher.drop_ahead()

    @property
    def chunk_items(self) -> int:
        """How many items the next chunk should have."""
        return self._dispatcher.chunk_items

    @property
    def wanted_items(self) -> int:
        """The size of the next chunk, and of what may be fetched for it and those behind it."""
        return self._dispatcher.wanted_items

    @property
    def seconds_per_item(self) -> float | None:
        """What an item takes, as far as that is known."""
        return self._dispatcher.seconds_per_item

    def call_off(self, item: Any, error: ItemError) -> None:
        """Settle the chunk of this one item with an error.

        If a worker has it, it is given up, and this is to be called again.

        Not for stages that look ahead of their consumer.
        """
        found = self._recovery.again.take_out(item) + self._dispatcher.take_out(item)
        for chunk in found:
            self._recovery.settle(chunk, error)
        if not found and self.in_lanes:
            self._coordinator.call_off(self._number, item)

    def give_back(self) -> None:
        """Return to the pool's budget what was taken since the last time."""
        self._dispatcher.give_back()

    def wants_room(self, *, source_ended: bool = False) -> bool:
        """Tell whether there is something to send, and a lane that would take it now."""
        return self._dispatcher.wants_room(source_ended=source_ended)

    def is_waiting(self, *, source_ended: bool) -> bool:
        """Tell whether something will happen by itself: a chunk returns, falls due, or gets its credit.

        What is finished and waits for its consumer does not count: only the consumer can end that wait.
        """
        wanted = self.in_lanes > 0 or self.timeout_s is not None
        return wanted or self._dispatcher.depth_wanted(source_ended=source_ended) > 0

    @property
    def pickles(self) -> bool:
        """Whether items go to other processes, so that the functions get copies of them."""
        return "processes" in self._coordinator.capabilities

    @property
    def ordered(self) -> bool:
        """Whether results come in the order of the items."""
        return self._options.ordered

    @property
    def dead_letters(self) -> NodeSink | None:
        """The sink of the items that are given up."""
        return self._deliveries.dead_letters

    @property
    def in_lanes(self) -> int:
        """Chunks that a lane holds: each will bring an event."""
        return self._dispatcher.in_lanes

    @property
    def timeout_s(self) -> float | None:
        """How long to wait at most before feeding again.

        None: until something happens.
        """
        return self._recovery.again.wait_s

    # ---- out of the pool --------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Handle the coordinator's events since the last time.

        Raises:
            OrchestratorError: the pool is broken or closed.
        """
        events = self.events
        while events:
            try:
                event = events.popleft()
            except IndexError:  # another thread that closes the pool took it, and says so next
                return
            if type(event) is Finished:
                self._finished(event)
            elif type(event) is Lost:
                self._lost(event)
            elif type(event) is Refused:
                self._refused(event)
            elif type(event) is Returned:
                self._returned(event.chunk)
            elif type(event) is Split:
                self._split(event)
            elif type(event) is Broken:
                raise _fresh(event.error)

    def _split(self, event: Split) -> None:
        """Send the items again that a worker gave back, as a chunk right behind the one they were in."""
        chunk = event.chunk
        seq = self._reorder.insert(chunk.seq) if self._options.ordered else chunk.seq
        first = chunk.first_index + len(chunk.items)
        self._dispatcher.split(event.size_bytes)
        self._recovery.send_again(Chunk(chunk.call, seq, event.rest, first, attempt=chunk.attempt))
        if self._on_split is not None:
            self._on_split(chunk.first_index, len(chunk.items))

    def _finished(self, event: Finished) -> None:
        chunk, run_s = event.chunk, event.run_s
        if self._recovery.died_loading:
            self._recovery.function_ran()
        self.counts.seconds += run_s
        self._dispatcher.finished(chunk, run_s, event.size_bytes)
        if chunk.parent is not None:
            self._part_finished(event)
            return
        self.counts.chunks += 1
        if not event.flags & Flag.FAILED:
            self._reorder.put(chunk.seq, event)
            return
        if self._options.retries:
            self._recovery.retry_failed(chunk, *self._decode(event))
        else:
            self._reorder.put(chunk.seq, event)

    def _part_finished(self, event: Finished) -> None:
        chunk, recovery = event.chunk, self._recovery
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
        self._dispatcher.refused(chunk, event.size_bytes)
        record: ExceptionRecord = self._decode(event)
        if len(chunk.items) > 1:
            self._recovery.split(chunk, chunk.size_bytes)
        else:
            error = item_error(record, chunk.items[0], chunk.first_index, chunk.attempt)
            error.is_unloadable = True
            self._recovery.settle(chunk, error)

    def _lost(self, event: Lost) -> None:
        if self._on_lost is not None:
            self._on_lost(event)
        self._dispatcher.came_off(event.chunk)
        self._recovery.lost(event)

    def _returned(self, chunk: Chunk) -> None:
        self._dispatcher.came_off(chunk)
        self._recovery.returned(chunk)

    def _assembled(self, assembly: Assembly) -> None:
        if assembly is not self._head:
            self._reorder.put(assembly.chunk.seq, assembly)

    @property
    def is_ready(self) -> bool:
        """Whether `take` probably has something to return.

        It has not if that turns out to have to run again.
        """
        return self._reorder.ready

    def take(self) -> Delivery | None:
        """Return the results of the chunk whose turn it is, and release its budget.

        None: they are not there yet.
        """
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
            self._dispatcher.consumed(chunk.size_bytes)
            if done.flags & (Flag.FAILED | Flag.SPILLED):
                if done.flags & Flag.FAILED:
                    decoded = self._deliveries.merged(chunk, *decoded)
                return self._deliveries.of(chunk, decoded)
            self.counts.items += len(chunk.items)
            return Delivery(decoded, None, len(chunk.items), chunk.first_index, chunk.size_bytes)
        assert isinstance(done, Assembly)  # noqa: S101 - for the type checker
        self._dispatcher.consumed(done.size_bytes)
        return self._deliveries.of(done.chunk, done.outcomes)

    def _take_again(self, done: Finished, error: BaseException) -> Delivery | None:
        """Run the items singly, as their results can't be unpickled here, to find the one at fault."""
        chunk = done.chunk
        if len(chunk.items) == 1:
            self._head = self._recovery.halve(chunk, chunk.size_bytes)
            if self._head is not None:
                return None
            self._dispatcher.consumed(chunk.size_bytes)
            failed = _undecodable(error, chunk.items[0], chunk.first_index, chunk.attempt)
            return self._deliveries.of(chunk, [FailedItem(failed)])
        self._head = self._recovery.split(chunk, chunk.size_bytes, ran=True)
        return None

    def _decode(self, event: Finished | Refused) -> Any:
        """Return the content of a frame, and enter the counts of fused steps."""
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

    @property
    def outstanding(self) -> int:
        """The number of chunks sent or to be sent again, and not yet taken."""
        return self._dispatcher.outstanding

    def close(self) -> None:
        """End the call and free what it holds.

        Chunks that run are not waited for. Runs at most once.
        """
        if self._closed:
            return
        self._closed = True
        if (seconds := self.seconds_per_item) is not None:
            _known_times.note(self._pickle, seconds)
        for done in self._reorder.drain():
            if isinstance(done, Finished):
                done.body.discard()
        self._recovery.clear()
        self._function = None
        self._coordinator.close_call(self._number)
        self._deliveries.close()

    def end_running(self, grace_s: float) -> None:
        """End the workers that still run something of this call so many seconds after it was closed."""
        self._coordinator.end_call(self._number, grace_s)


def _undecodable(
    error: BaseException, item: Any, index: int, attempts: int, name: str | None = None
) -> ItemError:
    failed = item_error(capture(error), item, index, attempts, name)
    failed.is_unloadable = True
    if isinstance(error, OrchestratorError):
        failed.__cause__ = error.with_traceback(None)
    else:
        failed.add_note("the function returned, but its result can't be unpickled in the coordinator")
    return failed


def _fresh(error: OrchestratorError) -> OrchestratorError:
    """Return the error for one more raise, as the same object raised twice piles up tracebacks."""
    error.__traceback__ = None
    return error
