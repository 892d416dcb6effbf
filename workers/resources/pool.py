"""A pool of resources (connections, licences, devices) with a limit that holds over all processes that have it.

    db = ResourcePool(connect, 4, close=Connection.close)
    with db.acquire(timeout=5) as connection:
        ...

A resource stays in the process that created it; its *place*, one of `limit`, is counted in memory that all share
(`workers.resources.slot_table`). Sent to other processes (as an argument, in a closure, by a fork), the pool is the same pool there.

Owner of the state: the desk of this process (`workers.resources.process_state`) has all of it; the user's functions run here, under no
lock. A resource's place is freed only when its `close` has returned, so that there are never more than `limit`.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace, TracebackType
from typing import Any, Literal, Self

from workers.resources.handles import CLOSED, NOTHING, Loan, ResourceSettings, ResourceStats, Waiter, mistake_in_limit
from workers.resources.process_state import Desk
from workers.resources.slot_table import Places
from workers.resources.wakeup_thread import Errand, Porter
from workers.sync.shared_file import SharedFile, reach


class ResourcePool:
    """Resources that are costly to make and limited in number, lent to threads of any number of processes.

    An idle resource of this process is used again; otherwise one is created, unless `limit` of them exist in all
    processes together; otherwise the caller waits, first come, first served, over all processes. An idle resource is
    closed for those who wait in other processes. The places of a process that ends, however it ends, are free again.

    Args:
        create: Makes a resource; called in the process and the thread that acquires it. It is pickled with the pool, as
            the other functions are.
        limit: How many resources may exist at once, at least 1.
        close: Called with each resource that is not needed any more. What it raises is reported, and otherwise ignored.
        check: Called with a resource before it is used again; if it raises, or returns something false other than None,
            the resource is closed and another one created in its place.
        idle_s: Seconds after which an idle resource is closed; None: never.
        on_error: What becomes of a resource in whose `with` block an exception was raised: "discard" (it may be in the
            middle of something) or "keep".

    A process that is killed closes nothing: its resources are left to what happens when their owner dies.
    """

    settings_error: type[Exception] = ValueError
    closed_error: type[Exception] = RuntimeError
    timeout_error: type[Exception] = TimeoutError

    def __init__(
        self,
        create: Callable[[], Any],
        limit: int,
        *,
        close: Callable[[Any], object] | None = None,
        check: Callable[[Any], object] | None = None,
        idle_s: float | None = None,
        on_error: Literal["discard", "keep"] = "discard",
    ) -> None:
        settings = ResourceSettings(create, close, check, idle_s, on_error)
        if wrong := settings.mistake() or mistake_in_limit(limit):
            raise self.settings_error(wrong)
        self._settle(Places.create(limit), settings)

    def _settle(self, places: Places, settings: ResourceSettings) -> None:
        self._settings = settings
        self._desk = Desk(places, settings.idle_s)
        self._shared = False
        """Whether other processes may have the pool too."""
        self._porter: Porter | None = None
        _POOLS[places.file.token] = self

    # -- what users call -----------------------------------------------------------------------------------------

    def acquire(self, timeout: float | None = None) -> Loan:
        """Return the loan of a resource; `with pool.acquire() as resource:` gives it back at the end of the block.

        Args:
            timeout: Seconds to wait for a place; 0: not at all; None: for ever. It does not limit `create` itself.

        Raises:
            TimeoutError: There was no place in time.
            RuntimeError: The pool is closed.
        """
        claim, resource = self._reserve(timeout)
        loan = None
        try:
            if resource is not NOTHING and not self._passes(resource):
                self._finish(resource)
                resource = NOTHING
            if resource is NOTHING:
                resource = self._settings.create()
                self._desk.count("created")
            loan = Loan(self, claim, resource)
            self._desk.lend(loan)
            return loan
        finally:
            if loan is None:  # `create` raised, or `check` something that is no `Exception`
                self._dispose(claim, resource)

    def release(self, resource: Any) -> None:
        """Give a resource back; the same as `Loan.release`, for those who have only the resource."""
        loan = resource if isinstance(resource, Loan) else self._desk.loan_of(resource)
        if loan is None:
            raise self.settings_error(f"{resource!r} is not out of this pool in this process")
        loan.release()

    def drain(self, timeout: float | None = None) -> None:
        """Let nobody in any more, and wait until all resources, of all processes, are back and closed.

        Who waits for one gets an error. Resources that are out may be used until they are given back.

        Args:
            timeout: Seconds; None: for ever. The pool is closed in any case.

        Raises:
            TimeoutError: Some are not back in time.
        """
        waiter = self._desk.wait_for_end()
        self._have_porter()
        try:
            self.close()
            waiter.wait(timeout)
        finally:
            late = self._desk.unqueue(waiter)
            self._let_porter_go()
        if late:
            raise self.timeout_error(f"not all resources were given back within {timeout:g} s: {self._who()}")

    def close(self) -> None:
        """Close the pool for all processes: nobody gets a resource any more, and those who wait get an error.

        Idle resources are closed at once (in other processes by their own thread); those that are out, when they are
        given back, which nobody waits for here (`drain` does).
        """
        self._desk.close()
        self._clear(deaths=False)
        if self._porter is None:
            with self._desk.settled() as places:
                self._ended(places)
        self._let_porter_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    @property
    def limit(self) -> int:
        """How many resources may exist at once, in all processes together."""
        return self._desk.places.limit

    @property
    def closed(self) -> bool:
        """Whether it was closed, here or in another process."""
        return self._desk.places.closed

    def stats(self) -> ResourceStats:
        """Return what there is now, and what was done so far in this process."""
        return self._desk.stats()

    # -- lending -------------------------------------------------------------------------------------------------

    def _reserve(self, timeout: float | None) -> tuple[int, Any]:
        """Return a claim to a place, and an idle resource in it, or `NOTHING`."""
        self._refuse_if_closed()
        self._have_porter()
        reserved = self._desk.reserve(may_wait=timeout is None or timeout > 0)
        if isinstance(reserved, tuple):
            return reserved
        if reserved is not None:
            self._wait(reserved, timeout)
            if reserved.outcome is not CLOSED:
                return reserved.claim, reserved.outcome
            self._refuse_if_closed()
        raise self.timeout_error(f"no resource became free within {timeout:g} s: {self._who()}")

    def _wait(self, waiter: Waiter, timeout: float | None) -> None:
        try:
            in_time = waiter.wait(timeout)
        except BaseException:  # Ctrl-C, say: the turn goes to the next one
            if not self._desk.unqueue(waiter) and waiter.outcome is not CLOSED:
                self._take_in(waiter.claim, waiter.outcome)
            raise
        if not in_time and self._desk.unqueue(waiter):
            raise self.timeout_error(f"no resource became free within {timeout:g} s: {self._who()}")

    def _refuse_if_closed(self) -> None:
        if self.closed:
            raise self.closed_error("the resource pool is closed, here or in another process; make a new one")

    def _who(self) -> str:
        """Tell who has places: "2 of 3 are taken (1 by this process, 1 by process 4121), and 5 wait"."""
        with self._desk.settled() as places:
            holders, waiting = places.holders(), places.waiting()
        names = {os.getpid(): "this process", 0: "a process out of sight"}
        told = ", ".join(f"{count} by {names.get(pid, f'process {pid}')}" for pid, count in holders.items())
        return f"{holders.total()} of {self.limit} are taken ({told or 'nobody'}), and {waiting} wait"

    def _passes(self, resource: Any) -> bool:
        """Whether an idle resource is still good."""
        if self._settings.check is not None:
            try:
                verdict = self._settings.check(resource)
            except Exception:
                return False
            if verdict is not None and not verdict:
                return False
        self._desk.count("reused")
        return True

    def take_back(self, loan: Loan, *, sound: bool) -> None:
        """Take back what a loan had; called by `Loan.release`."""
        if sound:
            self._take_in(loan.claim, loan.resource)
        else:
            self._dispose(loan.claim, loan.resource)

    def keeps_after(self, error: BaseException) -> bool:
        """Whether a resource is kept whose user raised this; called by the loan."""
        return self._settings.on_error == "keep" or isinstance(error, GeneratorExit)

    def _take_in(self, claim: int, resource: Any) -> None:
        if resource is NOTHING or not self._desk.take_in(claim, resource):
            self._dispose(claim, resource)

    def _dispose(self, claim: int, resource: Any) -> None:
        if resource is not NOTHING:
            self._finish(resource)
        self._desk.free(claim)

    def _finish(self, resource: Any) -> None:
        """Close a resource, whatever its `close` does."""
        self._desk.count("discarded")
        if self._settings.close is None:
            return
        try:
            self._settings.close(resource)
        except Exception as error:
            what = f"Exception ignored while a resource was closed by {self._settings.close!r}, of"
            sys.unraisablehook(
                SimpleNamespace(
                    exc_type=type(error), exc_value=error, exc_traceback=error.__traceback__, err_msg=what, object=self
                )
            )

    # -- the porter ----------------------------------------------------------------------------------------------

    def _have_porter(self) -> None:
        """Start the porter if there may be something for it to do."""
        if self._porter is None and (self._shared or self._settings.idle_s is not None):
            with self._desk.settled() as places:
                if self._porter is None:
                    self._porter = Porter(self, places)

    def _let_porter_go(self) -> None:
        """Wait for the porter's end if nothing keeps it, in a pool that is closed."""
        porter = self._porter
        if porter is not None and not self._desk.busy:
            self._desk.places.wake()
            porter.join()

    def attend(self, *, deaths: bool) -> Errand | None:
        """Do what there is to do for this process, as its porter; None: nothing, for good."""
        self._clear(deaths=deaths)
        with self._desk.settled() as places:
            if self._ended(places):
                self._porter = None
                return None
            return Errand(places.watched(), self._desk.next_look_s())

    def _clear(self, *, deaths: bool) -> None:
        for idle in self._desk.hear(deaths=deaths):
            self._dispose(idle.claim, idle.resource)

    def _ended(self, places: Places) -> bool:
        """Leave for good if the pool is closed and nobody here needs it any more; under both locks."""
        if not places.closed or self._desk.busy or self._desk.idle:
            return False
        places.leave_all()
        places.shut()
        _KEPT.pop(places.file.token, None)
        return True

    # -- other processes -----------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        self._refuse_if_closed()
        self._share()
        return _rebuild, (type(self), self._desk.places.file.address(), self._settings)

    def _share(self) -> None:
        """Expect other processes to have the pool too."""
        self._shared = True
        if self._desk.idle or self._desk.busy:
            self._have_porter()

    def _forget(self) -> None:
        """Begin anew in a forked child, which has no right to what its parent holds, nor to close it."""
        _INHERITED.append(self._desk)
        if self._porter is not None:
            self._porter.forget()
        self._desk.places.forget()
        self._desk = Desk(self._desk.places, self._settings.idle_s)
        self._shared, self._porter = True, None

    def __del__(self) -> None:
        desk = getattr(self, "_desk", None)
        if desk is None or desk.pid != os.getpid() or sys.is_finalizing():
            return  # while the interpreter ends, its frozen threads may have the locks; the kernel frees the places
        with suppress(Exception):
            for idle in desk.idle:  # nobody else has the pool any more
                self._finish(idle.resource)
            with desk.places.settled():
                desk.places.leave_all()
            desk.places.wake()


