"""A barrier in shared memory that outlives the death of a party; `BARRIER.md` beside this file argues why it is right.

The memory is an anonymous file. Who owns a byte of it alternates: a slot that waits belongs to whoever holds the
mutex, in every other state to the process that claimed it. To arrive takes no mutex; to release or
break does. The mutex and the sign of life of each slot are POSIX record locks on the same file: the kernel takes them
from a process that ends, however it ends.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import struct
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import context, process, reduction, util
from typing import Any, NoReturn

from workers.arena import create_fd

CAPACITY = 4096
LOOK_S = 0.05
"""How long a waiter sleeps before it looks whether a party has died."""

GENERATION, MODE, PARTIES, HIGH, CULPRIT, EPOCH = range(6)  # words of the header
FILLING, ACTING, RELEASING, BROKEN = range(4)  # values of MODE
FREE, IDLE, WAITING, RELEASED, REFUSED = range(5)  # states of a slot, a byte each
_FREE, _WAITING = bytes([FREE]), bytes([WAITING])
_TOKEN_AT, _TOKEN_BYTES = 32, 16
_STATES_AT = 64
_INDEXES_AT = _STATES_AT + CAPACITY
_PIDS_AT = _INDEXES_AT + 4 * CAPACITY
_BYTES = _PIDS_AT + 4 * CAPACITY
_MUTEX_AT, _LIFE_AT = 0, 1  # which bytes of the file the record locks are on; a lock touches no content
_FLOCK = struct.Struct("hhqqi0q")
_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}.get(platform.machine()) if sys.platform == "linux" else None
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


class _Memory:
    """What all parties of one process share: the mapping, the slots that it claimed, its half of the mutex."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.bytes = mmap.mmap(fd, _BYTES)
        self._base = memoryview(self.bytes)
        self.words = self._base[:_TOKEN_AT].cast("I")
        self.indexes = self._base[_INDEXES_AT:_PIDS_AT].cast("I")
        self.pids = self._base[_PIDS_AT:_BYTES].cast("I")
        self._bell = ctypes.c_uint32.from_buffer(self.bytes, 4 * GENERATION)
        self._bell_at = ctypes.addressof(self._bell)
        self.token = self.bytes[_TOKEN_AT : _TOKEN_AT + _TOKEN_BYTES]
        self._spare_fds: list[int] = []
        self._forget()
        _MEMORIES[self.token] = self

    def _forget(self) -> None:
        """Begin as a process that has claimed nothing: at first, and in a forked child."""
        self.pid = os.getpid()
        self.mine: list[int] = []
        self.idle: list[int] = []
        self._threads = threading.Lock()
        self._fence = threading.Lock()

    def keep(self, fd: int) -> None:
        """Hold a second descriptor open: closing any would drop every record lock of this process."""
        self._spare_fds.append(fd)

    def __del__(self) -> None:
        if self.pid == os.getpid():
            self.leave()
        for fd in (self.fd, *self._spare_fds):
            with suppress(OSError):
                os.close(fd)

    @contextmanager
    def mutex(self) -> Iterator[None]:
        """Exclude all other threads and processes for a few microseconds; the kernel frees it on death."""
        with self._threads:
            while True:
                try:
                    fcntl.lockf(self.fd, fcntl.LOCK_EX, 1, _MUTEX_AT)
                    break
                except OSError as error:
                    # The kernel counts processes, not threads: two barriers may look like a deadlock to it.
                    if error.errno != errno.EDEADLK:
                        raise
                    time.sleep(0.001)
            try:
                yield
            finally:
                fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, _MUTEX_AT)

    def fence(self) -> None:
        """Make what was written visible before anything is read: an atomic instruction, by way of a lock."""
        if self._fence.acquire(blocking=False):
            self._fence.release()

    def claim(self) -> int:
        """Claim a slot for this process; under the mutex."""
        slot = self.bytes.find(_FREE, _STATES_AT, _INDEXES_AT) - _STATES_AT
        if slot < 0:
            msg = f"more than {CAPACITY} parties have arrived at this barrier"
            raise OverflowError(msg)
        fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _LIFE_AT + slot)
        self.pids[slot] = self.pid
        self.words[HIGH] = max(self.words[HIGH], slot + 1)
        self.bytes[_STATES_AT + slot] = IDLE
        self.mine.append(slot)
        return slot

    def leave(self) -> None:
        """Give all slots back: this process is no party any more, and its end breaks nothing."""
        for slot in self.mine:
            self.bytes[_STATES_AT + slot] = FREE
            fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, _LIFE_AT + slot)
        self.mine, self.idle = [], []

    def state(self, slot: int) -> int:
        """Return the state of a slot."""
        return self.bytes[_STATES_AT + slot]

    def waiting(self) -> int:
        """Count the slots that wait."""
        return self.bytes[_STATES_AT : _STATES_AT + self.words[HIGH]].count(_WAITING)

    def who_waits(self, limit: int) -> list[int]:
        """Return the slots that wait, at most so many."""
        content, end = self.bytes, _STATES_AT + self.words[HIGH]
        found: list[int] = []
        at = content.find(_WAITING, _STATES_AT, end)
        while at >= 0 and len(found) < limit:
            found.append(at - _STATES_AT)
            at = content.find(_WAITING, at + 1, end)
        return found

    def tell(self, slots: list[int], verdict: int) -> None:
        """Give each slot its verdict, and only then ring: the order that no wake-up is lost by; under the mutex."""
        for index, slot in enumerate(slots):
            self.indexes[slot] = index
            self.bytes[_STATES_AT + slot] = verdict
        self.ring()

    def ring(self) -> None:
        """Advance the generation and wake all that sleep on the old one."""
        self.words[GENERATION] = (self.words[GENERATION] + 1) & 0xFFFFFFFF
        if _FUTEX:
            _syscall(_FUTEX, self._bell_at, _FUTEX_WAKE, _EVERYBODY, None, None, 0)

    def sleep(self, generation: int, timeout_s: float) -> None:
        """Sleep until the generation is another one, at most so long; may wake for nothing."""
        if _FUTEX:
            span = _LOOK_SPAN if timeout_s == LOOK_S else _span(timeout_s)
            _syscall(_FUTEX, self._bell_at, _FUTEX_WAIT, generation, span, None, 0)
        elif self.words[GENERATION] == generation:  # no futex here: at least give way
            time.sleep(min(timeout_s, 0.001))

    def dead(self) -> list[int]:
        """Return the slots whose process ended without leaving; under the mutex."""
        return [slot for slot in range(self.words[HIGH]) if self._is_dead(slot)]

    def _is_dead(self, slot: int) -> bool:
        if self.state(slot) == FREE or slot in self.mine:
            return False
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _LIFE_AT + slot, 1, 0)
        answer: tuple[int, ...] = _FLOCK.unpack(fcntl.fcntl(self.fd, fcntl.F_GETLK, asked))
        return answer[0] == fcntl.F_UNLCK and self.state(slot) != FREE


