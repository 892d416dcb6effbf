"""An anonymous file that processes share: memory, a mutex, and signs of life.

The kernel removes the sign of a process that ends.

The locks are POSIX record locks. They belong to a process: a forked child has none of them, and they are gone when the
process has ended, however it ended. Their price: closing *any* descriptor of the file drops all of them, so a process
keeps to one `SharedFile` for each file, and to every descriptor of it until the object goes.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
import threading
import time
import weakref
from contextlib import suppress
from multiprocessing import context, reduction
from typing import Any, Self, TypeVar

from workers.sync.own_lock import OwnLock
from workers.transport.arena import create_fd

TOKEN_BYTES = 16
_MUTEX_AT = 0  # a lock touches no content: the same byte may hold anything
_FLOCK = struct.Struct("hhqqi0q")


class Mutex:
    """Excludes all other threads and processes, for microseconds.

    One thread must not enter it twice.
    """

    __slots__ = ("_fd", "_threads")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._threads = OwnLock()  # record locks are between processes only

    def __enter__(self) -> None:
        self._threads.acquire()
        while True:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, _MUTEX_AT)
                return
            except OSError as error:
                # The kernel counts processes, not threads: two mutexes may look like a deadlock to it.
                if error.errno == errno.EDEADLK:
                    time.sleep(0.001)
                    continue
                self._threads.release()
                raise
            except BaseException:
                self._threads.release()
                raise

    def __exit__(self, *_: object) -> None:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _MUTEX_AT)
        finally:
            self._threads.release()


class SharedFile:
    """One process's handle of the file.

    Its first 16 bytes are a random token, which identifies it.
    """

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        """Its name in errors, such as "barrier"."""
        self.bytes = mmap.mmap(fd, os.fstat(fd).st_size)
        self.token = self.bytes[:TOKEN_BYTES]
        self._spare_fds: list[int] = []
        self.mutex = Mutex(fd)
        _FILES[self.token] = self

    @classmethod
    def create(cls, name: str, size: int) -> Self:
        """Make a new file of `size` bytes, zeros behind the token.

        They are reserved, so that no write can fail.
        """
        fd = create_fd(name)
        try:
            os.posix_fallocate(fd, 0, size)
            os.pwrite(fd, os.urandom(TOKEN_BYTES), 0)
            return cls(fd, name)
        except BaseException:
            os.close(fd)
            raise

    def __del__(self) -> None:
        for fd in (self.fd, *self._spare_fds):
            with suppress(OSError):
                os.close(fd)

    def keep(self, fd: int) -> None:
        """Hold one more descriptor of this file."""
        self._spare_fds.append(fd)

    def forget(self) -> None:
        """Start over in a forked child, where the parent's thread that may hold the mutex does not exist."""
        self.mutex = Mutex(self.fd)

    def claim(self, at: int) -> None:
        """Set this process's sign of life on a byte from 1 on, which nobody may have."""
        fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)

    def give_up(self, at: int) -> None:
        """Remove the sign of life."""
        fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, at)

    def holder(self, at: int) -> int | None:
        """Return the pid of the other process whose sign of life is there (0: one that this one can't see), or None."""
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(self.fd, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else max(pid, 0)

    def address(self) -> Any:
        """Return the argument of `reach` in another process, for a pickle."""
        where: Any = (os.getpid(), self.fd, self.token)
        if context.get_spawning_popen() is not None:
            where = reduction.DupFd(self.fd)  # the child of a `multiprocessing.Process` is given a descriptor
        return where, self.name


_Hold = TypeVar("_Hold", bound=SharedFile)
_FILES: weakref.WeakValueDictionary[bytes, SharedFile] = weakref.WeakValueDictionary()
_reaching = threading.Lock()
"""Two threads that unpickle at once must come to one `SharedFile`."""


def _forget_thread() -> None:
    global _reaching  # noqa: PLW0603 - the thread that may hold it does not exist in a forked child
    _reaching = threading.Lock()


os.register_at_fork(after_in_child=_forget_thread)


def reach(kind: type[_Hold], address: Any) -> _Hold:
    """Return this process's handle of the file.

    `kind` is how its maker holds it.

    Raises:
        FileNotFoundError: The process that made the address has ended, or has dropped the file.
    """
    where, name = address
    with _reaching:
        if not isinstance(where, tuple):
            return _attach(kind, where.detach(), name)
        pid, fd, token = where
        return _borrow(kind, pid, fd, token, name)


def _known(kind: type[_Hold], token: bytes) -> _Hold | None:
    found = _FILES.get(token)
    return found if isinstance(found, kind) else None


def _attach(kind: type[_Hold], fd: int, name: str) -> _Hold:
    found = _known(kind, os.pread(fd, TOKEN_BYTES, 0))
    if found is None:
        return kind(fd, name)
    found.keep(fd)
    return found


def _borrow(kind: type[_Hold], pid: int, fd: int, token: bytes, name: str) -> _Hold:
    """Open the file through the process that has it."""
    found = _known(kind, token)
    if found is not None:
        return found
    try:
        own = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        msg = f"the {name} can't be reached: process {pid}, which pickled it, exited or dropped it"
        raise FileNotFoundError(error.errno, msg) from error
    if (seen := os.pread(own, TOKEN_BYTES, 0)) != token:
        if other := _FILES.get(seen):
            other.keep(own)
        else:
            os.close(own)
        msg = f"the {name} can't be reached: process {pid} is not the one that pickled it, or has dropped it"
        raise FileNotFoundError(errno.ENOENT, msg)
    return kind(own, name)