_POOLS: weakref.WeakValueDictionary[bytes, ResourcePool] = weakref.WeakValueDictionary()
"""The pools of this process by their token: one object each, however often it is unpickled."""
_KEPT: dict[bytes, ResourcePool] = {}
"""Pools that came from other processes: they stay until they are closed, so that the next chunk finds what is idle."""
_INHERITED: list[object] = []
"""What forked children must not even finalize: a connection would take its leave, on its parent's line."""
_rebuilding = threading.Lock()


def _rebuild(cls: type[ResourcePool], address: Any, settings: ResourceSettings) -> ResourcePool:
    with _rebuilding:
        file = reach(SharedFile, address)
        pool = _POOLS.get(file.token)
        if pool is None:
            pool = cls.__new__(cls)
            pool._settle(Places(file), settings)  # noqa: SLF001 - its own class
            pool._shared = True  # noqa: SLF001
            for token in [token for token, kept in _KEPT.items() if kept.closed]:
                del _KEPT[token]
            _KEPT[file.token] = pool
    return pool


def _after_fork_in_parent() -> None:
    for pool in list(_POOLS.values()):
        pool._share()  # noqa: SLF001 - its own module


def _after_fork_in_child() -> None:
    global _rebuilding  # noqa: PLW0603 - the thread that may hold it does not exist here
    _rebuilding = threading.Lock()
    for pool in list(_POOLS.values()):
        pool._forget()  # noqa: SLF001


os.register_at_fork(after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
