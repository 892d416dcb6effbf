"""The sending half of a stage: sizes, encodes and sends chunks, and encodes ahead.

    room -> items cut by the node -> submit (encode) -> backlog -> send ~~~> (engine)
                                                           ^
    what runs again (recovery) ----------------------------+

Owner: the thread of whoever consumes the results. User code (the pickling of items) runs here, in that thread.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from orchestrator.engine.core.chunking import ChunkSizer
from orchestrator.engine.core.credits import depth_for
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.core.window import SMALL_CHUNK_BYTES, Window
from orchestrator.engine.protocol.engine import Encoded, Engine, Sendable
from orchestrator.engine.recovery.item_errors import unsendable_error
from orchestrator.engine.recovery.recovery import Recovery
from orchestrator.settings import MapOptions, PoolSettings
from workers.errors.signal_handlers import is_of_a_handler

_AHEAD_CHUNK_S = 0.0001
"""Chunks that take longer may be encoded ahead of a lane's credit."""
_COPIED_AHEAD_BYTES_PER_S = 100_000_000
"""A large chunk is copied to wait if it has at most this, in and out, for each second that it runs: 5 % at 2 GB/s."""
_AHEAD_S = 10.0
_MOST_AHEAD = 1024
_ENCODING_S = 0.0005
"""How long chunks are encoded ahead before results are handled again."""
_WEIGHT = 0.3


