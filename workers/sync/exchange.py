"""The memory through which the workers of a superstep exchange values.

`EXCHANGE.md` beside this file argues its reuse.

An anonymous file that the coordinator makes and each worker opens through it. No word has two writers: a rank writes
its own mark, its own slots, its own regions, and its own flags; it reads everybody's.

    token | a mark a rank | two slots a rank: round, region, bytes | flags: who holds views of which region | regions …

A region holds a value: pickle's size, number of buffers, their sizes; then the pickle, then the buffers. Regions lie
64 GiB apart in a file that is sparse.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import pickle
import struct
import weakref
from collections.abc import Callable
from typing import Any

from workers.transport import payload
from workers.transport.arena import PAGE, create_fd

_TOKEN_BYTES = 16
_SLOT = struct.Struct("<QQQ")
_SLOT_BYTES = 2 * _SLOT.size
_REGION_BYTES = 1 << 36
REGIONS = 16
"""A rank has so many; the first two are for when all others are held, and are only copied from."""
_COPIED_REGIONS = 2
_SMALLEST_BYTES = 64 << 10
_ALIGN = 64

Where = tuple[int, int, bytes]
"""Process, descriptor there, and token of the file."""


def _round_up(size: int, to: int) -> int:
    return -(-size // to) * to


def _head_bytes(ranks: int) -> int:
    return _round_up(_TOKEN_BYTES + ranks + ranks * _SLOT_BYTES + ranks * REGIONS * ranks, PAGE)


class ExchangeFile:
    """The coordinator's side: makes the file, and can tell who has begun."""

    def __init__(self, ranks: int) -> None:
        self._fd = create_fd("orchestrator-exchange")
        self._token = os.urandom(_TOKEN_BYTES)
        os.ftruncate(self._fd, _head_bytes(ranks))
        os.pwrite(self._fd, self._token, 0)

    @property
    def fd(self) -> int:
        """The descriptor, for the one who keeps account of them."""
        return self._fd

    @property
    def where(self) -> Where:
        """The reference by which a worker opens it."""
        return os.getpid(), self._fd, self._token

    def has_begun(self, rank: int) -> bool:
        """Whether the worker of this rank opened the file, its last act before the function."""
        return os.pread(self._fd, 1, _TOKEN_BYTES + rank) == b"\1"

    def close(self) -> None:
        """Drop the memory, which is freed when the last worker has dropped it, too."""
        os.close(self._fd)


