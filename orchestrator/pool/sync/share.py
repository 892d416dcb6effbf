"""Implements `Pool.share`: writes an object into shared memory, and frees it after its last handle.

Runs in the coordinator process; `workers.sync.shared_object` is what the others do with it. Owner of the file: the
handle here. What a call sends along is held by the call itself, so a handle that only a function refers to lives as
long as that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import workers.sync.shared_object
from orchestrator.errors import ClosedError, SharedMemoryError
from orchestrator.machine import own_descriptors
from workers.pickling import by_value
from workers.sync.shared_object import ALIGN, ENTRY, FILE_NAME, HEAD, TOKEN_BYTES
from workers.transport import payload

_MAX_WRITE_BYTES = 1 << 30
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Shared(workers.sync.shared_object.Shared):
    """The handle of a shared object in the process that shared it.

    Elsewhere it is a `workers` `Shared`.

    The memory is freed when this handle is closed or dropped, and no process holds a view any more.
    """

    def __init__(self, obj: object, pool: bytes, told: Callable[[bytes], None]) -> None:
        """Write `obj` into new shared memory.

        Args:
            obj: what to share; it is not kept.
            pool: the pool whose workers may keep the value from call to call.
            told: called with the object's token once, when it is closed or dropped; also within a garbage collection.

        Raises:
            SharedMemoryError: there is no memory for it.
            Exception: whatever says why it can't be pickled.
        """
        token = os.urandom(TOKEN_BYTES)
        fd, self.nbytes = _write(token, obj)
        own_descriptors.own(fd)
        super().__init__(os.getpid(), fd, token, pool)
        self._free = weakref.finalize(self, _free, os.getpid(), fd, token, told)
        self._free.atexit = False

    nbytes: int
    """Bytes of shared memory that it takes."""

    @property
    def closed(self) -> bool:
        """Whether its memory was freed."""
        return not self._free.alive

    # Not `get` itself: its bound method may be sent to a worker, where the handle is one of
    # `workers.sync.shared_object`.
    def _load(self) -> Any:
        if self.closed:
            raise ClosedError("the shared object was closed; share it again")
        return super()._load()

    def close(self) -> None:
        """Free the memory.

        Views that a process holds stay valid, and a second call does nothing.
        """
        self._free()
        self._value = workers.sync.shared_object.MISSING

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _free(pid: int, fd: int, token: bytes, told: Callable[[bytes], None]) -> None:
    if os.getpid() != pid:  # a forked child: the number means nothing there
        return
    own_descriptors.disown(fd)
    os.close(fd)
    told(token)


def _write(token: bytes, obj: object) -> tuple[int, int]:
    """Write the object, and return the descriptor and size of its file."""
    encoded = payload.encode(obj, by_value.dumps, threshold_bytes=1)  # out of band, so read-only
    parts, total = _laid_out(token, encoded)
    fd = os.memfd_create(FILE_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, total)
        for offset, part in parts:
            _write_at(fd, part, offset)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException as error:
        os.close(fd)
        if isinstance(error, OSError):
            raise SharedMemoryError(
                f"no shared memory for an object of {total:,} bytes: {error.strerror}. "
                "Share less, raise the limit (ulimit -f, the container's memory), or let each worker load it"
            ) from error
        raise
    return fd, total


def _laid_out(token: bytes, encoded: payload.Encoded) -> tuple[list[tuple[int, Any]], int]:
    """Return each part of the file with its offset, and the file's size."""
    buffers = [buffer.raw() for buffer in encoded.buffers]
    pickle_at = HEAD.size + ENTRY.size * len(buffers)
    end = pickle_at + len(encoded.pickle)
    offsets: list[int] = []
    for buffer in buffers:
        offsets.append(-(-end // ALIGN) * ALIGN)
        end = offsets[-1] + buffer.nbytes
    table = [ENTRY.pack(offset, buffer.nbytes) for offset, buffer in zip(offsets, buffers, strict=True)]
    head = HEAD.pack(token, len(buffers), pickle_at, len(encoded.pickle))
    parts: Iterable[tuple[int, Any]] = zip(offsets, buffers, strict=True)
    return [(0, head + b"".join(table)), (pickle_at, encoded.pickle), *parts], end


def _write_at(fd: int, data: Any, offset: int) -> None:
    """Write all of it, as one system call takes 2 GiB at most.

    No mapping is needed, so a full memory is an error here.
    """
    with memoryview(data) as whole, contextlib.ExitStack() as stack:
        written = 0
        while written < whole.nbytes:
            part = stack.enter_context(whole[written : written + _MAX_WRITE_BYTES])
            written += os.pwrite(fd, part, offset + written)
