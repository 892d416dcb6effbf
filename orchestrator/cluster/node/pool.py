"""The node pool: our own local engine in the process of a node, for the chunks of one pool of the program.

Several threads of the node hand it a chunk each, and wait for what becomes of it. Deaths, deadlines and memory limits
are thereby settled here, and the node's own process is never at risk.

Owner of the state: the process of the node. The local engine has its own lock; `_lock` guards the table of calls.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from pickle import PickleBuffer
from typing import NamedTuple

from orchestrator.cluster.node.code import CodeFile
from orchestrator.cluster.node.definitions import GivenDefinitions
from orchestrator.cluster.node.messages import (
    OUT_OF_BAND_BYTES,
    Block,
    Call,
    Death,
    Outcome,
    Settings,
    Work,
    carried,
    content,
)
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.events import Broken, Finished, Lost, Refused, Returned, Split, StageEvents
from orchestrator.engine.protocol.prints import Prints
from orchestrator.engine.protocol.spilled import SpillFile
from orchestrator.errors import ClosedError, OrchestratorError
from orchestrator.local.coordinator import Coordinator
from orchestrator.local.transport.frame_body import FrameBody, Refusal
from orchestrator.settings import PoolSettings
from workers.pickling.pickled import Pickled
from workers.transport import payload

HOST = socket.gethostname()


class _Open(NamedTuple):
    """A call that is open on the local engine."""

    number: int
    events: StageEvents


class _Held:
    """A chunk that a thread waits for."""

    __slots__ = ("event", "ident", "kept")

    def __init__(self, ident: int) -> None:
        self.ident = ident
        """As the program counts."""
        self.event: Finished | Refused | Lost | Returned | Broken | None = None
        self.kept: int | None = None


class NodePool:
    """Worker processes of this node that belong to one pool of the program."""

    def __init__(self, settings: Settings, slots: int, code: CodeFile | None) -> None:
        """Start `slots` workers.

        `code` has the program's own modules. It is closed with the pool.
        """
        self._code = code
        self.closing = threading.Event()
        """Set when the workers are being ended."""
        self._definitions = GivenDefinitions()
        self._definitions.take_in(settings.definitions)
        folder = None if code is None else code.path
        self._engine = Coordinator(_pool_settings(settings, slots, folder), self._definitions)
        self._prints = Prints()
        self._engine.show_output_by(self._prints.add)
        self._lock = threading.Lock()
        self._calls: dict[tuple[int, int], _Open] = {}
        self._oldest = 0
        self._held: dict[Chunk, _Held] = {}
        self.used_s = time.monotonic()
        """When a chunk last came or went."""

    # ---- one chunk, in a thread of the node ---------------------------------------------------------------------

    def run(self, call: Call, work: Work) -> Outcome:
        """Run a chunk, and return what became of it.

        Raises:
            ClosedError: the node pool is closed.
        """
        self.used_s = time.monotonic()
        opened = self._opened(call, work.oldest)
        if opened is None:
            return Outcome("returned", HOST, os.getpid())
        if self._definitions.take_in(call.definitions):
            self._engine.notice_rebound()
        buffers = tuple(map(_buffer, work.buffers))
        body = bytes(content(work.body))
        encoded = payload.Encoded(body, buffers, len(body) + sum(each.size for each in work.buffers))
        held = _Held(work.ident)
        try:
            while held.event is None or isinstance(held.event, Returned):
                held.event = None
                self._wait(call, opened, work, encoded, held)
            return self._outcome(held)
        finally:
            self.used_s = time.monotonic()

    def _wait(self, call: Call, opened: _Open, work: Work, encoded: payload.Encoded, held: _Held) -> None:
        """Have a chunk run once, by a worker that has nothing else."""
        engine = self._engine
        chunk = Chunk(opened.number, 0, range(work.items), work.first_index, attempt=work.attempt)
        chunk.watched, chunk.alone = work.watched, work.alone
        self._held[chunk] = held
        try:
            while not engine.dispatch(opened.number, [(chunk, encoded)], 1):
                engine.drive(lambda: engine.room(1) > 0 or self._is_over(call))
                if self._is_over(call):
                    held.event = Broken(ClosedError("the call has ended"))
                    return
            engine.drive(lambda: self._has_come(held, opened.events) or self._is_over(call))
            self._route(opened.events)
            if held.event is None:
                held.event = Broken(ClosedError("the call has ended"))
        finally:
            del self._held[chunk]

    def _has_come(self, held: _Held, events: StageEvents) -> bool:
        self._route(events)
        return held.event is not None

    def _route(self, events: StageEvents) -> None:
        """Give each event to the thread that waits for it. In any thread."""
        while events:
            try:
                event = events.popleft()
            except IndexError:
                return
            if isinstance(event, Broken):
                for each in list(self._held.values()):
                    each.event = event
                self._engine.wake()
                return
            held = self._held.get(event.chunk)
            if held is None:
                if isinstance(event, Finished | Refused):
                    event.body.discard()
            elif isinstance(event, Split):
                held.kept = len(event.chunk.items)
            else:
                held.event = event

    def _opened(self, call: Call, oldest: int) -> _Open | None:
        """Return the call as the local engine knows it, and end those before the oldest that is open."""
        with self._lock:
            self._forget_before(oldest)
            if call.number < self._oldest:
                return None
            key = call.number, call.version
            if key not in self._calls:
                function = bytes(content(call.function))
                events: StageEvents = deque()
                encoded = payload.Encoded(function, (), len(function))
                number = self._engine.open(events, encoded, call.timeout_s, name=call.name)
                self._calls[key] = _Open(number, events)
            return self._calls[key]

    def _is_over(self, call: Call) -> bool:
        return call.number < self._oldest or self._engine.closed

    # ---- what became of it --------------------------------------------------------------------------------------

    def _outcome(self, held: _Held) -> Outcome:
        event, here = held.event, (HOST, os.getpid())
        missing, printed = self._definitions.take_missing(), tuple(self._prints.taken())
        if isinstance(event, Lost):
            death = _death(event)
            return Outcome("lost", *here, event.worker, kept=held.kept, death=death, missing=missing, printed=printed)
        if isinstance(event, Broken):
            if isinstance(event.error, ClosedError):
                return Outcome("returned", *here, printed=printed)
            return Outcome("broken", *here, error=event.error, printed=printed)
        assert isinstance(event, Finished | Refused)  # noqa: S101 - for the type checker: what came back is run again
        error = None
        if isinstance(event.body, Refusal):
            error = OrchestratorError(event.body.why)
            body, buffers = event.body.taken()
        else:
            assert isinstance(event.body, FrameBody)  # noqa: S101 - the local engine's own
            body, buffers = event.body.taken()
        self._engine.consumed(event.chunk.call, event.chunk.size_bytes)
        return Outcome(
            "finished" if isinstance(event, Finished) else "refused",
            *here,
            -1,
            event.run_s,
            event.flags,
            carried(body),
            [Block(each) for each in buffers],
            None if event.spill is None else carried(_whole(event.spill)),
            held.kept,
            None,
            error,
            missing,
            printed,
        )

    # ---- its end ------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a thread waits for a chunk."""
        return bool(self._held)

    def end_calls(self, oldest: int) -> None:
        """Stop what runs for calls before this one: nobody waits for it."""
        with self._lock:
            self._forget_before(oldest)
        self._engine.wake()

    def _forget_before(self, oldest: int) -> None:
        """Close all calls before this one. Called under the lock."""
        self._oldest = max(self._oldest, oldest)
        for key in [key for key in self._calls if key[0] < self._oldest]:
            self._engine.close_call(self._calls.pop(key).number)

    def call_off(self, ident: int) -> bool:
        """End the worker that runs a chunk, and return whether there is one."""
        for chunk, held in list(self._held.items()):
            if held.ident == ident:
                self._engine.call_off(chunk.call, chunk.items[0])
                return True
        return False

    def close(self, timeout_s: float) -> list[tuple[int, int, object, BaseException | None]]:
        """End the workers gracefully, and return what their finalizers gave: (worker, pid, result, error)."""
        self.closing.set()
        try:
            self._engine.stop(timeout_s)
        finally:
            self._free()
        return [(each.worker, each.pid, each.result, each.error) for each in self._engine.farewells]

    def terminate(self) -> None:
        """Kill the workers."""
        self.closing.set()
        try:
            self._engine.terminate()
        finally:
            self._free()

    def _free(self) -> None:
        if self._code is not None:
            self._code.close()


