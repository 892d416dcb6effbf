"""The engine protocol: what runs chunks, as stages, futures, graphs and the pool know it.

The coordinator (`orchestrator.local`) runs them in worker processes of this machine, `orchestrator.serial` in this
process. Every dispatched chunk brings exactly one of `Finished`, `Refused`, `Lost` or `Returned` into the
`events` of its call, unless the call closes or `Broken` comes. An engine only appends to `events`; user code never runs
under its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, get_args

from orchestrator.engine.core.chunking import Limits
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.events import StageEvents
from orchestrator.engine.protocol.status import Farewell, PoolStatus, Traffic, WorkerInfo
from orchestrator.errors import ConfigError
from workers.functions.runner import CallSpec

Capability = Literal[
    "processes",  # functions run in other processes: items are pickled
    "background",  # functions run while their consumer is away: `submit` does not wait for its call
    "batches",  # several items a chunk are quicker than one
    "deadlines",  # an item that takes too long is ended: `timeout`
    "deaths",  # an item may take its worker down: `max_deaths`
    "memory limits",  # `memory_limit`
    "machine watch",  # `memfree`, `workers="auto"`, the number of workers in a file: all workers are on this machine
    "supersteps",  # `run_on_all`, barriers with `each_worker`: all workers meet
    "shared memory",  # `share`
    "seeds",  # `seed`: an item's random numbers are its own
    "initializers",  # `initializer`, `finalizer`: code runs once in each worker
    "single runs",  # `at_most_once`, `max_deaths=1`: what has begun is never begun again
    "recycling",  # a worker may be replaced: `items_per_worker`
    "resizing",  # `resize`
    "start methods",
    "thread limits",  # of BLAS and the like
]
"""What an engine may be able to do. What it can't is refused where it is asked for."""
ALL: frozenset[Capability] = frozenset(get_args(Capability))

OutputCallback = Callable[[int, str, str], None]
"""Takes (worker id, "stdout" or "stderr", text)."""


def unable(engine: str, what: str, need: Capability) -> ConfigError:
    """Return the error of an option, called as its user calls it, that an engine can't keep to."""
    return ConfigError(
        f"the {engine} engine has no {need}, so it can't do what {what} asks for; leave it out, or use the local engine"
    )


class Encoded(Protocol):
    """The content of a chunk or call, encoded for a worker."""

    @property
    def size(self) -> int:
        """The bytes in all, or 0 where nothing is copied."""

    @property
    def buffers(self) -> Sequence[Any]:
        """Large buffers that still belong to the source.

        They are sent before the source, which may reuse them, continues.
        """

    def kept(self) -> Encoded:
        """Return the same with large buffers of its own."""


Sendable = tuple[Chunk, Any]
"""A chunk, and its engine's own `Encoded` of it; not yet sent."""