class Dispatcher:
    """Sends the chunks of one call, and tracks those in flight."""

    def __init__(
        self,
        engine: Engine,
        settings: PoolSettings,
        options: MapOptions,
        recovery: Recovery,
        *,
        total: int | None,
        singly: bool,
    ) -> None:
        """Start with nothing in flight.

        Args:
            engine: runs the chunks.
            settings: of the pool.
            options: of the call.
            recovery: knows what runs again, which goes before what is new.
            total: how many items will come, if that is known.
            singly: send each item by itself, whatever size was asked for.
        """
        self._engine = engine
        self._options = options
        self._recovery = recovery
        self._again = recovery.again
        self._seeded = settings.seed is not None
        self._workers = engine.size or 1
        self._sizer = ChunkSizer("auto" if singly else options.chunk, self._workers, total, engine.limits)
        if singly or "batches" not in engine.capabilities:
            self._sizer.pin()
        if options.at_most_once or settings.max_deaths == 1:
            self._sizer.keep_apart()
        self._window = Window(self._workers, settings.buffer_bytes)
        self._most_items = settings.items_per_worker or sys.maxsize
        self._total = total
        self._ahead = options.look_ahead and options.ahead and "background" in engine.capabilities
        self._number = 0
        self._backlog: deque[Sendable] = deque()  # encoded, no lane had credit for them
        self._is_sending = self._goes_ahead = False
        self._left = self._depth = 0  # how many chunks lanes take in this round, and how many each may hold
        self._chunk_s: float | None = None
        self._ahead_room, self._ahead_ends = 0, 0.0  # how many chunks may go ahead in this round, and until when
        self._freed_bytes = 0
        self._uncounted_bytes = 0
        """Of chunks that are being put ahead: the engine doesn't know of them yet."""
        self._next_seq = 0
        self.cut_items = 0
        """Index behind the last item that was submitted."""
        self.in_lanes = 0
        """Chunks that a lane holds: each will bring an event."""

    def begin(self, number: int, expected_s: float | None) -> None:
        """Take the number that the engine has given the call, and what an item took in an earlier one."""
        self._number = number
        if expected_s is not None:
            self._sizer.expect(expected_s)

    # ---- out ------------------------------------------------------------------------------------------------------

    def room(self) -> int:
        """Return how many items the next chunk may have, or 0 if none may be submitted now.

        What runs again is sent first. The round that this begins ends with `send`.
        """
        if not self._is_sending:
            self._begin_round()
        if self._has_credit():
            return self._size if self._may_cut else 0
        if not self._ahead:
            return 0
        if not self._goes_ahead:
            self._send_backlog()
            self._begin_ahead()
        if len(self._backlog) >= self._ahead_room or perf_counter() > self._ahead_ends:
            return 0
        while (again := self._again.next()) is not None:
            self._put(again, again=True)
        return self._size if self._may_cut else 0

    @property
    def _size(self) -> int:
        return min(self._sizer.next_size(self.cut_items), self._most_items)

    def submit(self, items: Sequence[Any], first_index: int) -> None:
        """Encode items as one chunk, of which the first has this index.

        It is sent in this round if lanes take it.
        """
        chunk = Chunk(self._number, self._next_seq, items, first_index)
        self._next_seq += 1
        self.cut_items = first_index + len(items)
        self._put(chunk, again=False)

    def send(self) -> None:
        """Send submitted and retried chunks as far as lanes have room.

        The rest waits for the next round.
        """
        if not self._is_sending:
            self._begin_round()
            self._has_credit()
        if not self._goes_ahead:
            self._send_backlog()
            if self._ahead:
                self._begin_ahead()
        if self._ahead and self._backlog:
            self._put_ahead(first=False)
        self._is_sending = False

    def _begin_round(self) -> None:
        self.give_back()
        if self._workers != self._engine.size:
            self._workers = self._sizer.workers = self._window.workers = self._engine.size or 1
        self._is_sending, self._goes_ahead = True, False
        self._depth = self.depth()
        if self._count_ahead:  # these are next
            self._left = 0
            return
        self._left = self._engine.room(self._depth)
        if self._backlog and not (self._left and self._dispatch()):
            self._left = 0

    @property
    def _count_ahead(self) -> int:
        """How many chunks are encoded and wait for a credit, wherever this consumer is."""
        return self._engine.count_ahead(self._number) if self._ahead else 0

    def _begin_ahead(self) -> None:
        """Encode chunks ahead for a moment, to be sent as credits come free.

        What runs again is put first.
        """
        self._goes_ahead = True
        ahead = self._count_ahead
        if ahead:
            while self._again.head is not None and (again := self._again.next()) is not None:
                self._put(again, again=True)
        if self._backlog or ahead:
            self._put_ahead(first=True)  # also to have those sent that there are
        self._ahead_room = self._most_ahead - self._count_ahead if self._may_go_ahead else 0
        self._ahead_ends = perf_counter() + _ENCODING_S

    def _put_ahead(self, *, first: bool) -> None:
        batch = list(self._backlog)
        self._engine.put_ahead(self._number, batch, self._depth, first=first)
        self._backlog.clear()
        self.in_lanes += len(batch)
        self._uncounted_bytes = 0

    def drop_ahead(self) -> None:
        """Drop the chunks that were not sent yet, as the run is to end."""
        if self._ahead:
            self._ahead = False
            self.in_lanes -= self._engine.drop_ahead(self._number)

    def _has_credit(self) -> bool:
        """Encode retries as far as lanes have credit, and return whether they have credit left."""
        while len(self._backlog) < self._left:
            again = self._again.next()
            if again is None:
                return True
            self._put(again, again=True)
        return False

    def _put(self, chunk: Chunk, *, again: bool) -> None:
        encoded = self._encoded(chunk, again=again)
        if encoded is None:
            return
        backlog = self._backlog
        if self._goes_ahead:
            backlog.append((chunk, encoded.kept()))
            self._uncounted_bytes += encoded.size
            return
        backlog.append((chunk, encoded))
        if encoded.buffers:
            # These are still the source's own arrays: placed before the source, which may use them again, continues.
            self._left -= len(backlog)
            if not self._dispatch():
                backlog[0] = (backlog[0][0], backlog[0][1].kept())
                self._left = 0

    def _send_backlog(self) -> None:
        if self._backlog and self._left > 0:
            self._dispatch()
        self._left = 0

    def _dispatch(self) -> bool:
        """Send what is encoded, and return whether nothing is left over."""
        backlog = self._backlog
        sent = self._engine.dispatch(self._number, list(backlog), self._depth)
        self.in_lanes += sent
        for _ in range(sent):
            backlog.popleft()
        return not backlog

    def _encoded(self, chunk: Chunk, *, again: bool) -> Encoded | None:
        """Return a chunk encoded, and count it.

        None: it can't be encoded, which was reported for its items.
        """
        encoded: Encoded | None = chunk.encoded  # sent, and taken back: as it was
        if encoded is None:
            encoded = self._encode(chunk, again=again)
        if encoded is not None and chunk.parent is None:
            self._window.sent(encoded.size, again=again)
        return encoded

    def _encode(self, chunk: Chunk, *, again: bool) -> Encoded | None:
        try:
            if self._seeded:
                return self._engine.encode((chunk.attempt, chunk.items, chunk.first_index))
            return self._engine.encode((chunk.attempt, chunk.items))
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

    # ---- how much -------------------------------------------------------------------------------------------------

    @property
    def chunk_items(self) -> int:
        """How many items the next chunk should have."""
        return self._sizer.next_size(self.cut_items)

    @property
    def wanted_items(self) -> int:
        """The size of the next chunk, and of what may be fetched for it and those behind it."""
        return max(self.chunk_items, self._sizer.ahead())

    @property
    def seconds_per_item(self) -> float | None:
        """What an item takes, as far as that is known."""
        return self._sizer.seconds_per_item

    @property
    def outstanding(self) -> int:
        """The number of chunks sent or to be sent again, and not yet taken."""
        return self._window.chunks

    @property
    def _may_cut(self) -> bool:
        """Whether the window and the pool's byte budget allow one more chunk."""
        return self._window.allows(self._engine.in_flight_bytes + self._uncounted_bytes, self._chunk_s)

    @property
    def _may_go_ahead(self) -> bool:
        """Whether chunks may be encoded before a lane has credit for them, so that no pause starves the workers.

        The shortest are not worth it; large payloads only if the copy costs little against the work on them.
        """
        return (
            self._ahead
            and self._chunk_s is not None
            and self._chunk_s >= _AHEAD_CHUNK_S
            and self._window.expected_bytes <= max(SMALL_CHUNK_BYTES, _COPIED_AHEAD_BYTES_PER_S * self._chunk_s)
            and self._again.head is None
        )

    @property
    def _most_ahead(self) -> int:
        """How many chunks to encode ahead: enough for a long pause of the consumer, within window and budget."""
        return max(self._workers, min(_MOST_AHEAD, self._workers * int(_AHEAD_S / (self._chunk_s or _AHEAD_S) + 1)))

    def wants_room(self, *, source_ended: bool) -> bool:
        """Tell whether there is something to send, and a lane that would take it now."""
        depth = self.depth_wanted(source_ended=source_ended)
        if not depth:
            return False
        ahead = self._count_ahead
        if not source_ended and self._may_go_ahead and ahead < self._most_ahead:
            return True
        if ahead:  # these are next
            return self._again.head is not None
        return self._engine.room(depth) > 0

    def depth_wanted(self, *, source_ended: bool) -> int:
        """Return how many chunks the next lane may hold, or 0 if nothing may be sent."""
        if self._backlog:
            return 1 if self._backlog[0][0].alone else self.depth()
        if (again := self._again.head) is not None:
            return 1 if again.alone else self.depth()
        if source_ended or not self._may_cut:
            return 0
        return self.depth()

    def depth(self) -> int:
        """Return how many chunks a lane may hold now."""
        if not self._options.look_ahead:
            return 1
        if self._total is not None and self._total - self.cut_items <= self._workers * self.chunk_items:
            return 1  # what is left is shared out evenly rather than ahead of time
        depth = depth_for(self._chunk_s, self._window.expected_bytes, self._workers)
        return max(depth, self._engine.limits.least_depth)

    # ---- back -----------------------------------------------------------------------------------------------------

    def finished(self, chunk: Chunk, run_s: float, result_bytes: int) -> None:
        """Record that a chunk ran for so long, and returned so many bytes."""
        self.in_lanes -= 1
        old = self._chunk_s
        self._chunk_s = run_s if old is None else old + _WEIGHT * (run_s - old)
        if chunk.parent is None:
            self._window.grew(result_bytes, chunk.size_bytes)
            self._sizer.observe(len(chunk.items), run_s, chunk.size_bytes)
        else:
            self._freed_bytes += chunk.size_bytes

    def refused(self, chunk: Chunk, result_bytes: int) -> None:
        """A worker could not read a chunk."""
        self.in_lanes -= 1
        if chunk.parent is None:
            self._window.grew(result_bytes, chunk.size_bytes)
        else:
            self._freed_bytes += chunk.size_bytes

    def came_off(self, chunk: Chunk) -> None:
        """Account for a chunk that was lost or came back unrun.

        The engine has given its bytes back to the budget.
        """
        self.in_lanes -= 1
        size_bytes, chunk.size_bytes = chunk.size_bytes, 0
        if chunk.parent is None:
            self._window.lost(size_bytes)

    def split(self, size_bytes: int) -> None:
        """Account for a split chunk, of which the worker gave back so many bytes."""
        self._window.split(size_bytes)

    def consumed(self, size_bytes: int) -> None:
        """Return the bytes of a consumed chunk to the pool's budget, with the next round."""
        self._freed_bytes += size_bytes
        self._window.consumed(size_bytes)

    def give_back(self) -> None:
        """Return to the pool's budget what was taken since the last time."""
        if self._freed_bytes:
            self._engine.consumed(self._number, self._freed_bytes)
            self._freed_bytes = 0

    def take_out(self, item: Any) -> list[Chunk]:
        """Withdraw and return the chunks of this one item that wait for a credit."""
        found = []
        for chunk, encoded in [entry for entry in self._backlog if entry[0].items[0] is item]:
            self._backlog.remove((chunk, encoded))
            if chunk.parent is None:
                self._window.lost(encoded.size)
            found.append(chunk)
        return found
