"""Pickles a batch of joblib's calls for a worker.

Large arrays are written into anonymous shared memory once a `Parallel` call, and the workers map them, as joblib does
with files. Runs in the process that made the pool; `joblib_worker` is what the workers load.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import sys
import weakref
from collections import ChainMap
from collections.abc import Callable
from typing import Any

from joblib.parallel import BatchedCalls

from orchestrator.fronts import joblib_worker
from orchestrator.machine import own_descriptors
from workers.pickling import by_value, memmap
from workers.transport import payload
from workers.transport.arena import create_fd
from workers.transport.sent_item import SentItem

_MAX_WRITE_BYTES = 1 << 30
"""One system call takes 2 GiB at most."""


class Copies:
    """The copies in shared memory of large arrays.

    One stays while a call that was sent it is not done, and while the array exists, until `clear`.
    """

    def __init__(self, max_nbytes: int | None, mmap_mode: str | None) -> None:
        """Take joblib's options: from which size on arrays are shared, and how they are mapped."""
        self._max_nbytes = None if mmap_mode is None else max_nbytes
        self._mode = "r+" if mmap_mode == "w+" else mmap_mode
        self._copies: dict[int, tuple[weakref.ref[Any], Copy]] = {}
        self._sent: list[Copy] = []

    def clear(self) -> None:
        """Forget the arrays."""
        self._copies.clear()

    @memmap.sends_memmaps_by_name
    def pickled(self, batch: Callable[[], Any]) -> tuple[SentItem, list[Copy]]:
        """Return a batch as it is sent, and the copies that have to stay until it is done.

        Raises:
            Exception: whatever says best why it can't be pickled.
        """
        sent: list[Copy] = []
        self._sent = sent
        reducers: dict[type, Any] = {}
        if (numpy := sys.modules.get("numpy")) is not None:
            memmap.register()
            reducers[numpy.ndarray] = self._reduced

        def plain(obj: Any, keep: Callable[[pickle.PickleBuffer], Any]) -> bytes:
            file = io.BytesIO()
            pickler = pickle.Pickler(file, 5, buffer_callback=keep)
            theirs: Any = copyreg.dispatch_table
            pickler.dispatch_table = ChainMap(reducers, theirs)
            pickler.dump(obj)
            return file.getvalue()

        def others(obj: Any, keep: Callable[[pickle.PickleBuffer], Any]) -> bytes:
            return by_value.dumps(obj, keep, reducers)

        try:
            return SentItem(payload.encode(_packed(batch), others, plain=plain)), sent
        finally:
            self._sent = []

    def _reduced(self, array: Any) -> Any:
        if array.base is not None and (place := memmap.place_of(array)) is not None:
            return memmap.map_again, place
        if self._max_nbytes is None or array.nbytes <= self._max_nbytes or array.dtype.hasobject:
            return array.__reduce_ex__(5)
        copy = self._copy_of(array)
        return array.__reduce_ex__(5) if copy is None else copy.reduced(self._mode)

    def _copy_of(self, array: Any) -> Copy | None:
        """Return the copy of an array, or None if there is no memory for it."""
        key = id(array)
        known = self._copies.get(key)
        if known is not None and known[0]() is array:
            copy = known[1]
        else:
            try:
                copy = Copy(array)
            except OSError:
                return None
            self._copies[key] = weakref.ref(array, lambda _: self._copies.pop(key, None)), copy
        self._sent.append(copy)
        return copy


def _packed(batch: Callable[[], Any]) -> Any:
    """Return what `joblib_worker.run` makes the batch of: calls of one function without its name in each."""
    if not isinstance(batch, BatchedCalls):
        return batch
    make, (calls, *rest) = batch.__reduce__()
    functions, arguments, keywords = zip(*calls, strict=True)  # 100,000 are looked at in 3 ms
    if any(keywords) or len(set(map(id, functions))) > 1:
        return batch
    return make, rest, functions[0], arguments


class Copy:
    """One array in anonymous shared memory, which is freed with this object and the last map of it."""

    def __init__(self, array: Any) -> None:
        """Write it.

        Raises:
            OSError: there is no memory for it.
        """
        is_turned = array.flags.f_contiguous and not array.flags.c_contiguous
        self._order = "F" if is_turned else "C"
        self._dtype, self._shape = array.dtype, array.shape
        self.fd = create_fd("orchestrator-joblib")
        own_descriptors.own(self.fd)
        self._free = weakref.finalize(self, _close, os.getpid(), self.fd)
        self._free.atexit = False
        import numpy as np  # noqa: PLC0415 - it is loaded where there is an array

        flat: Any = np.ascontiguousarray(array.T if is_turned else array).reshape(-1).view(np.uint8)
        with memoryview(flat) as whole:
            written = 0
            while written < whole.nbytes:
                written += os.pwrite(self.fd, whole[written : written + _MAX_WRITE_BYTES], written)

    def reduced(self, mode: str | None) -> Any:
        """Return how a pickle for a worker refers to it."""
        return joblib_worker.mapped, (os.getpid(), self.fd, self._dtype, mode, self._shape, self._order)


def _close(pid: int, fd: int) -> None:
    if os.getpid() == pid:  # in a forked child the number may mean something else by now
        own_descriptors.disown(fd)
        os.close(fd)
