"""The coordinator: a loop with one wait, between this process's stages and the workers' lanes.

                       coordinator process                          |        worker processes
                                                                    |
 source -> cut -> encode -> dispatch ==(credit-aware round robin)== lane | ==> decode -> fn(item)… -> encode
    ^                                                               |                                   |
    |   budget (bytes in flight)                                    |                                   v
    +--- consumer <- decode <- reorder <- stage events <- collect <====(fan-in, one wait)==|<========= lane

What runs where: cutting, encoding, decoding and reordering (all that may call user code) happen in the thread of the
stage's consumer, without the lock. Dispatching and collecting happen under the lock, and call no user code except
the pickling of definitions that a worker asks for.

Its parts: `loop` has the lock and knows who drives, `transport/lane_io` waits for lanes and reads and writes them,
`transport/in_flight` knows what lanes hold and tells the calls what became of it, `sender` spends the lanes' credits
and knows who waits for one, `receiver` takes in what lanes bring, `supervisor` starts and ends workers and says what
happened to them, `transport/worker_messages` handles what is not a result. What these return is acted upon here.

If a signal handler interrupted a frame that holds the lock, state may be half changed: then `drive` and all that sends
refuse, and what ends or resizes the pool runs in a thread that waits for the lock.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable
from functools import partial
from itertools import repeat
from typing import Any, ClassVar

from orchestrator.engine.core.chunking import LOCAL, Limits
from orchestrator.engine.core.credits import Credits
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.engine import ALL, Capability, OutputCallback, Sendable
from orchestrator.engine.protocol.events import Broken, StageEvents
from orchestrator.engine.protocol.functions import encoded_function
from orchestrator.engine.protocol.interrupts import HeldBack
from orchestrator.engine.protocol.main_definitions import AnswersWorkers
from orchestrator.engine.protocol.reentrancy import run_in_thread
from orchestrator.engine.protocol.status import Farewell, PoolStatus, Traffic, WorkerInfo, describe_item
from orchestrator.errors import ClosedError, OrchestratorError, ReentrantCallError
from orchestrator.local.loop import Loop
from orchestrator.local.process_tree import end_with_children
from orchestrator.local.receiver import Receiver
from orchestrator.local.sender import Sender
from orchestrator.local.supervisor import Supervisor
from orchestrator.local.timers import Timer, Timers
from orchestrator.local.transport.calls import Calls
from orchestrator.local.transport.in_flight import InFlight
from orchestrator.local.transport.lane import Lane, LaneSettings, LaneState
from orchestrator.local.transport.lane_io import LaneIO, Occurred
from orchestrator.local.transport.worker_messages import WorkerMessages
from orchestrator.local.transport.worker_setup import Beginning
from orchestrator.local.transport.worker_status import traffic, worker_info, worker_status
from orchestrator.local.unbegun import LATE_S
from orchestrator.local.watchdog import Watchdog, Watched
from orchestrator.machine import suspension
from orchestrator.settings import PoolSettings
from workers.pickling import by_value, memmap
from workers.process.interpreter import decimal_contexts
from workers.transport import payload
from workers.transport.wire import Kind

_LONGEST_WAIT_S = 86400.0
"""A selector takes no more than 24 days; who waits for longer waits again."""


class Coordinator:
    """Owns the lanes, the ledger and the credits of one pool.

    The module's head says who may call what.
    """

    def __init__(self, settings: PoolSettings, definitions: AnswersWorkers | None = None) -> None:
        """Start the workers.

        `definitions` knows the program's `__main__`; None: it is that of this process.
        """
        self._settings = settings
        self._patience_s: float | None = LATE_S
        """How long nothing may come back, while a worker is idle, before others' waiting chunks are checked."""
        self._pid = os.getpid()
        self._foreign: ClosedError | None = None
        """The error of a forked child, which has inherited the pool but none of its workers."""
        self._io = LaneIO()
        self._loop = Loop(self._io, begin=self._begin, handle=self._handle, broke=self._break)
        self._watchdog = Watchdog(self._loop, self._watched)
        self._calls = Calls()
        self.token = os.urandom(16)
        lane_settings = LaneSettings(
            start_method=settings.start_method,
            pool_size=settings.workers,
            pool_token=self.token,
            arena_bytes=settings.buffer_bytes,
            control_fd=self._calls.control_fd,
            beginning=Beginning(settings.initializer, settings.initargs, settings.finalizer),
            seed=settings.seed,
            threads_per_worker=settings.threads_per_worker,
            env=settings.env or {},
            decimals=decimal_contexts(),
        )
        self._in_flight = InFlight(self._calls)
        self._ledger = self._in_flight.ledger
        self._credits = Credits()
        # A forked worker has only the thread that forks, and what others held locked stays so: the program's threads
        # fork, never the watchdog, which holds nothing that a worker needs.
        forks = settings.start_method == "fork"
        self._supervisor = Supervisor(
            settings,
            lane_settings,
            self._in_flight,
            self._credits,
            self._io,
            may_start=(lambda: not self._watchdog.is_current) if forks else None,
        )
        self._messages = WorkerMessages(definitions)
        self._timers = Timers()
        self._sender = Sender(
            self._in_flight,
            self._credits,
            self._supervisor,
            self._io,
            counts_items=settings.items_per_worker is not None,
            broke=self._break,
            freed=self._wake_all,
        )
        self._receiver = Receiver(
            self._io, self._in_flight, self._credits, self._supervisor, self._messages, self._break
        )
        self._closing = False
        self._broken: OrchestratorError | None = None
        try:
            self._supervisor.fill()
            suspension.follow(self)
            _pools.add(self)
        except BaseException:
            self.terminate()
            raise

    # ---- what stages call -------------------------------------------------------------------------------------

    name: ClassVar[str] = "local"
    capabilities: ClassVar[frozenset[Capability]] = ALL
    limits: ClassVar[Limits] = LOCAL
    encode_function = staticmethod(encoded_function)

    @staticmethod
    @memmap.sends_memmaps_by_name
    def encode(message: Any) -> payload.Encoded:
        """Pickle what a chunk carries."""
        return payload.encode(message, by_value.dumps)

    def open(
        self, events: StageEvents, function: payload.Encoded, timeout_s: float | None = None, *, name: str = ""
    ) -> int:
        """Open a call, and return its number.

        `timeout_s` is what an item of it may take, `name` what messages call it.
        """
        self.refuse_if_interrupted("map, run or iteration")
        with self._loop.changing():
            self.check_usable()
            self._send_rebound()
            number = self._calls.open(events, function, timeout_s, name)
            if self._supervisor.every_s is not None:
                self._watchdog.need()
            return number

    def notice_rebound(self) -> None:
        """Tell the workers what `__main__` has rebound.

        A long call asks for it itself.
        """
        with HeldBack(), self._loop.lock:
            self._send_rebound()

    def room(self, depth: int) -> int:
        """Return how many chunks could be dispatched now, `depth` being how many a lane may hold."""
        with self._loop.lock:
            return self._sender.room(depth)

    def dispatch(self, number: int, batch: list[Sendable], depth: int) -> int:
        """Send the chunks in turn while lanes have credit, and return how many were sent."""
        self.refuse_if_interrupted("what sends items to workers")
        with HeldBack(), self._loop.lock, self._loop.damage:
            self.check_usable()
            self._patience_s = LATE_S
            return self._sender.send(number, batch, depth)

    def put_ahead(self, number: int, batch: list[Sendable], depth: int, *, first: bool = False) -> None:
        """Take encoded chunks of a call.

        They are sent as credits come free, whether its consumer is here or away.
        """
        self.refuse_if_interrupted("what sends items to workers")
        with self._loop.changing():
            self.check_usable()
            self._sender.put_ahead(number, batch, depth, first=first)
            self._sender.send_ahead()
            if self._sender.has_ahead:
                self._watchdog.need()

    def count_ahead(self, number: int) -> int:
        """Count the chunks of a call that were put ahead and have not been sent. Takes no lock."""
        return self._sender.count_ahead(number)

    def drop_ahead(self, number: int) -> int:
        """Drop the chunks of a call that were put ahead and not sent, and return how many there were."""
        with HeldBack(), self._loop.lock:
            return self._sender.drop_ahead(number)

    def worker_ids(self) -> tuple[int, ...]:
        """Return the ids of all workers, in order.

        None of them while one is missing, or the pool is paused.

        Raises:
            OrchestratorError: the pool is broken or closed.
        """
        with self._loop.lock:
            self.check_usable()
            return tuple(sorted(self._supervisor.lanes)) if self.has_workers else ()

    @property
    def has_workers(self) -> bool:
        """Whether there are as many workers as wanted.

        One may be missing for a while where leaving workers take long.
        """
        return len(self._supervisor.lanes) == self._supervisor.size > 0

    def dispatch_to_all(self, number: int, chunks: dict[int, Chunk], encoded: payload.Encoded) -> bool:
        """Send each worker its chunk, whatever it holds.

        Returns False, with nothing sent, if these are not all workers.
        """
        self.refuse_if_interrupted("run_on_all")
        with self._loop.changing():
            self.check_usable()
            if self._supervisor.lanes.keys() != chunks.keys():
                return False
            for worker_id, chunk in chunks.items():
                chunk.in_step = True
                self._sender.send_to(worker_id, number, chunk, encoded)
            return True

    def call_off(self, number: int, item: object) -> None:
        """Take a call's chunk of this one item from its worker, or kill the worker if it runs it."""
        with self._loop.changing():
            if not self._closing:
                self._supervisor.call_off(number, item)

    def consumed(self, number: int, size_bytes: int) -> None:
        """Return bytes that have left for the consumer to the budget.

        The end of a call returns the rest.
        """
        with HeldBack(), self._loop.lock:
            self._in_flight.consumed(number, size_bytes)

    def close_call(self, number: int) -> None:
        """End a call, without waiting for chunks that still run.

        Safe within a garbage collection.
        """
        self._calls.abandon(number)
        self._forget_if_free()

    def end_call(self, number: int, grace_s: float) -> None:
        """End the workers that, after so many seconds, still run chunks of a call that was closed."""
        self._drive(lambda: not self._supervisor.holds(number), grace_s)
        with self._loop.changing():
            if not self._closing:
                self._supervisor.call_off(number)

    def drop_shared(self, token: bytes) -> None:
        """Tell the workers to drop a shared object.

        Safe within a garbage collection.
        """
        self._sender.drop_shared(token)
        self._forget_if_free()

    def _forget_if_free(self) -> None:
        # In the middle of this very thread's own work it waits for the next turn instead.
        if os.getpid() == self._pid and not self._loop.is_interrupted and self._loop.lock.acquire(blocking=False):
            try:
                self._sender.forget()
            finally:
                self._loop.lock.release()

    def drive(self, ready: Callable[[], Any], timeout: float | None = None) -> None:
        """Run the loop, or wait for the thread that does, until `ready()` or for `timeout` seconds.

        Raises:
            ReentrantCallError: a signal handler called it in a thread that it interrupted while that held the lock.
        """
        self._drive(ready, timeout)

    def look(self) -> None:
        """Handle what has arrived, without waiting.

        The caller feeds its own calls next.
        """
        self._drive(_never, 0, looks=True)

    def _drive(self, ready: Callable[[], Any], timeout: float | None, *, looks: bool = False) -> None:
        self.refuse_if_interrupted("what waits for workers")
        try:
            self._loop.drive(lambda: self._may_leave(ready), timeout, looks=looks)
        except BaseException:
            with self._loop.lock:
                self._sender.leave_line()
            raise
        if self._sender.is_waited_for:
            with self._loop.lock:
                self._sender.leave_line()
        self._messages.prints.pass_on()

    def _may_leave(self, ready: Callable[[], Any]) -> bool:
        self._break_if(self._supervisor.start_owed())
        return self._sender.may_continue(ready) or not self._lanes_can_answer()

    def _wake_all(self) -> None:
        """Wake every thread that waits, as there may be room."""
        self._loop.notify()
        if self._loop.is_driven:
            self.wake()

    def poll(self) -> None:
        """Handle what has arrived, without waiting."""
        self.drive(_never, 0)

    def take_over(self) -> None:
        """Let others drive, as a signal handler interrupted this thread's wait."""
        with self._loop.lock:
            self._sender.leave_line()  # it could take no credit, so none is to be kept for it
        self._loop.take_over()

    @property
    def is_interrupted(self) -> bool:
        """Whether this thread holds the lock, which means that a signal handler interrupted its holder."""
        return self._loop.is_interrupted

    def refuse_if_interrupted(self, what: str) -> None:
        """Raise where a call would never end: in a forked child, or for a lock that its own thread holds.

        Raises:
            ReentrantCallError: a signal handler called, and interrupted the pool in this thread.
            ClosedError: the pool belongs to the parent of this process.
        """
        self.refuse_if_foreign()
        if self._loop.is_interrupted:
            raise ReentrantCallError(what)

    def wake(self) -> None:
        """Wake the driver, so that it looks at what has changed."""
        self._loop.wake()

    # ---- the loop ---------------------------------------------------------------------------------------------

    def _begin(self, timeout: float | None) -> float | None:
        """Do what is due before a wait, and return how long that may take.

        Called under the lock.
        """
        if self._sender.may_forget:
            with self._loop.changing():
                self._sender.forget()
        return self._at_most(timeout)

    def _handle(self, occurred: Occurred, *, looks: bool) -> None:
        """Handle what the wait returned.

        Called under the lock.

        Whoever `looks` may have waited longer for a credit than what was put ahead, so it sends none of that.
        """
        self._mind_the_late(quiet=not occurred)
        self._receiver.receive(occurred, drains=not self._loop.is_overtaken)
        if self._sender.has_ahead and not looks and not self._closing:
            self._sender.send_ahead()
        self._break_if(self._supervisor.tick())
        self._timers.run_due()

    def _mind_the_late(self, *, quiet: bool) -> None:
        """Take back what waits behind a long item, if nothing has come back for a while."""
        if not quiet:
            self._patience_s = LATE_S
        elif self._patience_s is not None:
            self._patience_s = self._supervisor.take_back_late(splits=not self._watchdog.is_current)

    def _at_most(self, timeout: float | None) -> float | None:
        """Return how long the wait may take, at most until the next look."""
        patience_s = self._patience_s if self._credits.idle else None
        for look_s in (self._supervisor.tick_s(), self._timers.wait_s, patience_s):
            if look_s is not None:
                timeout = look_s if timeout is None else min(timeout, look_s)
        return timeout if timeout is None else min(timeout, _LONGEST_WAIT_S)

    def _watched(self) -> Watched | None:
        """Return what the watchdog enforces while nobody waits, or None.

        Called under the lock.
        """
        every_s, has_ahead = self._supervisor.every_s, self._sender.has_ahead
        if self._closing or self._broken or not self._calls.are_open or (every_s is None and not has_ahead):
            return None
        return Watched(every_s, has_ahead)

    def _send_rebound(self) -> None:
        """Tell the workers of names of `__main__` that mean something else now (a notebook cell run again)."""
        definitions = self._messages.definitions
        if definitions.noticed():
            for lane in self._supervisor.all:
                rebound = definitions.rebound(lane.names)
                if rebound:
                    lane.put_object(Kind.REBIND, payload.encode(rebound), 0, 0)

    def _break(self, error: OrchestratorError) -> None:
        """Tell every stage that the pool can't continue."""
        if self._broken is None:
            self._broken = error
            self._calls.tell_all(error)

    def _break_if(self, error: OrchestratorError | None) -> None:
        if error is not None:
            self._break(error)

    def become_foreign(self) -> None:
        """Refuse every use in a forked child.

        Locks are new: the thread that holds one does not exist here.
        """
        self._foreign = ClosedError(
            f"this pool belongs to process {self._pid}, from which this process was forked, and works only there; "
            "make a new pool here, or fork before you make the pool"
        )
        self._calls.become_foreign()
        self._loop.renew()

    def refuse_if_foreign(self) -> None:
        """Raise `ClosedError` in a forked child."""
        if self._foreign is not None:
            raise self._foreign.with_traceback(None)

    def check_usable(self) -> None:
        """Raise the error that prevents use of the pool, if there is one."""
        self.refuse_if_foreign()
        if self._broken is not None:
            raise self._broken
        if self._closing:
            raise ClosedError("the pool is closed; make a new one")

    def _lanes_can_answer(self) -> bool:
        """Whether waiting may help: there are workers, or will be in a paused pool."""
        supervisor = self._supervisor
        return bool(supervisor.lanes or supervisor.leaving) or not (supervisor.size or self._closing or self._broken)

    # ---- looking and ending -----------------------------------------------------------------------------------

    @property
    def _lanes(self) -> list[Lane]:
        with self._loop.lock:
            return [lane for _, lane in sorted(self._supervisor.lanes.items())]

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Return the workers that take chunks now, by id."""
        return tuple(worker_info(lane) for lane in self._lanes if lane.state is not LaneState.DEAD)

    def traffic(self) -> dict[int, Traffic]:
        """Return the traffic of each worker, by id."""
        return {lane.worker_id: traffic(lane) for lane in self._lanes}

    @property
    def deaths(self) -> int:
        """Workers that died by themselves."""
        return self._supervisor.deaths

    @property
    def size(self) -> int:
        """How many workers are wanted."""
        return self._supervisor.size

    def resize(self, size: int) -> None:
        """Set the wanted number of workers, and return at once.

        Called from any thread.

        Raises:
            ClosedError: the pool is closed.
        """
        self.check_usable()
        if self.is_interrupted:
            run_in_thread(partial(self._resize, size))
        else:
            self._resize(size)

    def _resize(self, size: int) -> None:
        with self._loop.changing():
            if not self._closing:
                self._break_if(self._supervisor.resize(size))
            self._loop.notify()
        self.wake()

    def status(self, describe: Callable[[Any], str | None] = describe_item) -> PoolStatus:
        """Return the status of the pool, from any thread.

        `describe` gives an item in words.
        """
        with self._loop.lock:
            lanes = sorted(self._supervisor.all, key=lambda lane: lane.worker_id)
            held = [self._ledger.list_of(lane.key) for lane in lanes]
            workers = tuple(map(worker_status, lanes, held, repeat(describe), repeat(self._calls.name)))
            in_flight = len(self._ledger), self._in_flight.bytes
            return PoolStatus(self._supervisor.size, *in_flight, self._supervisor.deaths, workers)

    def worker_pids(self, *, ready: bool = False) -> list[int]:
        """Return the pids of all workers, or of those that have begun.

        Takes no lock.
        """
        return [lane.pid for lane in list(self._supervisor.all) if not ready or lane.state is LaneState.READY]

    def suspended(self, began_ns: int, length_ns: int) -> None:
        """Note that this process and its workers were stopped for a while.

        Takes no lock.
        """
        self._supervisor.suspended(began_ns, length_ns)

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of chunks and results that are on the way, or not yet consumed."""
        return self._in_flight.bytes

    @property
    def buffer_bytes(self) -> int:
        """The byte budget of the pool."""
        return self._settings.buffer_bytes

    @property
    def forwards_output(self) -> bool:
        """Whether somebody shows what user code prints."""
        return self._messages.prints.callback is not None

    @property
    def output_callback(self) -> OutputCallback | None:
        """The callback for what user code prints.

        None: the program's own streams do.
        """
        return self._messages.prints.callback

    def show_output_by(self, callback: OutputCallback | None) -> None:
        """Show what user code prints by a callback, in the thread that drives the loop."""
        self._messages.prints.show_by(callback)

    def say(self, text: str) -> None:
        """Show a line of our own where the workers' prints are."""
        self._messages.prints.say(text)

    @property
    def farewells(self) -> list[Farewell]:
        """The results of the finalizers of the workers that exited gracefully."""
        return self._messages.farewells()

    @property
    def left_workers(self) -> tuple[float, int]:
        """CPU seconds, and the sum of the peaks of resident memory in bytes, of the workers that have left."""
        return self._messages.cpu_seconds, self._messages.peak_rss_bytes

    def start_timer(self, every_s: float, act: Callable[[], None]) -> Timer:
        """Run something periodically, under the lock, in the thread that drives the loop."""
        return self._timers.start(every_s, act)

    def cancel_timer(self, timer: Timer) -> None:
        """Stop doing it."""
        self._timers.cancel(timer)

    @property
    def owner_pid(self) -> int:
        """The process that made the pool."""
        return self._pid

    @property
    def chunks_in_flight(self) -> int:
        """Chunks that lanes hold now."""
        return len(self._ledger)

    def at_work(self) -> list[tuple[Chunk, int, float]]:
        """Return the chunk that each worker is at, the worker, and about how many seconds it has been."""
        with self._loop.lock:
            now_ns = time.monotonic_ns()
            held = ((self._ledger.first_of(lane.key), lane) for lane in self._supervisor.all)
            return [(chunk, lane.worker_id, (now_ns - lane.moved_ns) / 1e9) for chunk, lane in held if chunk]

    @property
    def busy_workers(self) -> int:
        """Workers that hold a chunk, of those that take more. Takes no lock."""
        return sum(self._ledger.held_by(lane.key) > 0 for lane in list(self._supervisor.lanes.values()))

    @property
    def closed(self) -> bool:
        """Whether nothing new is accepted any more."""
        return self._closing

    def stop(self, timeout: float | None = None) -> None:
        """Retire every worker, and kill those that take longer than `timeout`."""
        with self._loop.changing():
            self._closing = True
            listening = self._calls.abandon_all()
            self._sender.forget()
            for events in listening:  # after the forgetting, which throws away what they were still told about
                events.append(Broken(ClosedError("the pool was closed while this was still running")))
            self._supervisor.stop_all()
        try:
            if self._broken is None:
                self.drive(lambda: not self._supervisor.all, timeout)
        finally:
            self.terminate()

    def terminate(self) -> None:
        """Kill every worker now, and free all that the pool holds."""
        if os.getpid() != self._pid:  # a forked child that inherited the pool: it is not its own to end
            return
        if self.is_interrupted:
            self.kill()
            run_in_thread(self.terminate)
            return
        with self._loop.lock:
            self._closing = True
            self._calls.tell_all(ClosedError("the pool was terminated while this was still running"))
            self._supervisor.end_all()
            self._loop.notify()
            self._release()
        self._watchdog.end()
        self._messages.end_lines()

    def kill(self) -> None:
        """Kill every worker, and accept nothing more.

        The rest of `terminate` is still to be done. Takes no lock.
        """
        self._closing = True
        end_with_children([lane.pid for lane in self._supervisor.all])

    def _release(self) -> None:
        suspension.unfollow(self)
        if self._io.closed:
            return
        self._loop.leave_all()
        if self._io.closed:
            return
        self._io.close()
        self._calls.close()


def _never() -> bool:
    return False


_pools: weakref.WeakSet[Coordinator] = weakref.WeakSet()


def _forget_parents_pools() -> None:
    for coordinator in _pools:
        coordinator.become_foreign()


os.register_at_fork(after_in_child=_forget_parents_pools)
