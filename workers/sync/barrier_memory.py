"""The memory of a barrier: its words, a slot for each waiting party, and the bell that they sleep on.

It lies in a `SharedFile`, whose record locks are the mutex and the sign of life of each slot: the kernel takes them
from a process that ends, however it ends. Who owns a byte alternates; `BARRIER.md` beside this file has the table, and
the order of reads and writes that nothing here may change.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
import time
import weakref
from typing import Any, Self

from workers.sync.exit_hooks import at_departure
from workers.sync.shared_file import TOKEN_BYTES, SharedFile

CAPACITY = 4096
LOOK_S = 0.05
"""How long a waiter sleeps before it looks whether a party has died."""

GENERATION, MODE, PARTIES, HIGH, CULPRIT, EPOCH = range(6)  # words of the header
FILLING, ACTING, RELEASING, BROKEN = range(4)  # values of MODE
FREE, IDLE, WAITING, RELEASED, REFUSED = range(5)  # states of a slot, a byte each
_FREE, _WAITING = bytes([FREE]), bytes([WAITING])
STATES_AT = 64
_INDEXES_AT = STATES_AT + CAPACITY
_PIDS_AT = _INDEXES_AT + 4 * CAPACITY
_BYTES = _PIDS_AT + 4 * CAPACITY
_LIFE_AT = 1  # the byte of slot 0 that carries its sign of life; byte 0 is the mutex
_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}.get(platform.machine()) if sys.platform == "linux" else None
_YIELD = {"x86_64": 24, "aarch64": 124, "riscv64": 124}.get(platform.machine()) if sys.platform == "linux" else None
_FUTEX_WAIT, _FUTEX_WAKE, _EVERYBODY = 0, 1, 0x7FFFFFFF
_syscall = ctypes.CDLL(None).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (
    *(ctypes.c_long, ctypes.c_void_p, ctypes.c_long, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long),
)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _span(seconds: float) -> Any:
    return ctypes.byref(_Timespec(int(seconds), int(seconds % 1 * 1e9)))


_LOOK_SPAN = _span(LOOK_S)


def give_way() -> None:
    """Yield the CPU and the GIL to another thread or process."""
    if _YIELD:
        _syscall(_YIELD, None, 0, 0, None, None, 0)


class BarrierMemory(SharedFile):
    """The state that all parties of one process share: the file, and the slots claimed in it."""

    pid = 0
    """Of the process that the slots are of; 0: of none, there is nothing to give back."""

    def __init__(self, fd: int, name: str) -> None:
        super().__init__(fd, name)
        base = memoryview(self.bytes)
        self.words = base[TOKEN_BYTES:STATES_AT].cast("I")
        self.indexes = base[_INDEXES_AT:_PIDS_AT].cast("I")
        self.pids = base[_PIDS_AT:_BYTES].cast("I")
        self._bell = ctypes.c_uint32.from_buffer(self.bytes, TOKEN_BYTES + 4 * GENERATION)
        self._bell_at = ctypes.addressof(self._bell)
        self._begin()
        _MEMORIES.add(self)

    @classmethod
    def for_parties(cls, parties: int) -> Self:
        """Make the memory of a new barrier."""
        memory = cls.create("barrier", _BYTES)
        memory.words[PARTIES] = parties
        return memory

    def _begin(self) -> None:
        """Start as a process that has claimed nothing."""
        self.pid = os.getpid()
        self.mine: list[int] = []
        self.idle: list[int] = []
        self._fence = threading.Lock()

    def forget(self) -> None:
        """Start over in a forked child, which is not a party by its parent's slots."""
        super().forget()
        self._begin()

    def __del__(self) -> None:
        if self.pid == os.getpid():
            self.leave()
        super().__del__()

    def fence(self) -> None:
        """Make writes visible before anything is read, by an atomic instruction of a lock."""
        if self._fence.acquire(blocking=False):
            self._fence.release()

    def claim_slot(self) -> int:
        """Claim a slot for this process.

        Under the mutex.
        """
        slot = self._sign_of_life(0)
        self.pids[slot] = self.pid
        self.words[HIGH] = max(self.words[HIGH], slot + 1)
        self.bytes[STATES_AT + slot] = IDLE
        self.mine.append(slot)
        return slot

    def _sign_of_life(self, first: int) -> int:
        """Set a sign of life on a free slot, from `first` on.

        One that its owner is just leaving may still have its own.
        """
        slot = self.bytes.find(_FREE, STATES_AT + first, _INDEXES_AT) - STATES_AT
        if slot < 0:
            msg = f"more than {CAPACITY} parties have arrived at this barrier"
            raise OverflowError(msg)
        try:
            self.claim(_LIFE_AT + slot)
        except BlockingIOError:
            return self._sign_of_life(slot + 1)
        return slot

    def leave(self) -> None:
        """Free all slots, so that this process is no party and its end breaks nothing."""
        for slot in self.mine:
            self.bytes[STATES_AT + slot] = FREE
            self.give_up(_LIFE_AT + slot)
        self.mine, self.idle = [], []

    def state(self, slot: int) -> int:
        """Return the state of a slot."""
        return self.bytes[STATES_AT + slot]

    def waiting(self) -> int:
        """Count the slots that wait."""
        return self.bytes[STATES_AT : STATES_AT + self.words[HIGH]].count(_WAITING)

    def who_waits(self, limit: int) -> list[int]:
        """Return the slots that wait, at most so many."""
        content, end = self.bytes, STATES_AT + self.words[HIGH]
        found: list[int] = []
        at = content.find(_WAITING, STATES_AT, end)
        while at >= 0 and len(found) < limit:
            found.append(at - STATES_AT)
            at = content.find(_WAITING, at + 1, end)
        return found

    def tell(self, slots: list[int], verdict: int) -> None:
        """Give each slot its verdict, and only then ring, so that no wake-up is lost.

        Under the mutex.
        """
        for index, slot in enumerate(slots):
            self.indexes[slot] = index
            self.bytes[STATES_AT + slot] = verdict
        self.ring()

    def ring(self) -> None:
        """Advance the generation and wake all that sleep on the old one."""
        self.words[GENERATION] = (self.words[GENERATION] + 1) & 0xFFFFFFFF
        if _FUTEX:
            _syscall(_FUTEX, self._bell_at, _FUTEX_WAKE, _EVERYBODY, None, None, 0)

    def sleep(self, generation: int, timeout_s: float) -> None:
        """Sleep until the generation changes, at most so long.

        It may wake for nothing.
        """
        if _FUTEX:
            span = _LOOK_SPAN if timeout_s == LOOK_S else _span(timeout_s)
            _syscall(_FUTEX, self._bell_at, _FUTEX_WAIT, generation, span, None, 0)
        elif self.words[GENERATION] == generation:  # no futex here: at least give way
            time.sleep(min(timeout_s, 0.001))

    def dead(self) -> list[int]:
        """Return the slots whose process ended without leaving.

        Under the mutex.
        """
        return [slot for slot in range(self.words[HIGH]) if self._is_dead(slot)]

    def _is_dead(self, slot: int) -> bool:
        if self.state(slot) == FREE or slot in self.mine:
            return False
        return self.holder(_LIFE_AT + slot) is None and self.state(slot) != FREE


_MEMORIES: weakref.WeakSet[BarrierMemory] = weakref.WeakSet()


def _forget_all() -> None:
    for memory in list(_MEMORIES):
        memory.forget()


os.register_at_fork(after_in_child=_forget_all)


def _leave_all(in_order: bool) -> None:
    """Leave at an orderly exit.

    A process that ends by an exception counts as dead, as one that is killed does.
    """
    for memory in list(_MEMORIES):
        if in_order and memory.pid == os.getpid():
            memory.leave()
        memory.pid = 0  # what the interpreter still tears down leaves nothing


at_departure(_leave_all)
