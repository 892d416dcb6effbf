"""The memory that the workers of a superstep exchange values through; `EXCHANGE.md` beside this file argues its reuse.

An anonymous file that the coordinator makes and each worker opens through it. No word has two writers: a rank writes
its own mark, its own slots and its own regions, and reads everybody's.

    token | a mark a rank | two slots a rank: round, bytes | ……… two regions a rank, 64 GiB apart, sparse ………

A region holds a value: pickle's size, number of buffers, their sizes; then the pickle, then the buffers.
"""

from __future__ import annotations

import errno
import mmap
import os
import pickle
import struct
from typing import Any

from workers import payload
from workers.arena import PAGE, create_fd

_TOKEN_BYTES = 16
_SLOT = struct.Struct("<QQ")
_SLOT_BYTES = 2 * _SLOT.size
_REGION_BYTES = 1 << 36
_SMALLEST_BYTES = 64 << 10
_ALIGN = 64

Where = tuple[int, int, bytes]
"""Process, descriptor there, and token of the file."""


def _round_up(size: int, to: int) -> int:
    return -(-size // to) * to


def _head_bytes(ranks: int) -> int:
    return _round_up(_TOKEN_BYTES + ranks + ranks * _SLOT_BYTES, PAGE)


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
        """What a worker opens it with."""
        return os.getpid(), self._fd, self._token

    def has_begun(self, rank: int) -> bool:
        """Whether the worker of this rank opened the file, the last thing before it runs the function."""
        return os.pread(self._fd, 1, _TOKEN_BYTES + rank) == b"\1"

    def close(self) -> None:
        """Let go of it; the memory is freed when the last worker has, too."""
        os.close(self._fd)


class Exchange:
    """A worker's side: puts its value of a round into its region, and takes everybody's.

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
        self._mappings: dict[tuple[int, int], mmap.mmap] = {}
        self._room = [0, 0]  # bytes reserved in each of its own regions
        if os.pread(self._fd, _TOKEN_BYTES, 0) != token:
            self.close()
            raise OSError(errno.ESTALE, f"the step that process {pid} began has ended")
        self._head = mmap.mmap(self._fd, _head_bytes(ranks))
        self._slots_at = _TOKEN_BYTES + ranks
        self._head[_TOKEN_BYTES + rank] = 1

    def close(self) -> None:
        """Let go of the file; mappings go with the last view."""
        self._mappings.clear()
        os.close(self._fd)

    def put(self, number: int, value: object) -> None:
        """Write this worker's value of a round; the barrier has to come between this and any `take`.

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
        memory = self._own_region(number % 2, size)
        at = 0
        for part in parts:
            memory[at : at + part.nbytes] = part
            at += _round_up(part.nbytes, _ALIGN)
        _SLOT.pack_into(self._head, self._slot(self.rank, number % 2), number, size)

    def take(self, number: int, rank: int, *, copy: bool) -> Any:
        """Return the value of a rank in a round; without `copy` its arrays are views that hold until the next round.

        Raises:
            RuntimeError: that worker is not at this point of the step.
        """
        written, size = _SLOT.unpack_from(self._head, self._slot(rank, number % 2))
        if written != number:
            msg = (
                f"rank {rank} is not at this exchange of the step: all workers have to call all_gather, all_reduce "
                "and the barrier equally often and in the same order"
            )
            raise RuntimeError(msg)
        whole = memoryview(self._region(rank, number % 2, size)).toreadonly()
        pickle_bytes, buffers = struct.unpack_from("<QQ", whole)
        sizes = struct.unpack_from(f"<{buffers}Q", whole, 16)
        body_at = 16 + 8 * buffers
        at = _round_up(body_at + pickle_bytes, _ALIGN)
        views: list[Any] = []
        for each in sizes:
            view = whole[at : at + each]
            views.append(bytearray(view) if copy else view)
            at += _round_up(each, _ALIGN)
        return pickle.loads(whole[body_at : body_at + pickle_bytes], buffers=views)

    def _slot(self, rank: int, parity: int) -> int:
        return self._slots_at + rank * _SLOT_BYTES + parity * _SLOT.size

    def _own_region(self, parity: int, size: int) -> mmap.mmap:
        """Return this worker's region, with so many bytes reserved: a full memory is an error here, no SIGBUS there."""
        if size > self._room[parity]:
            room = _round_up(size, max(_SMALLEST_BYTES, 1 << max(0, size.bit_length() - 4)))
            try:
                os.posix_fallocate(self._fd, self._region_at(self.rank, parity), room)
            except OSError as error:
                msg = f"no shared memory to exchange a value of {size:,} bytes: {error.strerror}"
                raise MemoryError(msg) from error
            self._room[parity] = room
        return self._region(self.rank, parity, self._room[parity])

    def _region(self, rank: int, parity: int, size: int) -> mmap.mmap:
        memory = self._mappings.get((rank, parity))
        if memory is None or len(memory) < size:
            memory = mmap.mmap(self._fd, _round_up(size, PAGE), offset=self._region_at(rank, parity))
            self._mappings[rank, parity] = memory
        return memory

    def _region_at(self, rank: int, parity: int) -> int:
        return (2 * rank + parity + 1) * _REGION_BYTES
