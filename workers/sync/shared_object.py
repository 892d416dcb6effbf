"""One object in shared memory for all workers.

`Pool.share` writes it once, all others only read it.

The memory is an anonymous file, sealed once it is written: nobody can change or shorten it, so a reader needs no lock
and never meets a missing page. Who holds a handle reaches the file through the process that wrote it
(`/proc/PID/fd/N`), in which way a worker that is started later reaches it too.

    token | entries of the table, offset and bytes of the pickle | table: offset, bytes | pickle | buffer, buffer …

Owner of the state: each process its own. `_handles` holds one handle an object, `_kept` those whose value a worker
keeps from call to call until its pool says that the object was dropped.
"""

from __future__ import annotations

import errno
import mmap
import os
import pickle
import struct
import weakref
from typing import Any, NoReturn

TOKEN_BYTES = 16
HEAD = struct.Struct(f"<{TOKEN_BYTES}sQQQ")
ENTRY = struct.Struct("<QQ")
ALIGN = 64
FILE_NAME = "orchestrator-shared"
MISSING: Any = object()
"""Stands where no value was read yet; a shared value may be None."""


class SharedGoneError(LookupError):
    """The shared object can't be reached.

    It was closed or dropped, or the process that shared it has ended.
    """


class Shared:
    """The handle of an object that `Pool.share` put into shared memory, valid in every process.

    It may be an item, an argument, or part of a function; what it stands for is not sent again. A process that asks for
    the value unpickles it once; its arrays are read-only views of the one memory that all look at.
    """

    def __init__(self, pid: int, fd: int, token: bytes, pool: bytes) -> None:
        self._where = (pid, fd, token, pool)
        self._value: Any = MISSING
        _handles[token] = self

    def get(self) -> Any:
        """Return the object, the same one at each call in a process.

        Raises:
            SharedGoneError: it was closed or dropped, or the process that shared it has ended.
        """
        if self._value is MISSING:
            self._value = self._load()
            if self._where[3] == _own_pool:
                _kept[self._where[2]] = self
        return self._value

    def _load(self) -> Any:
        return _read(*self._where[:3])

    @property
    def value(self) -> Any:
        """The object, as `get()` gives it."""
        return self.get()

    def __reduce__(self) -> tuple[Any, ...]:
        return _handle, self._where

    def __repr__(self) -> str:
        pid, _, token, _ = self._where
        return f"<Shared {token.hex()[:8]} of process {pid}>"


_handles: weakref.WeakValueDictionary[bytes, Shared] = weakref.WeakValueDictionary()
_kept: dict[bytes, Shared] = {}
_own_pool = b""


def belong_to(pool: bytes) -> None:
    """Keep values that this pool shares from call to call.

    A worker's entry calls this once.
    """
    global _own_pool  # noqa: PLW0603 - one worker a process, so one pool a process
    _own_pool = pool


def forget(token: bytes) -> None:
    """Drop a value that was kept.

    Views that user code holds stay valid.
    """
    _kept.pop(token, None)


def _forget_all() -> None:
    """Drop what the parent has opened in a forked child, as it would stay in memory."""
    for handle in list(_handles.values()):
        handle._value = MISSING  # noqa: SLF001 - its own module
    _handles.clear()
    _kept.clear()


os.register_at_fork(after_in_child=_forget_all)


def _handle(pid: int, fd: int, token: bytes, pool: bytes) -> Shared:
    return _handles.get(token) or Shared(pid, fd, token, pool)


def _read(pid: int, fd: int, token: bytes) -> Any:
    memory = _map(pid, fd, token)
    _, entries, pickle_at, pickle_bytes = HEAD.unpack_from(memory)
    whole = memoryview(memory)
    table = [ENTRY.unpack_from(memory, HEAD.size + i * ENTRY.size) for i in range(entries)]
    # The views keep the mapping alive; without any, it goes with this frame.
    views = [whole[at : at + size] for at, size in table]
    return pickle.loads(whole[pickle_at : pickle_at + pickle_bytes], buffers=views)


def _map(pid: int, fd: int, token: bytes) -> mmap.mmap:
    path = f"/proc/{pid}/fd/{fd}"
    try:
        # A number that means something else by now: opening it might wait for the other end of somebody's pipe.
        if not os.readlink(path).startswith(f"/memfd:{FILE_NAME}"):  # noqa: PTH115 - pathlib is not loaded for this
            _refuse(pid)
        own = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        _refuse(pid, error)
    try:
        if os.pread(own, TOKEN_BYTES, 0) != token:
            _refuse(pid)
        return mmap.mmap(own, 0, prot=mmap.PROT_READ)
    finally:
        os.close(own)


def _refuse(pid: int, error: OSError | None = None) -> NoReturn:
    if error is not None and error.errno in {errno.EACCES, errno.EPERM}:
        msg = f"the shared object can't be reached: this process may not open files of process {pid}, which shared it"
    else:
        msg = f"the shared object is gone: it was closed or dropped, or process {pid}, which shared it, exited"
    raise SharedGoneError(msg) from error