class Engine(Protocol):
    """Runs chunks.

    Where nothing else is said, a method is called in the thread of whoever consumes the results.
    """

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it is able to do."""

    @property
    def limits(self) -> Limits:
        """What chunks it is good at."""

    # ---- calls and their chunks -------------------------------------------------------------------------------

    def encode_function(self, spec: CallSpec) -> Any:
        """Return what a call runs as `open` takes it.

        Raises:
            ItemError: it can't be sent.
        """

    def encode(self, message: Any) -> Encoded:
        """Return an `Encoded` of a chunk's message: (attempt, items), or (attempt, items, index of the first).

        Raises:
            Exception: an item can't be sent.
        """

    def open(self, events: StageEvents, function: Any, timeout_s: float | None = None, *, name: str = "") -> int:
        """Open a call, and return its number.

        `timeout_s` is per item, `name` is the function's name in messages.

        Raises:
            OrchestratorError: the engine is broken or closed.
        """

    def call_off(self, number: int, item: object) -> None:
        """Take a call's chunk of this one item from its worker, or end the worker if it runs it."""

    def close_call(self, number: int) -> None:
        """End a call.

        Chunks of it that still run are not waited for. Safe within a garbage collection.
        """

    def end_call(self, number: int, grace_s: float) -> None:
        """End the workers that, after so many seconds, still run chunks of a call that was closed.

        From any thread that may wait.
        """

    def room(self, depth: int) -> int:
        """Return how many chunks could be dispatched now, `depth` being how many a worker may hold."""

    def dispatch(self, number: int, batch: list[Sendable], depth: int) -> int:
        """Send the chunks in turn while workers have credit.

        Return how many were sent.
        """

    def put_ahead(self, number: int, batch: list[Sendable], depth: int, *, first: bool = False) -> None:
        """Take chunks that are sent as soon as there is room, the consumer being here or away.

        They come behind those that wait for it already, or `first`, before them.
        """

    def count_ahead(self, number: int) -> int:
        """Count the chunks of a call that were put ahead and are not sent yet."""

    def drop_ahead(self, number: int) -> int:
        """Drop the chunks of a call that were put ahead and are not sent yet, and return how many."""

    def consumed(self, number: int, size_bytes: int) -> None:
        """Return bytes of a call that have left for the consumer to the budget.

        The end of a call returns the rest.
        """

    def worker_ids(self) -> tuple[int, ...]:
        """Return the ids of all workers, in order, or none while one is missing."""

    def dispatch_to_all(self, number: int, chunks: dict[int, Chunk], encoded: Any) -> bool:
        """Send each worker its chunk.

        Returns False, with nothing sent, if these are not all workers.
        """

    def notice_rebound(self) -> None:
        """Tell the workers to forget what `__main__` has rebound."""

    # ---- the loop ---------------------------------------------------------------------------------------------

    def drive(self, ready: Callable[[], Any], timeout: float | None = None) -> None:
        """Run the loop, or wait for the thread that does, until `ready()` or for `timeout` seconds."""

    def poll(self) -> None:
        """Handle what has arrived, without waiting."""

    def look(self) -> None:
        """Do as `poll`, for a caller that feeds its own calls next."""

    def wake(self) -> None:
        """Wake whoever drives the loop.

        Called from any thread, and from a signal handler.
        """

    def take_over(self) -> None:
        """Let others drive, as a signal handler interrupted this thread's frame that drives."""

    @property
    def is_interrupted(self) -> bool:
        """Whether this thread is in the middle of a change, which a signal handler interrupted."""

    def refuse_if_interrupted(self, what: str) -> None:
        """Raise `ReentrantCallError` where a signal handler would wait for what it has interrupted."""

    def refuse_if_foreign(self) -> None:
        """Raise `ClosedError` in a forked child, whose engine is its parent's."""

    def check_usable(self) -> None:
        """Raise the error that prevents use of the engine, if there is one."""

    # ---- workers ----------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """The wanted number of workers.

        0: the engine pauses.
        """

    def resize(self, size: int) -> None:
        """Set the wanted number of workers, and return at once.

        Called from any thread, where resizing is supported.
        """

    def start_timer(self, every_s: float, act: Callable[[], None]) -> Any:
        """Run something periodically in the loop, under the lock, where there is resizing."""

    def cancel_timer(self, timer: Any) -> None:
        """Stop doing it."""

    @property
    def has_workers(self) -> bool:
        """Whether there are as many workers as are wanted, and any at all."""

    @property
    def busy_workers(self) -> int:
        """Workers that hold a chunk. Takes no lock."""

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Return the workers that take chunks now, by id."""

    def worker_pids(self, *, ready: bool = False) -> list[int]:
        """Return the pids of all worker processes, or of those that have begun. Takes no lock."""

    # ---- looking ----------------------------------------------------------------------------------------------

    @property
    def buffer_bytes(self) -> int:
        """The most bytes that may be in flight."""

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of chunks and results that are on the way, or not yet consumed."""

    @property
    def chunks_in_flight(self) -> int:
        """Chunks that workers hold now, of all calls."""

    def at_work(self) -> list[tuple[Chunk, int, float]]:
        """Return the chunk that each worker is at, the worker, and about how many seconds it has been."""

    def status(self, describe: Callable[[Any], str | None]) -> PoolStatus:
        """Return what each worker runs, from any thread.

        `describe` gives an item in words.
        """

    def traffic(self) -> dict[int, Traffic]:
        """Return the bytes sent to and from each worker, by id.

        Empty where there are no processes.
        """

    @property
    def deaths(self) -> int:
        """Workers that died by themselves."""

    @property
    def left_workers(self) -> tuple[float, int]:
        """CPU seconds, and the sum of the peaks of resident memory in bytes, of the workers that have left."""

    @property
    def forwards_output(self) -> bool:
        """Whether a callback shows what user code prints."""

    @property
    def output_callback(self) -> OutputCallback | None:
        """The callback for what user code prints.

        None: the program's own streams show it.
        """

    def show_output_by(self, callback: OutputCallback | None) -> None:
        """Pass what user code prints to a callback, in the thread that drives the loop."""

    def say(self, text: str) -> None:
        """Show a line of our own where the workers' prints are shown."""

    # ---- what is shared, and the end --------------------------------------------------------------------------

    token: bytes
    """Names the pool among all there are: its workers keep what it shares from call to call."""

    def drop_shared(self, token: bytes) -> None:
        """Tell the workers to drop a shared object.

        Safe within a garbage collection.
        """

    @property
    def owner_pid(self) -> int:
        """The process that made the engine."""

    @property
    def closed(self) -> bool:
        """Whether nothing new is accepted any more."""

    @property
    def farewells(self) -> list[Farewell]:
        """The results of the finalizers of the workers that exited gracefully."""

    def stop(self, timeout: float | None = None) -> None:
        """Retire every worker, and kill those that take longer than `timeout` seconds."""

    def terminate(self) -> None:
        """End every worker now, and free all that the engine holds."""

    def kill(self) -> None:
        """Kill every worker, and accept nothing more.

        Takes no lock, so signal handlers may call it.
        """
