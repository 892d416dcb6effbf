"""A limit of how often something happens, shared by processes.

    api = RateLimit(100, burst=10)
    with api:
        call()

When the next turn is due stands in memory that all its processes share (`pace.py`). It is read and moved on under the
mutex of the shared file, which the kernel releases when its holder ends. Nobody reserves a turn: whoever waits sleeps
until one may be taken, and looks again. So a process that is killed while it waits holds none that others would wait
for, and one that is killed under the mutex leaves one number, which is whole. The price: who waited longest is not
always first.
"""

from __future__ import annotations

import functools
import math
import os
import time
import weakref
from collections.abc import Callable
from typing import Any, Self

from workers.errors.describe import describe
from workers.resources.pace import Pace, is_rate
from workers.sync.shared_file import TOKEN_BYTES, SharedFile, reach

_LEAST_WAIT_S = 1e-5
"""A wait that rounding made shorter would find the turn not due."""
_MOST = (1 << 63) - 1


class RateLimit:
    """At most so many turns a second, in all threads and processes that have it together.

    It is sent to other processes as an argument, in a closure or by a fork, and is the same limit there.

    Args:
        per_second: How many turns there are in a second; 0.5 is one in two seconds.
        burst: How many turns that nobody took before may be taken at once; at least 1.
    """

    settings_error: type[Exception] = ValueError
    timeout_error: type[Exception] = TimeoutError
    clock: Callable[[], float] = staticmethod(time.monotonic)
    """Gives seconds that are the same in all processes of this machine."""
    sleep: Callable[[float], None] = staticmethod(time.sleep)

    def __init__(self, per_second: float, burst: int = 1) -> None:
        if not is_rate(per_second):
            raise self.settings_error(f"per_second must be a number greater than 0, not {describe(per_second)}")
        if not isinstance(burst, int) or isinstance(burst, bool) or not 1 <= burst <= _MOST:
            raise self.settings_error(f"burst must be a whole number of at least 1, not {describe(burst)}")
        self._settle(SharedFile.create("rate limit", TOKEN_BYTES + 8), per_second, burst)

    def _settle(self, file: SharedFile, per_second: float, burst: int) -> None:
        self.per_second = per_second
        self.burst = burst
        self._file = file
        _LIMITS.add(self)
        self._due_s = memoryview(file.bytes)[TOKEN_BYTES : TOKEN_BYTES + 8].cast("d")

    def acquire(self, timeout: float | None = None) -> None:
        """Take a turn, and wait for it if there is none.

        Args:
            timeout: Seconds to wait at most; 0: do not wait; None: no limit.

        Raises:
            TimeoutError: No turn came in time.
        """
        ends_s = math.inf if timeout is None else self.clock() + timeout
        while (wait_s := self._take()) > 0:
            if self.clock() + wait_s > ends_s:
                raise self.timeout_error(
                    f"no turn within {timeout:g} s: the limit is {self.per_second:g} a second, the next turn is due in "
                    f"{wait_s:.3g} s"
                )
            self.sleep(wait_s)

    def _take(self) -> float:
        """Take a turn and return 0, or return the seconds until the next one may be taken."""
        with self._file.mutex:
            pace = Pace(self.per_second, self.burst)
            pace.due_s = self._due_s[0]
            now_s = self.clock()
            if pace.take(1, now_s):
                self._due_s[0] = pace.due_s
                return 0.0
            return max(_LEAST_WAIT_S, pace.wait_s(now_s))

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: a turn that was taken is used."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._file.address(), self.per_second, self.burst)

    def __repr__(self) -> str:
        burst = f", burst={self.burst}" if self.burst > 1 else ""
        return f"{type(self).__name__}({self.per_second:g}{burst})"


def _rebuild(cls: type[RateLimit], address: Any, per_second: float, burst: int) -> RateLimit:
    limit = cls.__new__(cls)
    limit._settle(reach(SharedFile, address), per_second, burst)  # noqa: SLF001 - its own class
    return limit


_LIMITS: weakref.WeakSet[RateLimit] = weakref.WeakSet()
"""Those of this process."""


class Rated:
    """A function that waits for a turn before each call, in whatever process it is."""

    def __init__(self, function: Callable[..., Any], limit: RateLimit) -> None:
        functools.update_wrapper(self, function, updated=())
        self._function = function
        self._limit = limit

    def __call__(self, *args: Any) -> Any:
        """Wait, and call the function."""
        self._limit.acquire()
        return self._function(*args)


def _after_fork_in_child() -> None:
    for limit in list(_LIMITS):
        limit._file.forget()  # noqa: SLF001 - its own module


os.register_at_fork(after_in_child=_after_fork_in_child)