_MEMORIES: weakref.WeakValueDictionary[bytes, _Memory] = weakref.WeakValueDictionary()


def _forget_all() -> None:
    for memory in list(_MEMORIES.values()):
        memory._forget()  # noqa: SLF001 - its own module


os.register_at_fork(after_in_child=_forget_all)


def _leave_all() -> None:
    """Leave at an orderly end; a process that ends by an exception counts as dead, as one that is killed does."""
    flying = sys.exc_info()[1] or getattr(sys, "last_value", None)
    in_order = not _failed and (flying is None or (isinstance(flying, SystemExit) and not flying.code))
    for memory in list(_MEMORIES.values()):
        if in_order and memory.pid == os.getpid():
            memory.leave()
        memory.pid = 0  # what the interpreter still tears down leaves nothing


_failed: list[BaseException] = []
"""What this process's `run` raised: since Python 3.13 it is no longer in flight when the exit functions run."""


def _watch_run(watched: Any) -> None:
    """Note what the `run` of a process object, or of the class in a spawned child, raises."""
    run = watched.run

    def noting(*self: Any) -> None:
        try:
            run(*self)
        except BaseException as error:
            if not isinstance(error, SystemExit) or error.code:
                _failed.append(error)
            raise

    watched.run = noting


def _watch_end() -> None:
    util.Finalize(None, _leave_all, exitpriority=0)


_watch_end()
util.register_after_fork(_watch_run, lambda _: _watch_run(process.current_process()))
if getattr(process.current_process(), "_inheriting", False):  # a spawned child, which has no process object yet
    _watch_run(process.BaseProcess)


def _create_memory(parties: int) -> _Memory:
    fd = create_fd("barrier")
    os.posix_fallocate(fd, 0, _BYTES)
    os.pwrite(fd, os.urandom(_TOKEN_BYTES), _TOKEN_AT)
    memory = _Memory(fd)
    memory.words[PARTIES] = parties
    return memory


def _attach(fd: int) -> _Memory:
    token = os.pread(fd, _TOKEN_BYTES, _TOKEN_AT)
    memory = _MEMORIES.get(token)
    if memory is None:
        return _Memory(fd)
    memory.keep(fd)
    return memory


