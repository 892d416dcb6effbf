"""Standard input, read ahead by a thread into a bounded buffer.

Owner of the state: `StdinPieces`, behind its condition. The thread only reads and appends; it is a daemon,
because a read that waits for a terminal or an idle pipe can't be called off.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Callable

_READ_BYTES = 256 * 1024


class StdinPieces:
    """What arrives on a file descriptor, as it arrives: slow producers' lines don't wait for a full block."""

    def __init__(self, fd: int, limit_bytes: int) -> None:
        """Start reading `fd`, at most `limit_bytes` ahead."""
        self._fd = fd
        self._limit = limit_bytes
        self._changed = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._line_ends = 0
        """How many of the pieces have a line end in them."""
        self._ended = False
        self._closed = False
        self._error: OSError | None = None
        self._on_ready: Callable[[], None] | None = None
        self.taken = 0
        """Bytes handed out so far."""
        threading.Thread(target=self._read, name="orchestrator-stdin", daemon=True).start()

    def ready(self) -> bool:
        """Say whether a whole line is here, or the end, or as much as is read ahead.

        Half a line does not count: who takes that has to wait for the other half.
        """
        with self._changed:
            return self._line_ends > 0 or self._ended or self._held >= self._limit

    def when_ready(self, call: Callable[[], None]) -> None:
        """Have `call` called by the reading thread after each piece, and at the end."""
        with self._changed:
            self._on_ready = call
        if self.ready():
            call()

    def take(self, most_bytes: int) -> bytes:
        """Return what there is, one byte to about `most_bytes`; b"" at the end. Waits if there is nothing.

        Raises:
            OrchestratorError: standard input can't be read.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._ended)
            if self._error is not None and not self._pieces:
                raise OrchestratorError(f"can't read standard input: {self._error.strerror}")
            taken, size = [], 0
            while self._pieces and size + len(self._pieces[0]) <= max(most_bytes, len(self._pieces[0])):
                taken.append(self._pieces.popleft())
                size += len(taken[-1])
                self._line_ends -= b"\n" in taken[-1]
            self._held -= size
            self.taken += size
            self._changed.notify_all()
        return b"".join(taken)

    def close(self) -> None:
        """Stop reading as soon as the thread comes back from its read."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _read(self) -> None:
        error: OSError | None = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._held < self._limit or self._closed)
                if self._closed:
                    return
            try:
                piece = os.read(self._fd, _READ_BYTES)
            except OSError as raised:
                piece, error = b"", raised
            with self._changed:
                if piece:
                    self._pieces.append(piece)
                    self._held += len(piece)
                    self._line_ends += b"\n" in piece
                else:
                    self._ended, self._error = True, error
                self._changed.notify_all()
                call = self._on_ready
            if call is not None:
                call()
            if not piece:
                return
