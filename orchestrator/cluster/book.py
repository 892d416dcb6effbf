"""The calls of an engine that are open, and their chunks on the way: which were sent, and which wait for room.

Owner of the state: the engine, under its lock, but for what takes none. Nothing here asks the carrier.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from orchestrator.cluster.node.messages import Call, Outcome
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.engine import Encoded, Sendable
from orchestrator.engine.protocol.events import Split, StageEvents
from orchestrator.engine.protocol.main_definitions import offered
from workers.pickling import bindings
from workers.pickling.main_module import Definition, Wanted

_MOST_ROUNDS = 8
"""How often a chunk is sent again with more definitions of `__main__`."""


class CarriedCall:
    """A call that is open, as the carrier takes it along."""

    __slots__ = ("call", "carried", "carried_version", "events", "unconsumed")

    def __init__(self, call: Call, events: StageEvents) -> None:
        self.call = call
        self.carried: Any = None
        """What the carrier has made of the call, in this version."""
        self.carried_version = -1
        self.events = events
        self.unconsumed = 0
        """Bytes of chunks that came back and of their results, until `consumed`."""

    def add(self, definitions: Iterable[Definition]) -> None:
        """Have more definitions of `__main__` go with the call from now on."""
        known = {each.token for each in self.call.definitions}
        new = [each for each in definitions if each.token not in known]
        if new:
            call = self.call
            self.call = replace(call, definitions=(*call.definitions, *new), version=call.version + 1)


class SentChunk:
    """A chunk that the carrier has."""

    __slots__ = ("chunk", "encoded", "opened", "rounds", "since_s")

    def __init__(self, opened: CarriedCall, chunk: Chunk, encoded: Encoded) -> None:
        self.opened = opened
        self.chunk = chunk
        self.encoded = encoded
        self.rounds = 0
        """How often it was sent again with more definitions of `__main__`."""
        self.since_s = time.monotonic()

    def needs_more(self, outcome: Outcome) -> bool:
        """Whether a chunk failed for want of names of `__main__` that are here.

        They go with its call from now on.
        """
        names = _names_here(outcome.missing)
        if not names or self.rounds == _MOST_ROUNDS or outcome.kept is not None:
            return False
        self.rounds += 1
        self.opened.add(offered(names))
        return True


class Book:
    """All of them, and the bytes that they take."""

    def __init__(self) -> None:
        self.calls: dict[int, CarriedCall] = {}
        self.sent: dict[int, SentChunk] = {}
        self.in_flight_bytes = 0
        """Of chunks that were sent or put ahead, and of their results until these are consumed."""
        self._ahead: deque[tuple[int, Chunk, Encoded]] = deque()
        self._next_number, self._idents = 1, itertools.count()

    # ---- calls ------------------------------------------------------------------------------------------------

    def open(self, call: Call, events: StageEvents) -> CarriedCall:
        """Enter a call under the next number."""
        number = self._next_number
        self._next_number += 1
        opened = self.calls[number] = CarriedCall(replace(call, number=number), events)
        return opened

    @property
    def oldest(self) -> int:
        """The number of the oldest call that is open, or of the next one."""
        return next(iter(self.calls), self._next_number)  # they were entered in the order of their numbers

    def close(self, number: int) -> tuple[CarriedCall, list[int]] | None:
        """Forget a call, and return it with the idents of its chunks that the carrier has."""
        opened = self.calls.pop(number, None)
        if opened is None:
            return None
        self.in_flight_bytes -= opened.unconsumed
        self.drop_ahead(number)
        idents = [ident for ident, each in self.sent.items() if each.opened is opened]
        for ident in idents:
            self.in_flight_bytes -= self.sent.pop(ident).chunk.size_bytes
        return opened, idents

    def end(self) -> tuple[list[CarriedCall], list[int]]:
        """Forget everything, and return the calls, and the idents of the chunks that the carrier has."""
        calls, idents = list(self.calls.values()), list(self.sent)
        self.calls, self.sent, self._ahead, self.in_flight_bytes = {}, {}, deque(), 0
        return calls, idents

    # ---- chunks -----------------------------------------------------------------------------------------------

    def send(self, number: int, chunk: Chunk, encoded: Encoded) -> int:
        """Enter a chunk as sent, and return its ident."""
        self.in_flight_bytes += encoded.size
        return self._enter(number, chunk, encoded.kept() if encoded.buffers else encoded)

    def _enter(self, number: int, chunk: Chunk, encoded: Encoded) -> int:
        chunk.ident = ident = next(self._idents)
        chunk.size_bytes = encoded.size
        chunk.encoded = None if encoded.buffers else encoded
        self.sent[ident] = SentChunk(self.calls[number], chunk, encoded)
        return ident

    def of_item(self, number: int, item: object) -> list[int]:
        """Return the ident of the sent chunk of a call that begins with this very item, if there is one."""
        opened = self.calls.get(number)
        found = self.sent.items()
        return [ident for ident, each in found if each.opened is opened and each.chunk.items[0] is item]

    def put_ahead(self, number: int, batch: list[Sendable], *, first: bool) -> None:
        """Enter chunks that wait for room, before or behind all others that do."""
        new = [(number, chunk, encoded) for chunk, encoded in batch]
        self.in_flight_bytes += sum(encoded.size for _, _, encoded in new)
        if first:
            self._ahead.extendleft(reversed(new))
        else:
            self._ahead.extend(new)

    @property
    def has_ahead(self) -> bool:
        """Whether a chunk waits for room. Takes no lock."""
        return bool(self._ahead)

    def send_ahead(self) -> int:
        """Enter the first chunk that waits for room as sent, and return its ident."""
        return self._enter(*self._ahead.popleft())

    def count_ahead(self, number: int) -> int:
        """Count the chunks of a call that wait for room. Takes no lock."""
        return sum(each[0] == number for each in tuple(self._ahead)) if self._ahead else 0

    def drop_ahead(self, number: int) -> int:
        """Forget the chunks of a call that wait for room, and return how many."""
        dropped = [each for each in self._ahead if each[0] == number]
        self._ahead = deque(each for each in self._ahead if each[0] != number)
        self.in_flight_bytes -= sum(encoded.size for _, _, encoded in dropped)
        return len(dropped)

    def at_work(self, slots: int) -> list[tuple[Chunk, int, float]]:
        """Return the chunks that were sent first, each with its slot, and the seconds since."""
        now_s = time.monotonic()
        first = itertools.islice(self.sent.values(), slots)
        return [(each.chunk, slot, now_s - each.since_s) for slot, each in enumerate(first)]

    def name_of(self, chunk: Chunk) -> str:
        """Return the name of the function that a chunk is for."""
        opened = self.calls.get(chunk.call)
        return "" if opened is None else opened.call.name

    # ---- what came back ---------------------------------------------------------------------------------------

    def shorten(self, chunk: Chunk, kept: int) -> Split:
        """Take in that a node has begun only so many items of a chunk, and return what tells the call."""
        rest, freed = chunk.items[kept:], chunk.size_bytes * (len(chunk.items) - kept) // len(chunk.items)
        chunk.items, chunk.encoded = chunk.items[:kept], None
        chunk.size_bytes -= freed
        self.in_flight_bytes -= freed
        return Split(chunk, rest, freed)

    def brought(self, sent: SentChunk, size_bytes: int) -> None:
        """Take in that a chunk brought so many bytes of results, to be consumed with it."""
        chunk, opened = sent.chunk, sent.opened
        chunk.encoded = None
        chunk.size_bytes += size_bytes
        opened.unconsumed += chunk.size_bytes
        self.in_flight_bytes += size_bytes

    def brought_nothing(self, sent: SentChunk) -> None:
        """Take in that a chunk has no results."""
        self.in_flight_bytes -= sent.chunk.size_bytes

    def consumed(self, number: int, size_bytes: int) -> None:
        """Take in that bytes of a call have left for the consumer."""
        opened = self.calls.get(number)
        if opened is not None:
            opened.unconsumed -= size_bytes
            self.in_flight_bytes -= size_bytes


def _names_here(missing: Wanted) -> list[str]:
    """Return the names, of those that a node has missed, that `__main__` has here."""
    found = []
    for name, token in missing:
        bound = bindings.current(name) if token is None else bindings.of_token(name, token)
        if bound.value is not bindings.MISSING:
            found.append(name)
    return found
