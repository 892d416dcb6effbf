"""The worker's end of its lane: it reads by blocking, and writes in batches.

Owner: the worker's main thread. Only `send` and `flush` may be called from other threads too (prints of user code).
"""

from __future__ import annotations

import os
import pickle
import struct
import threading
from collections import deque
from typing import Any

from workers.arena import Arena, ArenaReader
from workers.wire import READ_BYTES, Frame, FrameReader, Kind, pack

FULL_BYTES = 1 << 16
"""With this much waiting to be written, it is written."""


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

    def receive(self) -> Frame:
        """Return the next frame; before waiting for one, write everything out.

        Raises:
            EOFError: the coordinator is gone.
        """
        while not self._arrived:
            self.flush()
            self._read()
        return self._arrived.popleft()

    @property
    def idle(self) -> bool:
        """Whether no frame has arrived that was not received yet."""
        return not self._arrived

    def ask(self, name: str) -> bytes | None:
        """Ask the coordinator for the definition of `__main__.name`; what else arrives meanwhile is kept."""
        self.send([pack(Kind.NEED, name.encode())])
        self.flush()
        while True:
            for i, frame in enumerate(self._arrived):
                if frame[0] == Kind.DEFINE:
                    answered, definition = pickle.loads(frame[5])
                    if answered == name:
                        del self._arrived[i]
                        return definition  # type: ignore[no-any-return]
            self._read()

    def _read(self) -> None:
        data = os.read(self._inbox_fd, READ_BYTES)
        if not data:
            raise EOFError
        self._arrived.extend(self._reader.feed(data))

    def send(self, parts: list[Any]) -> None:
        """Put a frame behind what is to be written."""
        with self._writing:
            for part in parts:
                self._outgoing += part
            if len(self._outgoing) >= FULL_BYTES:
                self._write()

    def flush(self) -> None:
        """Write everything out, and report the input leases that have ended."""
        with self._writing:
            ended = self.inputs.released
            if ended:
                offsets = [ended.popleft() for _ in range(len(ended))]
                self._outgoing += pack(Kind.RELEASE, struct.pack(f"<{len(offsets)}Q", *offsets))
            if self._outgoing:
                self._write()

    def _write(self) -> None:
        with memoryview(self._outgoing) as data:
            written = 0
            while written < len(data):
                written += os.write(self._outbox_fd, data[written:])
        self._outgoing.clear()
