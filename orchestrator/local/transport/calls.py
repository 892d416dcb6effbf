"""The calls that are open on a pool: the function of each, and where its events go.

A call that ends is abandoned first, from anywhere (a garbage collection too), and forgotten in the coordinator's next
turn. Its number is written into a page that the workers can read, so that one in the middle of a chunk stops there.

Owner: the coordinator, under its lock; only `abandon` may be called without it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections import deque
from collections.abc import Iterator

from orchestrator.engine.protocol.events import Broken, StageEvents
from orchestrator.errors import OrchestratorError
from workers.entry import CONTROL_BYTES, MARKS_BYTES
from workers.transport import arena, payload, watch


class Calls:
    """Numbers calls from 1, as 0 stands in an untouched page."""

    def __init__(self) -> None:
        self.control_fd = arena.create_fd("orchestrator-control")
        os.ftruncate(self.control_fd, CONTROL_BYTES)
        self._page = mmap.mmap(self.control_fd, CONTROL_BYTES)
        self._marks = memoryview(self._page)[:MARKS_BYTES].cast("Q")  # slot number % slots holds an abandoned number
        self._watched: dict[int, float] = {}  # timeout in seconds, by number
        self._next = 1
        self._functions: dict[int, payload.Encoded] = {}
        self._events: dict[int, StageEvents] = {}
        self._names: dict[int, str] = {}
        self.unconsumed: dict[int, int] = {}
        """Bytes of chunks that came back to an open call and of their results, until `consumed`; by number."""
        self._abandoned: deque[int] = deque()

    def open(
        self, events: StageEvents, function: payload.Encoded, timeout_s: float | None = None, name: str = ""
    ) -> int:
        """Enter a call, and return its number.

        `timeout_s` is what an item may take, `name` what messages call it.
        """
        number = self._next
        if timeout_s is not None:
            self._watched[number] = timeout_s
        self._next += 1
        self._functions[number] = function
        self._events[number] = events
        self._names[number] = name
        self.unconsumed[number] = 0
        return number

    def name(self, number: int) -> str:
        """Return the name of an open call for messages, or ""."""
        return self._names.get(number, "")

    def function(self, number: int) -> payload.Encoded:
        """Return the pickled function of an open call."""
        return self._functions[number]

    def events(self, number: int) -> StageEvents | None:
        """Return the receiver of a call's events, or None if nobody waits for them."""
        return self._events.get(number)

    def timeout_s(self, number: int) -> float | None:
        """Return how long an item of a call may take, or None."""
        return self._watched.get(number)

    @property
    def shortest_timeout_s(self) -> float | None:
        """The shortest time that an item of any open call may take, or None."""
        return min(self._watched.values()) if self._watched else None

    @property
    def are_open(self) -> bool:
        """Whether there are any."""
        return bool(self._events)

    def slot(self, number: int) -> memoryview:
        """Return the words in which a worker says what it runs."""
        start = MARKS_BYTES + number * watch.SLOT_BYTES
        return memoryview(self._page)[start : start + watch.SLOT_BYTES].cast("Q")

    def abandon(self, number: int) -> None:
        """Note that nobody waits for a call.

        Takes no lock, so it may run within a garbage collection.
        """
        self._abandoned.append(number)
        self._mark(number)

    def _mark(self, number: int) -> None:
        """Tell the workers that nobody waits for a call, at once: the lock may be taken."""
        with contextlib.suppress(ValueError):  # `close` has released the page at this very moment
            self._marks[number % len(self._marks)] = number

    def become_foreign(self) -> None:
        """Tell the workers nothing any more, in a forked child: they are the parent's, and so are the calls."""
        self._marks = memoryview(bytearray(MARKS_BYTES)).cast("Q")

    @property
    def any_abandoned(self) -> bool:
        """Whether `forget` has something to do."""
        return bool(self._abandoned)

    def abandon_all(self) -> list[StageEvents]:
        """Abandon every call, and return their receivers of events."""
        for number in self._events:
            self.abandon(number)
        return list(self._events.values())

    def forget(self) -> Iterator[tuple[int, StageEvents | None, payload.Encoded]]:
        """Forget the abandoned calls, and yield each with the events that nobody will take, and its function."""
        while self._abandoned:
            number = self._abandoned.popleft()
            function = self._functions.pop(number, None)
            if function is None:
                continue
            self._watched.pop(number, None)
            self._names.pop(number, None)
            yield number, self._events.pop(number, None), function

    def tell_all(self, error: OrchestratorError) -> None:
        """Tell every call that the pool can't continue."""
        for events in self._events.values():
            events.append(Broken(error))

    def close(self) -> None:
        """Free the page.

        Abandoning is still allowed, and does nothing.
        """
        self._events.clear()
        marks, self._marks = self._marks, memoryview(bytearray(MARKS_BYTES)).cast("Q")
        marks.release()
        with contextlib.suppress(BufferError):  # a lane that a signal kept from being known still has its slot
            self._page.close()
        os.close(self.control_fd)
