"""The coordinator's end of a lane, which never blocks: it writes what fits and reads what is there.

Owner: the coordinator, under its lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import multiprocessing
import os
import struct
import weakref
from collections.abc import Mapping
from enum import Enum
from time import monotonic_ns
from typing import Any, NamedTuple

from orchestrator.engine.protocol.events import Ended
from orchestrator.engine.protocol.main_definitions import attributes_of_main
from orchestrator.engine.protocol.spilled import SpillFile
from orchestrator.local.transport import worker_process
from orchestrator.local.transport.worker_setup import Beginning
from orchestrator.machine import own_descriptors
from orchestrator.settings import usable_cpus
from workers.entry import WorkerStart
from workers.process.interpreter import Interpreter
from workers.process.moment import Moment, changed
from workers.process.threads import limited, loaded
from workers.transport import payload
from workers.transport.arena import Arena, ArenaReader, create_fd
from workers.transport.watch import SLOTS
from workers.transport.wire import Frame, FrameReader, Kind, pack

PIPE_BYTES = 1 << 18
_MAX_WRITE_BYTES = 1 << 18
_LAST_WORDS_BYTES = 16384
_LAST_WORDS_LINES = 8


class LaneState(Enum):
    """The states of a worker's life."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    DEAD = "dead"


class LaneSettings(NamedTuple):
    """The settings that all lanes of a pool share."""

    start_method: str
    pool_size: int
    pool_token: bytes
    arena_bytes: int
    control_fd: int
    beginning: Beginning
    seed: int | None
    threads_per_worker: int | None
    env: Mapping[str, str | None]
    """Variables that workers have otherwise than this process; None: to be unset."""
    decimals: tuple[Any, Any] | None
    """Contexts of decimals, those of the thread that made the pool: not every thread that starts workers has them."""