def _borrow(pid: int, fd: int, token: bytes) -> _Memory:
    """Open the memory through the process that pickled the barrier."""
    memory = _MEMORIES.get(token)
    if memory is not None:
        return memory
    try:
        own = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        msg = f"the barrier can't be reached: process {pid}, which pickled it, has ended or dropped it"
        raise FileNotFoundError(error.errno, msg) from error
    if os.pread(own, _TOKEN_BYTES, _TOKEN_AT) != token:
        os.close(own)
        msg = f"the barrier can't be reached: process {pid} is not the one that pickled it, or has dropped it"
        raise FileNotFoundError(errno.ENOENT, msg)
    return _Memory(own)


def _rebuild(cls: type[Barrier], where: Any, action: Callable[[], object] | None, timeout: float | None) -> Barrier:
    memory = _borrow(*where) if isinstance(where, tuple) else _attach(where.detach())
    barrier = cls.__new__(cls)
    barrier._settle(memory, action, timeout)  # noqa: SLF001 - its own class
    barrier._join()  # noqa: SLF001
    return barrier


class Barrier:
    """The point that all parties must reach before any goes on; parties are threads of any number of processes.

    It is `threading.Barrier`, and `resize` beside it. A process is a party from when it first waits, or was given the
    barrier as an argument of a `multiprocessing.Process` or by unpickling, until it ends in order. If it ends
    otherwise, all that wait get a `BrokenBarrierError` that names it, within 100 ms.

    Args:
        parties: How many have to arrive, at least 1.
        action: Called by the last to arrive, in its process, before the others go on; it is pickled with the barrier.
        timeout: Seconds that `wait` waits by default; None: for ever.
    """

    broken_error: type[threading.BrokenBarrierError] = threading.BrokenBarrierError

    def __init__(
        self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
    ) -> None:
        _check(parties)
        self._settle(_create_memory(parties), action, timeout)

    def _settle(self, memory: _Memory, action: Callable[[], object] | None, timeout: float | None) -> None:
        self._memory, self._action, self._timeout = memory, action, timeout
        util.register_after_fork(self, Barrier._join_if_given)

    def _join_if_given(self) -> None:
        """In a child that `multiprocessing` forked: be a party if the barrier is among its arguments."""
        _watch_end()
        me: Any = process.current_process()
        given = (*getattr(me, "_args", ()), *getattr(me, "_kwargs", {}).values())
        if any(value is self for value in given):
            self._join()

    def _join(self) -> None:
        memory = self._memory
        with memory.mutex():
            if not memory.mine:
                memory.idle.append(memory.claim())

    def __reduce__(self) -> tuple[Any, ...]:
        memory = self._memory
        where: Any = (os.getpid(), memory.fd, memory.token)
        if context.get_spawning_popen() is not None:
            where = reduction.DupFd(memory.fd)
        return _rebuild, (type(self), where, self._action, self._timeout)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for all parties; return a number from 0 to parties - 1, another for each.

        Args:
            timeout: Seconds; when they are over, the barrier is broken for all. None: as the barrier was made with.

        Raises:
            BrokenBarrierError: A party died or timed out, the action raised, or somebody called `abort` or `reset`.
        """
        timeout = self._timeout if timeout is None else timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        memory = self._memory
        slot = self._slot()
        try:
            generation = memory.words[GENERATION]
            memory.bytes[_STATES_AT + slot] = WAITING
            memory.fence()
            if memory.words[MODE] == BROKEN or memory.waiting() >= memory.words[PARTIES]:
                self._lead()
            return self._verdict(slot, generation, deadline)
        finally:
            self._put_back(slot)

    def _slot(self) -> int:
        memory = self._memory
        try:
            return memory.idle.pop()
        except IndexError:
            with memory.mutex():
                return memory.claim()

    def _put_back(self, slot: int) -> None:
        memory = self._memory
        if memory.state(slot) == WAITING:  # an exception of a signal handler, say: nobody may count on this party
            self.abort()
        memory.bytes[_STATES_AT + slot] = IDLE
        memory.idle.append(slot)

    def _lead(self, *, shrunk: bool = False) -> None:
        """Release phases as long as one is complete: its members are chosen first, then the action runs."""
        memory = self._memory
        while True:
            with memory.mutex():
                chosen = self._choose(shrunk=shrunk)
                epoch = memory.words[EPOCH]
                if not chosen or self._action is None:
                    return
                memory.words[MODE] = ACTING
            try:
                self._action()
            except BaseException:
                with memory.mutex():
                    if memory.words[EPOCH] == epoch:
                        self._break()
                raise
            with memory.mutex():
                if memory.words[EPOCH] != epoch:  # reset or broken meanwhile: all have their verdict
                    return
                self._release(chosen)

    def _choose(self, *, shrunk: bool) -> list[int]:
        """Return who makes up the phase, if it is complete; without an action they are released; under the mutex."""
        memory = self._memory
        mode = memory.words[MODE]
        if mode == BROKEN:
            self._break()
        elif mode == RELEASING:  # whoever had the mutex died half way: who was left out must not be counted again
            dead = memory.dead()
            self._break(memory.pids[dead[0]] if dead else 0)
        while mode == FILLING:
            waiting, parties = memory.waiting(), memory.words[PARTIES]
            if waiting < parties:
                break
            chosen = memory.who_waits(waiting if shrunk else parties)
            if self._action is not None:
                return chosen
            self._release(chosen)
        return []

    def _release(self, chosen: list[int]) -> None:
        """Let the chosen go on; a death on the way leaves a mark that breaks the barrier; under the mutex."""
        memory = self._memory
        memory.words[MODE] = RELEASING
        memory.tell(chosen, RELEASED)
        memory.words[MODE] = FILLING

    def _verdict(self, slot: int, generation: int, deadline: float | None) -> int:
        memory, state_at = self._memory, _STATES_AT + slot
        while (state := memory.bytes[state_at]) == WAITING:
            span_s = LOOK_S if deadline is None else min(LOOK_S, deadline - time.monotonic())
            if span_s > 0:
                memory.sleep(generation, span_s)
            if memory.words[GENERATION] == generation:
                self._look(slot, deadline)
            generation = memory.words[GENERATION]
            memory.fence()  # the generation is read before the state, or a verdict in between would be slept through
        if state == REFUSED:
            self._refuse()
        return memory.indexes[slot]

    def _look(self, slot: int, deadline: float | None) -> None:
        """Nothing has happened for a while: break if somebody died or the time is over."""
        memory = self._memory
        with memory.mutex():
            if memory.state(slot) != WAITING:
                return
            dead = memory.dead()
            if dead:
                self._break(memory.pids[dead[0]])
            elif memory.words[MODE] == BROKEN or (deadline is not None and time.monotonic() >= deadline):
                self._break()

    def _refuse(self) -> NoReturn:
        memory = self._memory
        pid = memory.words[CULPRIT]
        if memory.words[MODE] == BROKEN and pid:
            msg = (
                f"the barrier is broken: a party, process {pid}, died before it arrived; "
                "often the out-of-memory killer. reset() makes the barrier usable again, without that process."
            )
        else:
            msg = "the barrier is broken: aborted, reset, timed out, or its action raised. reset() makes it usable."
        raise self.broken_error(msg)

    def _break(self, culprit: int = 0) -> None:
        """Refuse all that wait, and all that come; under the mutex."""
        memory = self._memory
        if memory.words[MODE] != BROKEN:
            memory.words[CULPRIT] = culprit
            memory.words[EPOCH] = (memory.words[EPOCH] + 1) & 0xFFFFFFFF
            memory.words[MODE] = BROKEN
        memory.fence()
        memory.tell(memory.who_waits(CAPACITY), REFUSED)

    def reset(self) -> None:
        """Make the barrier as new; those that wait get a `BrokenBarrierError`, and the dead are forgotten."""
        memory = self._memory
        with memory.mutex():
            self._break()
            for slot in memory.dead():
                memory.bytes[_STATES_AT + slot] = FREE
            memory.words[CULPRIT] = 0
            memory.words[MODE] = FILLING
        self._lead()

    def abort(self, culprit: int = 0) -> None:
        """Break the barrier: all waits, now and until `reset`, raise `BrokenBarrierError`.

        Args:
            culprit: The pid of a process that is known to have died: the error names it.
        """
        with self._memory.mutex():
            self._break(culprit)

    def resize(self, parties: int) -> None:
        """Change how many have to arrive, from this phase on.

        If so many wait already, they go on at once, all of them; the action is then run by the caller.
        """
        _check(parties)
        with self._memory.mutex():
            self._memory.words[PARTIES] = parties
        self._lead(shrunk=True)

    @property
    def parties(self) -> int:
        """How many have to arrive."""
        return self._memory.words[PARTIES]

    @property
    def n_waiting(self) -> int:
        """How many wait now."""
        return self._memory.waiting()

    @property
    def broken(self) -> bool:
        """Whether all waits raise, until `reset`."""
        return self._memory.words[MODE] == BROKEN


def _check(parties: int) -> None:
    if not 1 <= parties <= CAPACITY:
        msg = f"parties has to be from 1 to {CAPACITY}, not {parties}"
        raise ValueError(msg)
