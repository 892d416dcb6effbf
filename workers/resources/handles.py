"""Handles of resources in use, idle resources, waiters, settings and statistics of a resource pool."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, NamedTuple, NoReturn, Protocol

from workers.errors.describe import describe
from workers.errors.nearest import did_you_mean

_LARGEST_LIMIT = 1 << 20


class ResourceSettings(NamedTuple):
    """The settings of a resource pool, as `ResourcePool` describes them."""

    create: Callable[[], Any]
    close: Callable[[Any], object] | None
    check: Callable[[Any], object] | None
    idle_s: float | None
    on_error: Literal["discard", "keep"]

    def mistake(self) -> str | None:
        """Describe the first invalid setting, or return None."""
        for name in ("create", "close", "check"):
            function = getattr(self, name)
            if not callable(function) and (function is not None or name == "create"):
                return f"{name} must be a function, not {describe(function)}"
        if self.idle_s is not None and not (isinstance(self.idle_s, int | float) and self.idle_s >= 0):
            return f"idle_s must be a number of seconds (0 or more) or None, not {describe(self.idle_s)}"
        if not isinstance(self.on_error, str) or self.on_error not in {"discard", "keep"}:
            hint = did_you_mean(self.on_error, ("discard", "keep"))
            return f'on_error must be "discard" or "keep", not {describe(self.on_error)}{hint}'
        return None


def mistake_in_limit(limit: object) -> str | None:
    """Describe what is wrong with a limit, or return None."""
    if isinstance(limit, int) and not isinstance(limit, bool) and 1 <= limit <= _LARGEST_LIMIT:
        return None
    return f"limit must be a whole number from 1 to {_LARGEST_LIMIT:,}, not {describe(limit)}"


class HandleOwner(Protocol):
    """The pool's interface for a handle."""

    def take_back(self, handle: Handle, *, sound: bool) -> None:
        """Take the resource back, and close it unless it is sound."""

    def keeps_after(self, error: BaseException) -> bool:
        """Return whether a resource is kept after its user raised this error."""


class Handle:
    """A resource in use, until `release` or the end of the `with` block.

    The block's target is the resource itself.
    """

    __slots__ = ("_owner", "_pid", "claim", "resource")

    def __init__(self, owner: HandleOwner, claim: int, resource: Any) -> None:
        self._owner: HandleOwner | None = owner
        self._pid = os.getpid()
        self.claim = claim
        self.resource = resource

    def release(self, *, discard: bool = False) -> None:
        """Return the resource to the pool, or close it if `discard`.

        A second call does nothing.
        """
        owner, self._owner = self._owner, None
        if owner is not None and self._pid == os.getpid():  # a forked child inherits the object but must not use it
            owner.take_back(self, sound=not discard)

    def __enter__(self) -> Any:
        return self.resource

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self.release(discard=error is not None and self._owner is not None and not self._owner.keeps_after(error))

    def __reduce__(self) -> NoReturn:
        msg = "a resource in use can't be sent to another process; send the pool and acquire there"
        raise TypeError(msg)


class Idle(NamedTuple):
    """A resource that is ready for use, with the claim of its slot."""

    claim: int
    resource: Any
    since_s: float
    """When it was returned, in seconds of the monotonic clock."""


NOTHING: Any = object()
"""Stands for a resource that does not exist yet: there is only a slot for it."""
CLOSED: Any = object()
"""Stands for a resource that will not come: the pool was closed."""


class Waiter:
    """A thread that waits for its turn.

    `outcome` is a resource, `NOTHING` or `CLOSED`.
    """

    __slots__ = ("_lock", "claim", "outcome")

    def __init__(self, claim: int) -> None:
        self.claim = claim
        self._lock = threading.Lock()
        self._lock.acquire()
        self.outcome = NOTHING

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for the outcome, and return whether it came in time."""
        return self._lock.acquire(timeout=-1 if timeout_s is None else min(max(timeout_s, 0), threading.TIMEOUT_MAX))

    def tell(self, outcome: Any) -> None:
        """End the wait.

        Called once, by whoever removes this waiter from the list of waiters.
        """
        self.outcome = outcome
        self._lock.release()


@dataclass(frozen=True, slots=True)
class ResourceStats:
    """The statistics of a resource pool in this process."""

    limit: int
    in_use: int
    """Resources in use in this process."""
    idle: int
    """Idle resources of this process."""
    waiting: int
    """Waiting threads of this process."""
    taken_everywhere: int
    """SlotTable that are taken, over all processes."""
    waiting_everywhere: int
    created: int
    reused: int
    discarded: int
    """Resources closed, for whatever reason."""
    timeouts: int
