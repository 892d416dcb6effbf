"""Results of calls that stay in shared memory, and reach other calls without passing through the coordinator.

The coordinator makes an empty file in memory for each result, its `Slot`, and owns it: whichever worker is killed,
nothing is lost or left. The worker that makes a large result writes it there once, and sends back a small `Kept`. Calls
that are given this map the file, each for itself: what one changes in place changes nothing for the others.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import time
import weakref
from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

from workers.errors.capture import ExceptionRecord, capture
from workers.transport import payload

FILE_NAME = "orchestrator-kept"
LARGE_BYTES = 64 << 10
"""From this size on a result goes into its file: below it, the pipe is as quick."""
_ALIGN = 64
_MAX_WRITE_BYTES = 1 << 30


class Slot(NamedTuple):
    """An empty file in memory, for one result."""

    pid: int
    """Of the process that made it, through which all others reach it."""
    fd: int
    inode: int
    """Tells it from a file that has the same number later."""


class Kept(NamedTuple):
    """A pickled object, whose large parts are in a file."""

    pickle: bytes
    sizes: tuple[int, ...]
    """Of the large parts, in bytes; if `pickle` is empty, the first of them is the pickle itself."""
    slot: Slot | None
    """None: there are no large parts."""

    def load(self) -> Any:
        """Return the object, whose arrays are writable views that belong to the caller.

        Raises:
            OSError: the process that made the file has closed it, or has ended.
        """
        if self.slot is None:
            return pickle.loads(self.pickle)
        *offsets, end = _offsets(self.sizes)
        fd = _open(self.slot, os.O_RDONLY)
        try:
            whole = _map(fd, end)
        finally:
            os.close(fd)
        parts = [whole[at : at + size] for at, size in zip(offsets, self.sizes, strict=True)]
        return pickle.loads(self.pickle or parts.pop(0), buffers=parts)


def keep(obj: Any, slot: Slot | None, by_value: payload.Dumps = payload.by_value) -> Kept:
    """Pickle `obj`, its large parts into the slot, or with the rest if there is none or no memory.

    Raises:
        Exception: whatever says best why it can't be pickled.
    """
    encoded = payload.encode(obj, by_value, LARGE_BYTES)
    in_file: list[Any] = [buffer.raw() for buffer in encoded.buffers]
    data = encoded.pickle
    if len(data) >= LARGE_BYTES:
        in_file.insert(0, memoryview(data))
        data = b""
    if not in_file:
        return Kept(data, (), None)
    if slot is not None and _write(slot, in_file):
        return Kept(data, tuple(part.nbytes for part in in_file), slot)
    return Kept(payload.encode(obj, by_value, 1 << 62).pickle, (), None)


def _offsets(sizes: tuple[int, ...]) -> list[int]:
    """Return where each part begins, and where the last one ends."""
    return list(accumulate((-(-size // _ALIGN) * _ALIGN for size in sizes), initial=0))


def _write(slot: Slot, parts: list[Any]) -> bool:
    """Write the parts into the file, and return whether there was memory for them.

    A mapping would need no system calls, but a full memory would be a SIGBUS then.
    """
    *offsets, end = _offsets(tuple(part.nbytes for part in parts))
    try:
        fd = _open(slot, os.O_RDWR)
    except OSError:
        return False
    try:
        os.ftruncate(fd, end)
        for offset, part in zip(offsets, parts, strict=True):
            written = 0
            while written < part.nbytes:
                written += os.pwrite(fd, part[written : written + _MAX_WRITE_BYTES], offset + written)
    except OSError:
        os.ftruncate(fd, 0)
        return False
    finally:
        os.close(fd)
    return True


def _map(fd: int, size: int) -> memoryview:
    """Map the file, copying the pages that are written to.

    Not by `mmap.mmap`, which keeps a descriptor open as long as the mapping: a call may have thousands of arguments.
    """
    libc = _libc()
    address = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    memory = (ctypes.c_char * size).from_address(address)
    weakref.finalize(memory, libc.munmap, address, size).atexit = False
    return memoryview(memory).cast("B")


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


def _open(slot: Slot, flags: int) -> int:
    path = f"/proc/{slot.pid}/fd/{slot.fd}"
    # A number that means something else by now: opening it might wait for the other end of somebody's pipe.
    if not os.readlink(path).startswith(f"/memfd:{FILE_NAME}"):  # noqa: PTH115 - pathlib is not loaded for this
        raise FileNotFoundError(path)
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    if os.fstat(fd).st_ino != slot.inode:
        os.close(fd)
        raise FileNotFoundError(path)
    return fd


class KeepingCall(NamedTuple):
    """A call whose arguments and result are kept."""

    function: Callable[[dict[Any, Any]], Any]
    """Called with the arguments by name."""
    arguments: dict[Any, Kept]
    slot: Slot | None
    """Where its result may be put."""

    def outcome(self) -> Kept | ExceptionRecord:
        """Make the call, and return its result, or what it raised."""
        try:
            result = self.function({name: each.load() for name, each in self.arguments.items()})
            return keep(result, self.slot)
        except BaseException as error:
            return capture(error)


class Ran(NamedTuple):
    """What became of calls that travelled together."""

    pid: int
    """The worker's."""
    run_s: float
    """Seconds that all of them took."""
    outcomes: list[Kept | ExceptionRecord]


def run_keeping(calls: list[KeepingCall]) -> Ran:
    """Make calls that travel together, in the worker."""
    began = time.perf_counter()
    outcomes = [call.outcome() for call in calls]
    return Ran(os.getpid(), time.perf_counter() - began, outcomes)