def _buffer(block: Block) -> PickleBuffer:
    return PickleBuffer(block.data)


def _pool_settings(settings: Settings, slots: int, folder: str | None) -> PoolSettings:
    beginning = settings.beginning
    begins = beginning is not None or folder is not None
    return PoolSettings(
        workers=slots,
        start_method="forkserver",
        initializer=Pickled(beginning, 0, folder) if begins else None,
        initargs=(),
        buffer_bytes=max(settings.buffer_bytes, OUT_OF_BAND_BYTES),
        max_deaths=1 << 30,
        memory_limit=settings.memory_limit,
        items_per_worker=settings.items_per_worker,
        seed=settings.seed,
        finalizer=Pickled(beginning, 1) if settings.finalizes else None,
        threads_per_worker=settings.threads_per_worker,
        env=dict(settings.env),
    )


def _whole(file: SpillFile) -> bytes:
    size = os.fstat(file.fd).st_size
    parts, at = [], 0
    while at < size:
        parts.append(os.pread(file.fd, size - at, at))
        at += len(parts[-1])
    return b"".join(parts)


def _death(event: Lost) -> Death:
    """Return what is known of a death, in terms that don't need the idents of this engine."""
    ident, ended, reading = event.chunk.ident, event.ended, event.reading
    if reading is not None:
        own = 0 if reading.ident == ident else -1
        loads = None if reading.loads is None else 0
        reading = reading._replace(ident=own, last=0 if reading.last == ident else -1, loads=loads)
    return Death(
        event.worker,
        event.pid,
        event.exitcode,
        event.to_blame,
        None if ended is None else ended.reason,
        ended is not None and ended.ident == ident,
        None if ended is None else ended.position,
        0.0 if ended is None else ended.limit,
        None if ended is None else ended.record,
        0 if ended is None else ended.allowed,
        event.begun,
        reading,
        event.held_s,
    )
