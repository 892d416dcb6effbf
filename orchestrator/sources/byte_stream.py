"""Reads standard input, pipes and pseudo-files ahead, in a thread, into a bounded buffer.

Owner of the state: `StdinPieces`, behind its condition. The thread only reads, decompresses, cuts and appends. It waits
for the descriptor or for `close`, whichever is first; it is a daemon, because another reader of the same pipe may take
what it waited for.
"""

from __future__ import annotations

import io
import os
import select
import threading
from collections import deque
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from orchestrator.errors import OrchestratorError
from workers.records import compression
from workers.records.formats.cutting import TooLong

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.records.formats.cutting import Cut, Cutter

_READ_BYTES = 256 * 1024


class StdinPieces:
    """The pieces that arrive on a file descriptor, as they arrive.

    A slow producer's lines don't wait for a full block.
    """

    def __init__(
        self,
        fd: int,
        limit_bytes: int,
        *,
        name: str = "standard input",
        kind: str | None = None,
        cut: Cutter | None = None,
        owned: bool = False,
        end: bytes = b"\n",
        recode: Callable[[IO[bytes]], IO[bytes]] | None = None,
    ) -> None:
        """Start reading.

        Args:
            fd: what to read.
            limit_bytes: at most so much is read ahead.
            name: what errors call it.
            kind: how it is compressed; None: as its first bytes tell, where `cut` is given.
            cut: what cuts it into whole records; None: the pieces are given as they arrive. When `take` has told the
                end, the cutter has the rest.
            owned: whether to close `fd` at the end.
            end: what ends a line, where nothing is cut.
            recode: makes UTF-8 of what is read and decompressed; None: it is left as it is.
        """
        self._fd = fd
        self._limit = limit_bytes
        self._name = name
        self.cut = cut
        self._owned = owned
        self._end = end
        self._recode = recode
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._pieces: deque[Cut] = deque()
        self._held = 0
        self._whole = 0
        """How many of the pieces are whole records, or have a line end in them."""
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        self._on_ready: Callable[[], None] | None = None
        self.taken = 0
        """Bytes handed out so far."""
        self._wake_read, self._wake_write = os.pipe()
        self._kind = kind
        self._raw = _Waiting(fd, self._wake_read)
        self._stream: IO[bytes] | None = None
        threading.Thread(target=self._read, name="orchestrator-stdin", daemon=True).start()

    def ready(self) -> bool:
        """Tell whether a whole line or record is here, or the end, or as much as is read ahead.

        Half a line does not count: who takes that has to wait for the other half.
        """
        with self._lock:
            return self._whole > 0 or self._ended or self._held >= self._limit

    def when_ready(self, call: Callable[[], None]) -> None:
        """Have the reading thread call `call` after each piece, and at the end."""
        with self._lock:
            self._on_ready = call
        if self.ready():
            call()

    def take(self, most_bytes: int) -> Cut:
        """Wait for data, and return one byte to about `most_bytes`, or b"" at the end.

        What stands for a record that is too long comes alone.

        Raises:
            OrchestratorError: it can't be read.
        """
        with self._lock:
            self._changed.wait_for(lambda: self._pieces or self._ended or self._closed)
            if self._error is not None and not self._pieces:
                said = getattr(self._error, "strerror", None) or " ".join(str(self._error).split())
                raise OrchestratorError(f"can't read {self._name} to its end: {said or type(self._error).__name__}")
            taken: list[bytes] = []
            size = 0
            while self._pieces and size + _held(self._pieces[0]) <= max(most_bytes, _held(self._pieces[0])):
                piece = self._pieces[0]
                if isinstance(piece, TooLong) and taken:
                    break
                self._pieces.popleft()
                self._whole -= self._is_whole(piece)
                size += _held(piece)
                if isinstance(piece, TooLong):
                    self.taken += piece.size_bytes
                    self._changed.notify_all()
                    return piece
                taken.append(piece)
            self._held -= size
            self.taken += size
            self._changed.notify_all()
        return b"".join(taken)

    def take_bytes(self, most_bytes: int) -> bytes:
        """Take bytes as `take` does, where nothing is cut into records."""
        piece = self.take(most_bytes)
        assert isinstance(piece, bytes)  # noqa: S101 - only a cutter makes anything else
        return piece

    def close(self) -> None:
        """Stop reading.

        The thread ends at once if it waits for the descriptor.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._wake_write >= 0:
                os.close(self._wake_write)
                self._wake_write = -1
            self._changed.notify_all()

    def _is_whole(self, piece: Cut) -> bool:
        return self.cut is not None or (isinstance(piece, bytes) and self._end in piece)

    def _read(self) -> None:
        """Run the thread."""
        try:
            while self._has_room():
                piece, error = self._next()
                blocks: list[Cut] = self.cut.feed(piece) if self.cut is not None and piece else [piece]
                self._append([block for block in blocks if block], ended=not piece, error=error)
                if not piece:
                    return
        finally:
            self._let_go()

    def _has_room(self) -> bool:
        with self._lock:
            self._changed.wait_for(lambda: self._held < self._limit or self._closed)
            return not self._closed

    def _next(self) -> tuple[bytes, BaseException | None]:
        """Return the next piece, b"" at the end, or what reading it raised."""
        try:
            if self._stream is None:
                self._stream = self._opened()
            read: Callable[[int], bytes] = getattr(self._stream, "read1", self._stream.read)
            return read(_READ_BYTES), None
        except (OSError, MemoryError, compression.CompressionError) as error:
            return b"", error
        except Exception as error:
            if self._kind is None or not isinstance(error, compression.read_errors(self._kind)):
                raise
            return b"", error

    def _opened(self) -> IO[bytes]:
        if self._kind is None and self.cut is not None and self.cut.text:
            while compression.may_be(self._raw.head) and (piece := self._raw.read(_READ_BYTES)):
                self._raw.head += piece
            self._kind = compression.kind_of(self._raw.head)
        raw: Any = self._raw
        plain = raw if self._kind is None else compression.reader(raw, self._kind)
        return plain if self._recode is None else self._recode(plain)

    def _append(self, blocks: list[Cut], *, ended: bool, error: BaseException | None) -> None:
        with self._lock:
            for block in blocks:
                self._pieces.append(block)
                self._held += _held(block)
                self._whole += self._is_whole(block)
            self._ended, self._error = ended, error
            self._changed.notify_all()
            call = self._on_ready
        if call is not None:
            call()

    def _let_go(self) -> None:
        with self._lock:
            self._ended = True
            os.close(self._wake_read)
            if self._wake_write >= 0:
                os.close(self._wake_write)
                self._wake_write = -1
            if self._owned:
                with suppress(OSError):
                    os.close(self._fd)


def _held(piece: Cut) -> int:
    """Return how many bytes of memory something takes."""
    return len(piece) if isinstance(piece, bytes) else 0


class _Waiting(io.RawIOBase):
    """A descriptor that is read when it has data, until the writer of another descriptor closes that."""

    def __init__(self, fd: int, wake: int) -> None:
        self._fd = fd
        self._wake = wake
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._poll.register(wake, select.POLLIN)
        self.head = b""
        """What was read already, and is given first."""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Wait for data, and return at most `size` bytes."""
        if self.head:
            data, self.head = self.head, b""
            if 0 < size < len(data):
                data, self.head = data[:size], data[size:]
            return data
        while True:
            if any(fd == self._wake for fd, _ in self._poll.poll()):
                return b""
            with suppress(BlockingIOError):  # another reader was faster
                return os.read(self._fd, size if size > 0 else _READ_BYTES)

    def readinto(self, into: Any, /) -> int:
        data = self.read(len(into))
        into[: len(data)] = data
        return len(data)