class Lane:
    """The link with one worker process: two simplex pipes, two arenas, and the process itself."""

    def __init__(  # noqa: PLR0915 - a list of what a lane has
        self, worker_id: int, key: int, slot: memoryview, settings: LaneSettings, *, hears_stderr: bool = False
    ) -> None:
        """Start the worker, which will say READY.

        Args:
            worker_id: taken over by its replacement.
            key: this lane's alone.
            slot: where the worker says what it is at.
            settings: of the pool.
            hears_stderr: keep what the worker writes to stderr before it is ready.
        """
        self.worker_id = worker_id
        self.key = key
        self.slot = slot
        self.active = True
        """Whether it has a place in the pool; False once it retires."""
        self.gated = True
        """Whether nothing may be written to it: it waits until one less is at work."""
        self.spent = False
        """Whether it is to be replaced, rather than only one too many."""
        self.asked_at = -1
        """Ident of the chunk at which it was last asked to give back what it has not begun of it."""
        self.taken_back: set[int] = set()
        """Idents of chunks that it will say it has skipped, which is known already."""
        self.stopping_s = math.inf
        """When it was told to leave, by the monotonic clock."""
        self.ended: Ended | None = None
        """Why it was ended by us."""
        self.moved_ns = monotonic_ns()
        """When something last went either way."""
        self.state = LaneState.STARTING
        self.known_calls: set[int] = set()
        self.names: dict[str, int] = {}
        """What the worker was told about `__main__`: the token of each name."""
        self.spill: SpillFile | None = None
        """Where the worker writes what is too much for memory of the chunk that it runs."""
        self.chunks_done = 0
        self.items_done = 0
        self.items_sent = 0
        """Counted only in a pool whose workers have a share of items."""
        self.sent_bytes = 0
        self.received_bytes = 0
        self.drained = False
        """Whether the last look found nothing to read, or the end."""
        self._last_words = ""
        self._reader = FrameReader()
        self._outgoing = bytearray()
        share = settings.arena_bytes // 2
        inbox, self._inbox = multiprocessing.Pipe(duplex=False)
        self._outbox, outbox = multiprocessing.Pipe(duplex=False)
        self._fds = (create_fd("orchestrator-in"), create_fd("orchestrator-out"))
        self.inputs = Arena(self._fds[0], settings.arena_bytes)
        self.outputs = ArenaReader(self._fds[1], share)
        self.writer_fd, self.reader_fd = self._inbox.fileno(), self._outbox.fileno()
        own_descriptors.own(self.writer_fd, self.reader_fd)
        os.set_blocking(self.writer_fd, False)
        os.set_blocking(self.reader_fd, False)
        for fd in (self.writer_fd, self.reader_fd):
            with contextlib.suppress(OSError):  # an unprivileged user has a limit; the default size works too
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._stderr_fd = create_fd("orchestrator-stderr") if hears_stderr else -1
        stderr = worker_process.shareable_fd(self._stderr_fd, settings.start_method) if hears_stderr else None
        beginning = settings.beginning.of_worker()
        start = WorkerStart(
            inbox=inbox,
            outbox=outbox,
            lifeline=worker_process.lifeline(),
            inputs=worker_process.shareable_fd(self._fds[0], settings.start_method),
            outputs=worker_process.shareable_fd(self._fds[1], settings.start_method),
            control=worker_process.shareable_fd(settings.control_fd, settings.start_method),
            slot=key % SLOTS,
            stderr=stderr,
            worker_id=worker_id,
            pool_size=settings.pool_size,
            pool_token=settings.pool_token,
            arena_bytes=settings.arena_bytes,
            lease_share_bytes=share,
            forked=settings.start_method == "fork",
            moment=_moment(settings),
            interpreter=Interpreter.now(settings.decimals),
            seed=settings.seed,
            main=attributes_of_main(),
            beginning=worker_process.inherited(beginning.pickled) if settings.start_method == "fork" else beginning,
        )
        try:
            self.process = worker_process.start_process(settings.start_method, start)
        except BaseException:
            self._close_pipes()
            for fd in self._fds:
                os.close(fd)
            self._close_own()
            raise
        finally:
            inbox.close()
            outbox.close()
        self.names.update((each.name, each.token) for each in beginning.offered)
        self.sentinel = self.process.sentinel
        self.pid = self.process.pid or -1
        own_descriptors.own(*self._fds)
        # Results that wait for their turn outlive the lane, and map this descriptor only when they are decoded: closed
        # earlier, its number would soon name the arena of another lane.
        weakref.finalize(self.outputs, _close, self._fds[1]).atexit = False

    def put(self, parts: list[Any]) -> None:
        """Put a frame behind what waits to be written."""
        outgoing = self._outgoing
        for part in parts:
            outgoing += part

    def put_object(self, kind: int, encoded: payload.Encoded, number: int, ident: int, flags: int = 0) -> None:
        """Put a frame that carries an object behind what waits to be written."""
        self.put(payload.frame(kind, encoded, self.inputs, number, ident, flags))

    def flush(self) -> bool:
        """Write what the pipe takes, and return whether nothing is left over."""
        ended = self.outputs.released
        if ended:
            offsets = [ended.popleft() for _ in range(len(ended))]
            self._outgoing += pack(Kind.RELEASE, struct.pack(f"<{len(offsets)}Q", *offsets))
        while self._outgoing:
            try:
                with memoryview(self._outgoing) as data:
                    written = os.write(self.writer_fd, data[:_MAX_WRITE_BYTES])
            except BlockingIOError:
                return False
            except OSError:  # the worker is gone; its sentinel will tell
                self._outgoing.clear()
                return True
            self.sent_bytes += written
            self.moved_ns = monotonic_ns()
            del self._outgoing[:written]
        return True

    def read(self) -> list[Frame] | None:
        """Return the frames that are whole now, or None if nothing more can come."""
        try:
            data = os.read(self.reader_fd, self._reader.read_bytes)
        except BlockingIOError:
            self.drained = True
            return []
        except OSError:
            data = b""
        if not data:
            self.drained = True
            return None
        self.drained = False
        self.received_bytes += len(data)
        self.moved_ns = monotonic_ns()
        return self._reader.feed(data)

    def end(self) -> int | None:
        """Reap the dead or dying process, free what the lane holds, and return the exit code."""
        self.state = LaneState.DEAD
        self.spill = None
        self.process.join(5)
        exitcode = self.process.exitcode
        own_descriptors.disown(self.sentinel)
        self._close_pipes()
        _close(self._fds[0])
        self._close_own()
        if exitcode is not None:
            self.process.close()
        return exitcode

    def last_words(self) -> str:
        """Return the last lines that the worker wrote to stderr before it was ready, if they were kept."""
        return self._last_words

    def _close_own(self) -> None:
        self.slot.release()
        if self._stderr_fd >= 0:
            start = max(0, os.fstat(self._stderr_fd).st_size - _LAST_WORDS_BYTES)
            kept = os.pread(self._stderr_fd, _LAST_WORDS_BYTES, start)
            self._last_words = telling_lines(kept.decode(errors="replace"))
            os.close(self._stderr_fd)
            self._stderr_fd = -1

    def _close_pipes(self) -> None:
        own_descriptors.disown(self.writer_fd, self.reader_fd)
        self._inbox.close()
        self._outbox.close()


def _moment(settings: LaneSettings) -> Moment:
    """Return the state that a worker takes over, as the fork server's is from an earlier moment."""
    share = max(1, usable_cpus() // settings.pool_size)
    if settings.start_method == "fork":
        loaded()  # the workers find what was found here
    environ = changed(limited(changed(os.environ, settings.env), settings.threads_per_worker, share), settings.env)
    if settings.start_method != "forkserver":
        return Moment.inherited(environ)
    return Moment.now(environ, *map(worker_process.open_fd, (1, 2)))


def telling_lines(text: str) -> str:
    """Return the last lines of stderr, or of a crash in compiled code the first that tell of it.

    `faulthandler` writes the innermost call first, and behind that only how it came there.
    """
    lines = text.splitlines()
    crashes = [number for number, line in enumerate(lines) if line.startswith("Fatal Python error")]
    if crashes:
        return "\n".join(lines[crashes[-1] :][:_LAST_WORDS_LINES])
    return "\n".join(lines[-_LAST_WORDS_LINES:])


def _close(fd: int) -> None:
    own_descriptors.disown(fd)
    os.close(fd)
