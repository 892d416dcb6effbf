"""Tiny hostile objects: each ends, or fails, the process that touches it in a certain way.

A trap with a marker springs once only, in whichever process comes first: the file is made by the one that springs it.

Workers load this module, so it imports little.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import workers

_LARGE_BYTES = 200_000


def _by_signal(number: int) -> None:
    faulthandler.disable()
    os.kill(os.getpid(), number)
    while True:  # a signal that is on its way
        time.sleep(1)


def _raise() -> None:
    raise ValueError("the trap")


HOW: dict[str, Callable[[], object]] = {
    "SIGKILL": lambda: _by_signal(signal.SIGKILL),
    "SIGSEGV": lambda: _by_signal(signal.SIGSEGV),
    "os._exit(0)": lambda: os._exit(0),
    "os._exit(3)": lambda: os._exit(3),
    "sys.exit": lambda: sys.exit(5),
    "raise": _raise,
}
DEADLY = ("SIGKILL", "SIGSEGV", "os._exit(0)", "os._exit(3)")
"""Those that take the process down; the others are exceptions."""


@dataclass(frozen=True)
class Trap:
    """Springs as `HOW` says; only once if it has a marker."""

    how: str
    marker: str | None = None

    def spring(self) -> None:
        if self.marker is not None:
            try:
                os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
        HOW[self.how]()


def _sprung(trap: Trap, value: Any) -> Any:
    trap.spring()
    return value


@dataclass(frozen=True)
class WhenLoaded:
    """Pickles well; the trap springs where it is unpickled, and `value` is what comes out if it doesn't."""

    trap: Trap
    value: Any

    def __reduce__(self) -> Any:
        return _sprung, (self.trap, self.value)

    def __call__(self, *args: Any) -> Any:
        return self.value(*args)


@dataclass(frozen=True)
class WhenPickled:
    """The trap springs where it is pickled; `value` is what arrives if it doesn't."""

    trap: Trap
    value: Any

    def __reduce__(self) -> Any:
        self.trap.spring()
        return _same, (self.value,)


def _same(value: Any) -> Any:
    return value


class ErrorWhenPickled(Exception):  # noqa: N818
    """An exception that springs the trap where it is pickled."""

    def __init__(self, trap: Trap) -> None:
        super().__init__("an exception with a trap")
        self.trap = trap

    def __reduce__(self) -> Any:
        self.trap.spring()
        return RuntimeError, ("an exception whose trap was harmless",)


def tear_the_next_write(trap: Trap, *, whole: bool = False) -> None:
    """Have this worker spring the trap in the middle of the next large write to its lane, or right behind it.

    If in the middle, half of the frame is written by then.
    """
    from workers.transport import lane

    class TornOs:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        @staticmethod
        def write(fd: int, data: Any) -> int:
            if len(data) < _LARGE_BYTES:
                return os.write(fd, data)
            size = len(data) if whole else len(data) // 2
            left = memoryview(data)[:size]
            while left:
                left = left[os.write(fd, left) :]
            trap.spring()
            return size

    lane.os = TornOs()  # type: ignore[assignment]


def tear_the_next_placing(trap: Trap) -> None:
    """Have this worker spring the trap when a payload of its was copied into shared memory, and not yet told of."""
    from workers.transport.arena import Arena

    place = Arena.place

    def placed(self: Arena, data: memoryview) -> Any:
        extent = place(self, data)
        trap.spring()
        return extent

    Arena.place = placed  # type: ignore[method-assign]


def spring_beside(trap: Trap, gate: str) -> None:
    """Spring the trap in a thread once a file has appeared: while the worker is at whatever it is at then."""

    def wait() -> None:
        while not os.path.exists(gate):
            time.sleep(0.002)
        trap.spring()

    threading.Thread(target=wait, daemon=True).start()


# ---- functions of a map -------------------------------------------------------------------------------------------


def same(x):
    return x


def with_trap(use, traps, n):
    trap = traps.get(n)
    return n if trap is None else use(trap, n)


def running(trap, n):
    trap.spring()
    return n


def raising(trap, n):
    raise ErrorWhenPickled(trap)


def writing(trap, n):
    tear_the_next_write(trap)
    return Large(n)


def having_written(trap, n):
    tear_the_next_write(trap, whole=True)
    return Large(n)


def placing(trap, n):
    tear_the_next_placing(trap)
    return Large(n)


class Large:
    """Equal to a number, and so large that it takes several reads; three fill a pipe."""

    def __init__(self, n):
        self.n, self.weight = n, bytes(3 * _LARGE_BYTES if n % 2 else _LARGE_BYTES)

    def __eq__(self, other):
        return self.n == other

    __hash__ = None


def holding(traps, array):
    n = int(array[0])
    return with_trap(running, traps, n)


def in_step(trap):
    worker = workers.current()
    worker.barrier.wait()
    if worker.id == 1:
        trap.spring()
    worker.barrier.wait()
    return worker.id
