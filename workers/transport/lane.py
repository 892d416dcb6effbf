"""The worker's end of its lane, which reads by blocking and writes in batches.

Owner: the worker's main thread. `send`, `flush` (prints of user code) and `ask` may be called from other threads too.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from workers.pickling.main_module import Definition, Wanted
from workers.transport import forks, payload
from workers.transport.arena import Arena, ArenaReader
from workers.transport.wire import Frame, FrameReader, Kind, pack

FULL_BYTES = 1 << 16
"""How many bytes may wait before they are written."""

SIGNAL = signal.SIGURG
"""The signal that the coordinator sends when another worker is idle; it is ignored by default, as in children
that user code starts."""


class WorkerLane:
    """Frames in, frames out, and the two arenas."""

    def __init__(self, inbox_fd: int, outbox_fd: int, inputs: ArenaReader, outputs: Arena) -> None:
        self._inbox_fd = inbox_fd
        self._outbox_fd = outbox_fd
        self.inputs = inputs
        self.outputs = outputs
        self._reader = FrameReader()
        self._arrived: deque[Frame] = deque()
        self._outgoing = bytearray()
        self._writing = threading.Lock()
        self._flushing = False
        self._answers: deque[Frame] = deque()
        self._files: deque[Frame] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._reading = False  # a thread is in the read, without the lock
        self._pid = os.getpid()

    def receive(self) -> Frame:
        """Return the next frame, writing everything out before waiting for one.

        Raises:
            EOFError: the coordinator is gone.
        """
        while not self._arrived:
            self.flush()
            self._read_until(self._has_arrived)
        return self._arrived.popleft()

    @property
    def idle(self) -> bool:
        """Whether no frame has arrived that was not received yet."""
        return not self._arrived

    def _has_arrived(self) -> bool:
        return bool(self._arrived)

    def ask(self, wanted: Wanted) -> list[Definition]:
        """Ask the coordinator what names of `__main__` mean.

        From any thread, one at a time.

        Raises:
            EOFError: the coordinator is gone.
        """
        if os.getpid() != self._pid:  # a child that was forked here: the lane is not its own
            return []
        self.send([pack(Kind.NEED, pickle.dumps(wanted))])
        self.flush()
        self._read_until(lambda: bool(self._answers))
        _, flags, buffers, _, _, body = self._answers.popleft()
        answer: list[Definition] = payload.decode(flags, buffers, body, self.inputs)
        return answer

    def file(self) -> tuple[str, str]:
        """Ask the coordinator for a file for this chunk's results.

        Returns its path, or why there is none.

        Raises:
            EOFError: the coordinator is gone.
        """
        self.send([pack(Kind.SPILL)])
        self.flush()
        self._read_until(lambda: bool(self._files))
        _, flags, buffers, _, _, body = self._files.popleft()
        answer: tuple[str, str] = payload.decode(flags, buffers, body, self.inputs)
        return answer

    def _read_until(self, ready: Callable[[], bool]) -> None:
        """Read, or wait for the thread that reads, until what the caller waits for is there."""
        with self._changed:
            while not ready():
                if self._reading:
                    self._changed.wait()
                    continue
                self._reading = True
                self._changed.release()
                try:
                    data = os.read(self._inbox_fd, self._reader.read_bytes)
                finally:
                    self._changed.acquire()
                    self._reading = False
                    self._changed.notify_all()
                if not data:
                    raise EOFError
                for frame in self._reader.feed(data):
                    self._queue_of(frame[0]).append(frame)

    def _queue_of(self, kind: int) -> deque[Frame]:
        if kind == Kind.DEFINE:
            return self._answers
        return self._files if kind == Kind.FILE else self._arrived

    def send(self, parts: list[Any]) -> None:
        """Put a frame behind what is to be written."""
        with self._writing:
            for part in parts:
                self._outgoing += part
            is_full = len(self._outgoing) >= FULL_BYTES
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Write everything out, and report the input leases that have ended.

        What user code printed goes first: whatever an item printed that counts as finished is there, however this
        process ends. A child that user code has forked, and that came here, ends: the lane is not its own.
        """
        if os.getpid() != self._pid:
            forks.leave(self._pid)
        if self._outgoing and not self._flushing and threading.current_thread() is threading.main_thread():
            self._flushing = True  # the user's own stream may print to ours, and so come here again
            flush_prints()
            self._flushing = False
        with self._writing:
            ended = self.inputs.released
            if ended:
                offsets = [ended.popleft() for _ in range(len(ended))]
                self._outgoing += pack(Kind.RELEASE, struct.pack(f"<{len(offsets)}Q", *offsets))
            if self._outgoing:
                self._write()

    def flush_within(self, make: Callable[[], bytes]) -> None:
        """Write everything out, and the frame that is made then.

        Called from a signal handler, in the main thread.

        Where that interrupted a write, nothing is made or written.
        """
        if os.getpid() != self._pid or not self._writing.acquire(blocking=False):
            return
        try:
            if self._outgoing and not self._flushing:
                flush_prints()
            self._outgoing += make()
            self._write()
        finally:
            self._writing.release()

    def _write(self) -> None:
        with memoryview(self._outgoing) as data:
            written = 0
            while written < len(data):
                written += os.write(self._outbox_fd, data[written:])
        self._outgoing.clear()


def flush_prints() -> None:
    """Write out what user code has printed, ignoring streams that fail."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
