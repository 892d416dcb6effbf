"""The engine: what runs encoded chunks, as stages, futures, supersteps and graphs know it.

The local coordinator is one (`orchestrator.local`). Every dispatched chunk brings exactly one of `Finished`, `Refused`,
`Lost` into the `events` of its call, or `Returned`, unless the call closes or `Broken` comes. An engine only appends to
`events`; user code never runs under its lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.events import StageEvents
from workers.transport import payload

Sendable = tuple[Chunk, payload.Encoded]
"""A chunk, encoded and not yet sent."""


class Engine(Protocol):
    """Runs chunks. Where nothing else is said, a method is called in the thread of whoever consumes the results."""

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of chunks and results that are on the way, or not yet consumed."""

    @property
    def buffer_bytes(self) -> int:
        """The most bytes that may be in flight."""

    @property
    def size(self) -> int:
        """How many workers are wanted; 0: the engine pauses."""

    @property
    def has_workers(self) -> bool:
        """Whether any worker takes chunks now."""

    @property
    def chunks_in_flight(self) -> int:
        """Chunks that workers hold now, of all calls."""

    @property
    def forwards_output(self) -> bool:
        """Whether somebody shows what user code prints."""

    @property
    def closed(self) -> bool:
        """Whether nothing new is accepted any more."""

    def open(
        self, events: StageEvents, function: payload.Encoded, timeout_s: float | None = None, *, name: str = ""
    ) -> int:
        """Begin a call; return its number. `timeout_s` is per item, `name` what people call the function."""

    def call_off(self, number: int, item: object) -> None:
        """Take a call's chunk of this one item from its worker, or end the worker if it runs it."""

    def close_call(self, number: int) -> None:
        """End a call; chunks of it that still run are not waited for. Safe within a garbage collection."""

    def room(self, depth: int) -> int:
        """Return how many chunks could be dispatched now, `depth` being how many a worker may hold."""

    def dispatch(self, number: int, batch: list[Sendable], depth: int) -> int:
        """Send the chunks in turn while workers have credit; return how many were sent."""

    def put_ahead(self, number: int, batch: list[Sendable], depth: int, *, first: bool = False) -> None:
        """Take chunks that are sent as soon as there is room, the consumer being here or away.

        They come behind those that wait for it already, or `first`, before them.
        """

    def count_ahead(self, number: int) -> int:
        """Count the chunks of a call that were put ahead and are not sent yet."""

    def drop_ahead(self, number: int) -> int:
        """Forget the chunks of a call that were put ahead and are not sent yet; return how many."""

    def consumed(self, number: int, size_bytes: int) -> None:
        """Give back budget: these bytes of a call have left for the consumer. The end of a call gives back the rest."""

    def drive(self, ready: Callable[[], Any], timeout: float | None = None) -> None:
        """Run the loop, or wait for the thread that does, until `ready()` or for `timeout` seconds."""

    def look(self) -> None:
        """Take in what has come, without a wait; the caller feeds its own calls next."""

    def wake(self) -> None:
        """End the wait of whoever drives; from any thread."""

    def worker_ids(self) -> tuple[int, ...]:
        """Return the ids of the workers that take chunks, in order."""

    def dispatch_to_all(self, number: int, chunks: dict[int, Chunk], encoded: payload.Encoded) -> bool:
        """Send each worker its chunk; return False, nothing sent, if these are not all workers."""

    def notice_rebound(self) -> None:
        """Have the workers forget what `__main__` has defined anew."""

    def check_usable(self) -> None:
        """Raise what stands in the way of using the engine."""
