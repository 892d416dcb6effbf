"""What a resource pool deals in: resources that are out, those that lie idle, and those who wait."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, NamedTuple, NoReturn, Protocol

_LARGEST_LIMIT = 1 << 20


class ResourceSettings(NamedTuple):
    """The settings of a resource pool, as `ResourcePool` tells them."""

    create: Callable[[], Any]
    close: Callable[[Any], object] | None
    check: Callable[[Any], object] | None
    idle_s: float | None
    on_error: Literal["discard", "keep"]

    def mistake(self) -> str | None:
        """Tell what is wrong, if anything is."""
        for name in ("create", "close", "check"):
            function = getattr(self, name)
            if not callable(function) and (function is not None or name == "create"):
                return f"{name} must be a function, and is {function!r}"
        if self.idle_s is not None and not (isinstance(self.idle_s, int | float) and self.idle_s >= 0):
            return f"idle_s must be a number of seconds from 0 on, or None, and is {self.idle_s!r}"
        if self.on_error not in {"discard", "keep"}:
            return f'on_error must be "discard" or "keep", and is {self.on_error!r}'
        return None


def mistake_in_limit(limit: object) -> str | None:
    """Tell what is wrong with a limit, if anything is."""
    if isinstance(limit, int) and not isinstance(limit, bool) and 1 <= limit <= _LARGEST_LIMIT:
        return None
    return f"limit must be a whole number from 1 to {_LARGEST_LIMIT:,}, and is {limit!r}"


class Lender(Protocol):
    """What a loan knows of its pool."""

    def take_back(self, loan: Loan, *, sound: bool) -> None:
        """Take the resource back; one that is not sound is closed."""

    def keeps_after(self, error: BaseException) -> bool:
        """Whether a resource is kept whose user raised this."""


class Loan:
    """A resource that one user has until `release`, or until the end of the `with` block, which gives the resource."""

    __slots__ = ("_lender", "_pid", "claim", "resource")

    def __init__(self, lender: Lender, claim: int, resource: Any) -> None:
        self._lender: Lender | None = lender
        self._pid = os.getpid()
        self.claim = claim
        self.resource = resource

    def release(self, *, discard: bool = False) -> None:
        """Give the resource back, to be reused, or to be closed if `discard`; a second time does nothing."""
        lender, self._lender = self._lender, None
        if lender is not None and self._pid == os.getpid():  # a forked child has the object, and no right to it
            lender.take_back(self, sound=not discard)

    def __enter__(self) -> Any:
        return self.resource

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self.release(discard=error is not None and self._lender is not None and not self._lender.keeps_after(error))

    def __reduce__(self) -> NoReturn:
        msg = "a resource that is out can't go to another process; send the pool, and acquire there"
        raise TypeError(msg)


class Idle(NamedTuple):
    """A resource that lies ready, with its place."""

    claim: int
    resource: Any
    since_s: float
    """When it was given back, on the monotonic clock."""


NOTHING: Any = object()
"""In the place of a resource: there is none yet, only the place for one."""
CLOSED: Any = object()
"""In the place of a resource: the pool was closed."""


class Waiter:
    """A thread that waits for its turn; `outcome` is a resource, `NOTHING` or `CLOSED`."""

    __slots__ = ("_bolt", "claim", "outcome")

    def __init__(self, claim: int) -> None:
        self.claim = claim
        self._bolt = threading.Lock()
        self._bolt.acquire()
        self.outcome = NOTHING

    def wait(self, timeout_s: float | None) -> bool:
        """Wait to be told; whether it came in time."""
        return self._bolt.acquire(timeout=-1 if timeout_s is None else min(max(timeout_s, 0), threading.TIMEOUT_MAX))

    def tell(self, outcome: Any) -> None:
        """End the wait; called once, by whoever takes this waiter out of the list of those who wait."""
        self.outcome = outcome
        self._bolt.release()


@dataclass(frozen=True, slots=True)
class ResourceStats:
    """What a resource pool holds at one moment, and what it has done so far in this process."""

    limit: int
    in_use: int
    """Resources that are out, in this process."""
    idle: int
    """Resources that lie ready, in this process."""
    waiting: int
    """Threads that wait, in this process."""
    taken_everywhere: int
    """Places that are taken, over all processes."""
    waiting_everywhere: int
    created: int
    reused: int
    discarded: int
    """Resources closed, for whatever reason."""
    timeouts: int