class Exchange:
    """A worker's side of the exchange: puts its value of a round into its region, and takes all others'.

    Args:
        where: what the coordinator's `ExchangeFile` says.
        rank: this worker's place among `ranks`.
        ranks: how many there are.

    Raises:
        OSError: the coordinator's file can't be opened.
    """

    def __init__(self, where: Where, rank: int, ranks: int) -> None:
        pid, fd, token = where
        self.rank, self.ranks = rank, ranks
        self._fd = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        self._mappings: dict[tuple[int, int], mmap.mmap] = {}  # by rank and region
        self._room = [0] * REGIONS  # bytes reserved in each of its own regions
        self._latest = -1  # the region of the last round: its readers may not have raised their flags yet
        self._leases: dict[int, weakref.ref[Any]] = {}  # by the place of the flag
        if os.pread(self._fd, _TOKEN_BYTES, 0) != token:
            self.close()
            raise OSError(errno.ESTALE, f"the step that process {pid} began has ended")
        self._head = mmap.mmap(self._fd, _head_bytes(ranks))
        self._slots_at = _TOKEN_BYTES + ranks
        self._flags_at = self._slots_at + ranks * _SLOT_BYTES
        self._head[_TOKEN_BYTES + rank] = 1

    def close(self) -> None:
        """Close the file.

        Mappings go with the last view.
        """
        self._mappings.clear()
        os.close(self._fd)

    def put(self, number: int, value: object) -> None:
        """Write this worker's value of a round.

        The barrier has to come between this and any `take`.

        Raises:
            MemoryError: no shared memory can be reserved for it.
            Exception: whatever says why the value can't be pickled.
        """
        encoded = payload.encode(value)
        buffers = [buffer.raw() for buffer in encoded.buffers]
        sizes = [len(encoded.pickle), len(buffers), *(buffer.nbytes for buffer in buffers)]
        head = struct.pack(f"<{len(sizes)}Q", *sizes)
        parts = [memoryview(head + encoded.pickle), *buffers]
        size = sum(_round_up(part.nbytes, _ALIGN) for part in parts)
        region = self._latest = self._free_region(number)
        memory = self._own_region(region, size)
        at = 0
        for part in parts:
            memory[at : at + part.nbytes] = part
            at += _round_up(part.nbytes, _ALIGN)
        _SLOT.pack_into(self._head, self._slot(self.rank, number), number, region, size)

    def take(self, number: int, rank: int, *, copy: bool = False) -> Any:
        """Return the value of a rank in a round.

        Its buffers are read-only views that hold the region while they live.

        Args:
            number: the round.
            rank: whose value.
            copy: whether to copy its buffers instead.

        Raises:
            RuntimeError: that worker is not at this point of the step.
        """
        written, region, size = _SLOT.unpack_from(self._head, self._slot(rank, number))
        if written != number:
            msg = (
                f"rank {rank} is not at this exchange of the step: all workers must call all_gather, all_reduce "
                "and the barrier equally often and in the same order"
            )
            raise RuntimeError(msg)
        memory = self._region(rank, region, size)
        pickle_bytes, buffers = struct.unpack_from("<QQ", memory)
        sizes = struct.unpack_from(f"<{buffers}Q", memory, 16)
        body_at = 16 + 8 * buffers
        at = _round_up(body_at + pickle_bytes, _ALIGN)
        copy = copy or region < _COPIED_REGIONS
        whole = memoryview(memory) if copy or not buffers else self._leased(memory, rank, region)
        views: list[Any] = []
        for each in sizes:
            view = whole[at : at + each]
            views.append(bytearray(view) if copy else view)
            at += _round_up(each, _ALIGN)
        return pickle.loads(whole[body_at : body_at + pickle_bytes], buffers=views)

    def _leased(self, memory: mmap.mmap, rank: int, region: int) -> memoryview:
        """Raise this reader's flag on a region until the last view of it is gone, as `workers.transport.arena` does."""
        flag_at = self._flags_of(rank, region) + self.rank
        exporter = (ctypes.c_char * len(memory)).from_buffer(memory)
        self._head[flag_at] = 1
        self._leases[flag_at] = weakref.ref(exporter, _lowering(self._head, flag_at, self._leases))
        return memoryview(exporter).cast("B").toreadonly()

    def _free_region(self, number: int) -> int:
        """Return the first own region that nobody holds, or one to be copied from."""
        for region in range(_COPIED_REGIONS, REGIONS):
            if region != self._latest:
                flags_at = self._flags_of(self.rank, region)
                if self._head.find(b"\1", flags_at, flags_at + self.ranks) < 0:
                    return region
        return number % _COPIED_REGIONS

    def _flags_of(self, rank: int, region: int) -> int:
        return self._flags_at + (rank * REGIONS + region) * self.ranks

    def _slot(self, rank: int, number: int) -> int:
        return self._slots_at + rank * _SLOT_BYTES + number % 2 * _SLOT.size

    def _own_region(self, region: int, size: int) -> mmap.mmap:
        """Return an own region with so many bytes reserved.

        A full memory is an error here, and no SIGBUS there.
        """
        if size > self._room[region]:
            room = _round_up(size, max(_SMALLEST_BYTES, 1 << max(0, size.bit_length() - 4)))
            try:
                os.posix_fallocate(self._fd, self._region_at(self.rank, region), room)
            except OSError as error:
                msg = f"no shared memory to exchange a value of {size:,} bytes: {error.strerror}"
                raise MemoryError(msg) from error
            self._room[region] = room
        return self._region(self.rank, region, self._room[region])

    def _region(self, rank: int, region: int, size: int) -> mmap.mmap:
        memory = self._mappings.get((rank, region))
        if memory is None or len(memory) < size:
            memory = mmap.mmap(self._fd, _round_up(size, PAGE), offset=self._region_at(rank, region))
            self._mappings[rank, region] = memory
        return memory

    @staticmethod
    def _region_at(rank: int, region: int) -> int:
        return (rank * REGIONS + region + 1) * _REGION_BYTES


def _lowering(head: mmap.mmap, flag_at: int, leases: dict[int, weakref.ref[Any]]) -> Callable[[weakref.ref[Any]], None]:
    # Runs wherever the last view is dropped: in any thread, within a garbage collection, after the step. Takes no lock.
    def lower(_: weakref.ref[Any]) -> None:
        leases.pop(flag_at, None)
        head[flag_at] = 0

    return lower
