"""Sends `numpy.memmap` arguments by file name, so that the worker's writes reach the file.

A plain pickle copies the array, and what a function writes into the copy is lost. joblib passes memmaps by name too.
Arrays that are not simply a part of a file that still has its name go by value, as any array does: copy-on-write maps,
deleted files, views with negative strides.
"""

from __future__ import annotations

import copyreg
import os
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any, NamedTuple, TypeVar

_Sender = TypeVar("_Sender", bound=Callable[..., Any])
_SENDERS: set[CodeType] = set()


class _Place(NamedTuple):
    """The place of an array, with all that a worker needs to map it again."""

    path: str
    device: int
    inode: int
    offset: int
    """Of its first byte in the file."""
    mode: str
    dtype: Any
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def sends_memmaps_by_name(function: _Sender) -> _Sender:
    """Mark a function whose pickles go to a worker.

    Other pickles hold a copy, as always.
    """
    _SENDERS.add(function.__code__)
    return function


def register() -> None:
    """Teach `pickle` to ask this module about memmaps, where numpy is loaded."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and numpy.memmap not in copyreg.dispatch_table:
        copyreg.pickle(numpy.memmap, _reduce)


def _reduce(array: Any) -> Any:
    place = place_of(array) if _goes_to_a_worker() else None
    if place is not None:
        return map_again, place
    if array.filename is None:  # of shared memory: as the plain array that it will be
        return sys.modules["numpy"].asarray(array).__reduce_ex__(5)
    return array.__reduce_ex__(5)


def _goes_to_a_worker() -> bool:
    """Whether one of the marked functions is pickling, and not the program itself.

    Looked up in the stack, since this is asked only when there is a memmap: a flag that is set around every chunk would
    cost a tenth of the throughput of short chunks.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - documented; there is no public way without a traceback
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code in _SENDERS:
            return True
    return False


def place_of(array: Any) -> _Place | None:
    """Return where a memmap, or an array that is part of one, lies in its file.

    None: it has to go by value.
    """
    numpy = sys.modules["numpy"]
    root = array
    while isinstance(root.base, numpy.ndarray):
        root = root.base
    if not isinstance(root, numpy.memmap) or array.size == 0 or any(stride < 0 for stride in array.strides):
        return None
    if root.mode not in {"r", "r+", "w+"} or not isinstance(root.filename, str | os.PathLike):
        return None
    address = array.__array_interface__["data"][0]
    mapped = _mapped_file(address)
    if mapped is None:
        return None
    device, inode, offset = mapped
    path = os.path.abspath(root.filename)  # noqa: PTH100 - pathlib is not loaded for this
    try:
        found = os.stat(path)  # noqa: PTH116 - as above
    except OSError:
        return None
    if (found.st_dev, found.st_ino) != (device, inode):
        return None
    mode = "r" if root.mode == "r" or not array.flags.writeable else "r+"
    return _Place(path, device, inode, offset, mode, array.dtype, array.shape, array.strides)


def _mapped_file(address: int) -> tuple[int, int, int] | None:
    """Return device, inode and offset of the file that is mapped at an address, from Linux's table of mappings."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as table:  # noqa: PTH123 - as above
            for line in table:
                span, _, offset, device, inode, *_ = line.split(maxsplit=5)
                start, end = (int(bound, 16) for bound in span.split("-"))
                if start <= address < end:
                    major, minor = (int(number, 16) for number in device.split(":"))
                    return os.makedev(major, minor), int(inode), int(offset, 16) + address - start
    except OSError:
        pass
    return None


def map_again(*fields: Any) -> Any:
    """Map the array again, in the worker.

    Raises:
        FileNotFoundError: the file is gone, or another one has its name.
    """
    import numpy as np  # noqa: PLC0415 - only where memmaps are used

    place = _Place(*fields)
    mode: Any = place.mode
    with open(place.path, "rb" if place.mode == "r" else "r+b") as file:  # noqa: PTH123 - as above
        found = os.fstat(file.fileno())
        if (found.st_dev, found.st_ino) != (place.device, place.inode):
            msg = f"{place.path} was replaced by another file while one of its arrays was being sent to a worker"
            raise FileNotFoundError(msg)
        last = sum((length - 1) * stride for length, stride in zip(place.shape, place.strides, strict=True))
        size = last + place.dtype.itemsize
        whole: Any = np.memmap(file, np.uint8, mode, place.offset, (size,))
    # `ndarray` would do as well; a memmap has `flush` and `filename`.
    array = np.ndarray.__new__(np.memmap, place.shape, place.dtype, whole, 0, place.strides)
    array.__array_finalize__(whole)
    return array
