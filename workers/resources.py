"""A pool of resources (connections, licences, devices) with a limit that holds over all processes that have it.

    db = ResourcePool(connect, 4, close=Connection.close)
    with db.acquire(timeout=5) as connection:
        ...

A resource stays in the process that created it; its *place*, one of `limit`, is counted in memory that all share
(`workers.places`). Sent to other processes (as an argument, in a closure, by a fork), the pool is the same pool there.

Owner of the state: `_idle`, `_waiters` and `_out` belong to this process, under `_lock`; the mutex of the places is
taken inside it, never the other way round. `create`, `check` and `close` run under neither. A resource's place is freed
only when its `close` has returned, so that there are never more than `limit` resources at any moment.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace, TracebackType
from typing import Any, Literal, Self

from workers.loans import CLOSED, NOTHING, Idle, Loan, ResourceSettings, ResourceStats, Waiter, mistake_in_limit
from workers.places import DRAINED, HELD, IDLE, WAITING, Places
from workers.porter import Errand, Porter
from workers.sharing import reach


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
        self._places, self._settings = places, settings
        self._shared = False
        """Whether other processes may have the pool too."""
        self._start()
        _POOLS[places.file.token] = self

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._idle: list[Idle] = []
        """The one that was given back last is at the end, and is taken first; so the others age."""
        self._waiters: dict[int, Waiter] = {}
        self._out: dict[int, Loan | None] = {}
        """By claim; None: its resource is being created, checked or closed."""
        self._porter: Porter | None = None
        self._timer_set = False
        self._done = dict.fromkeys(("created", "reused", "discarded", "timeouts"), 0)

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
            resource = self._made() if resource is NOTHING else resource
            loan = Loan(self, claim, resource)
            with self._lock:
                self._out[claim] = loan
            return loan
        finally:
            if loan is None:  # `create` raised, or `check` something that is no `Exception`
                if resource is not NOTHING:
                    self._finish(resource)
                self._free(claim)

    def release(self, resource: Any) -> None:
        """Give a resource back, or the loan of it; the same as `Loan.release`."""
        with self._lock:
            loans = [loan for loan in self._out.values() if loan and (loan is resource or loan.resource is resource)]
        if loans:
            loans[-1].release()
        elif not isinstance(resource, Loan):
            raise self.settings_error(f"{resource!r} is not out of this pool in this process")

    def drain(self, timeout: float | None = None) -> None:
        """Let nobody in any more, and wait until all resources, of all processes, are back and closed.

        Who waits for one gets an error. Resources that are out may be used until they are given back.

        Args:
            timeout: Seconds; None: for ever. The pool is closed in any case.

        Raises:
            TimeoutError: Some are not back in time.
        """
        self._have_porter()
        waiter = Waiter()
        with self._settled() as places:
            claim = places.queue_for_end()
            self._waiters[claim] = waiter
            places.bury()
        try:
            self.close()
            waiter.wait(timeout)
        finally:
            with self._settled() as places:
                late = self._waiters.pop(claim, None)
                holders = _told(places.holders())
                places.leave(claim)
            self._let_porter_go()
        if late:
            raise self.timeout_error(f"not all resources were given back within {timeout:g} s: {holders}")

    def close(self) -> None:
        """Close the pool for all processes: nobody gets a resource any more, and those who wait get an error.

        Idle resources are closed at once (in other processes by their own thread); those that are out, when they are
        given back, which nobody waits for here (`drain` does).
        """
        with self._settled() as places:
            if not places.closed:
                places.close()
        self._look_after(deaths=False)
        self._let_porter_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    @property
    def limit(self) -> int:
        """How many resources may exist at once, in all processes together."""
        return self._places.limit

    @property
    def closed(self) -> bool:
        """Whether it was closed, here or in another process."""
        return self._places.closed

    def stats(self) -> ResourceStats:
        """Return what there is now, and what was done so far in this process."""
        with self._settled() as places:
            return ResourceStats(
                limit=places.limit,
                in_use=len(self._out),
                idle=len(self._idle),
                waiting=len(self._waiters),
                taken_everywhere=places.taken(),
                waiting_everywhere=places.waiting(),
                **self._done,
            )

    # -- getting one ---------------------------------------------------------------------------------------------

    def _reserve(self, timeout: float | None) -> tuple[int, Any]:
        """Return a claim to a place and an idle resource in it, or `NOTHING`."""
        self._refuse_if_closed()
        self._have_porter()
        with self._settled() as places:
            if self._idle and not places.waiting():
                claim, resource, _ = self._idle.pop()
                places.mark(claim, HELD)
                self._out[claim] = None
                return claim, resource
            taken = None if places.closed else places.take()
            if taken is not None:
                self._out[taken] = None
                return taken, NOTHING
            refusal = self._no_place(timeout) if timeout is not None and timeout <= 0 else None
            if refusal is None and not places.closed:
                claim, waiter = places.queue(), Waiter()
                self._waiters[claim] = waiter
        self._refuse_if_closed()
        if refusal is not None:
            raise self.timeout_error(refusal)
        return claim, self._wait(claim, waiter, timeout)

    def _refuse_if_closed(self) -> None:
        if self._places.closed:
            raise self.closed_error("the resource pool is closed, here or in another process; make a new one")

    def _wait(self, claim: int, waiter: Waiter, timeout: float | None) -> Any:
        try:
            in_time = waiter.wait(timeout)
        except BaseException:  # Ctrl-C, say: the turn goes to the next one
            self._walk_away(claim, waiter)
            raise
        if not in_time:
            with self._settled():
                refusal = self._no_place(timeout) if self._unqueue(claim) else None
            if refusal is not None:
                raise self.timeout_error(refusal)
        if waiter.outcome is CLOSED:
            self._refuse_if_closed()
        return waiter.outcome

    def _unqueue(self, claim: int) -> bool:
        """Take a waiter out of the queue, unless its wait has ended a moment ago; under both locks."""
        if claim not in self._waiters:
            return False
        if self._places.state(claim) == HELD:  # from another process, and the porter has not come to tell it yet
            self._admit(claim, NOTHING)
            return False
        del self._waiters[claim]
        self._places.leave(claim)
        return True

    def _no_place(self, timeout: float | None) -> str:
        places = self._places
        self._done["timeouts"] += 1
        return (
            f"no resource became free within {timeout:g} s: {places.taken()} of {places.limit} are taken "
            f"({_told(places.holders())}), and {places.waiting()} wait"
        )

    def _walk_away(self, claim: int, waiter: Waiter) -> None:
        with self._settled():
            left = self._unqueue(claim)
        if not left and waiter.outcome is not CLOSED:
            self._take_in(claim, waiter.outcome, sound=True)

    def _admit(self, claim: int, outcome: Any) -> None:
        """End the wait of a thread of this process with a place; under both locks."""
        waiter = self._waiters.pop(claim, None)
        if waiter is not None:
            if self._places.state(claim) == HELD:
                self._out[claim] = None
            waiter.tell(outcome)

    def _passes(self, resource: Any) -> bool:
        """Whether an idle resource is still good."""
        if self._settings.check is not None:
            try:
                verdict = self._settings.check(resource)
            except Exception:
                return False
            if verdict is not None and not verdict:
                return False
        with self._lock:
            self._done["reused"] += 1
        return True

    def _made(self) -> Any:
        resource = self._settings.create()
        with self._lock:
            self._done["created"] += 1
        return resource

    # -- giving it back ------------------------------------------------------------------------------------------

    def take_back(self, loan: Loan, *, sound: bool) -> None:
        """Take back what a loan had; called by `Loan.release`."""
        self._take_in(loan.claim, loan.resource, sound=sound)

    def keeps_after(self, error: BaseException) -> bool:
        """Whether a resource is kept whose user raised this; called by the loan."""
        return self._settings.on_error == "keep" or isinstance(error, GeneratorExit)

    def _take_in(self, claim: int, resource: Any, *, sound: bool) -> None:
        """Hand a resource to the next one here, keep it, or close it for one who waits in another process."""
        if sound and resource is not NOTHING:
            with self._settled() as places:
                first = places.first()
                if not places.closed and first is None:
                    self._lay_down(claim, resource)
                    return
                if not places.closed and first in self._waiters:
                    del self._out[claim]
                    places.hand_on(claim, first)
                    self._admit(first, resource)
                    return
        if resource is not NOTHING:
            self._finish(resource)
        self._free(claim)

    def _lay_down(self, claim: int, resource: Any) -> None:
        self._places.mark(claim, IDLE)
        del self._out[claim]
        self._idle.append(Idle(claim, resource, time.monotonic()))
        if self._settings.idle_s is not None and not self._timer_set:
            self._places.wake()

    def _finish(self, resource: Any) -> None:
        """Close a resource, whatever its `close` does."""
        with self._lock:
            self._done["discarded"] += 1
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

    def _free(self, claim: int) -> None:
        with self._settled() as places:
            self._out.pop(claim, None)
            places.free(claim)
            if places.closed:
                places.wake()  # the porter goes when the last is back

    # -- the two locks, the porter -------------------------------------------------------------------------------

    @contextmanager
    def _settled(self) -> Iterator[Places]:
        """Hold both locks; those of this process who were given a place meanwhile are woken."""
        with self._lock, self._places.settled():
            yield self._places
            for claim in self._places.granted():
                self._admit(claim, NOTHING)

    def _have_porter(self) -> None:
        """Start the porter if there may be something for it to do."""
        if self._porter is None and (self._shared or self._settings.idle_s is not None):
            with self._settled():
                if self._porter is None:
                    self._porter = Porter(self, self._places)

    def _let_porter_go(self) -> None:
        """Wait for the porter's end if nothing keeps it."""
        with self._lock:
            porter = None if self._out or self._waiters else self._porter
        if porter is not None:
            self._places.wake()
            porter.join()

    def attend(self, *, deaths: bool) -> Errand | None:
        """Do what there is to do for this process, as its porter; None: nothing, for good."""
        errand = self._look_after(deaths=deaths)
        if errand is None:
            with self._settled() as places:
                if self._waiters:  # somebody waits for the end of a pool that was closed before
                    return Errand(places.watched(), None)
                self._porter = None
                places.shut()
        return errand

    def _look_after(self, *, deaths: bool) -> Errand | None:
        with self._settled() as places:
            if deaths:
                places.bury()
            for claim in [claim for claim in self._waiters if places.state(claim) in {HELD, DRAINED}]:
                self._admit(claim, NOTHING)
            if places.closed:
                self._turn_away()
            surplus = self._surplus()
        for idle in surplus:
            self._finish(idle.resource)
            self._free(idle.claim)
        with self._settled() as places:
            if places.closed and not (self._out or self._waiters or self._idle):
                places.leave_all()
                _KEPT.pop(places.file.token, None)
                return None
            self._timer_set = bool(self._idle) and self._settings.idle_s is not None
            if not self._timer_set or self._settings.idle_s is None:
                return Errand(places.watched(), None)
            return Errand(places.watched(), max(0.0, self._idle[0].since_s + self._settings.idle_s - time.monotonic()))

    def _turn_away(self) -> None:
        """End the wait of all, the pool being closed; those who wait for just that go on waiting."""
        places = self._places
        for claim in [claim for claim in self._waiters if places.state(claim) == WAITING]:
            places.leave(claim)
            self._admit(claim, CLOSED)

    def _surplus(self) -> list[Idle]:
        """Take out the idle resources that have to be closed: all, those that others wait for, those too long idle."""
        places, idle = self._places, self._idle
        while idle and not places.closed and (first := places.first()) in self._waiters:
            one = idle.pop()
            places.hand_on(one.claim, first)
            self._admit(first, one.resource)
        count = len(idle) if places.closed else min(len(idle), places.waiting())
        if self._settings.idle_s is not None:
            expired = time.monotonic() - self._settings.idle_s
            count = max(count, sum(one.since_s <= expired for one in idle))
        surplus, self._idle = idle[:count], idle[count:]
        for one in surplus:
            places.mark(one.claim, HELD)
            self._out[one.claim] = None
        return surplus

    # -- other processes -----------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        self._refuse_if_closed()
        self._share()
        return _rebuild, (type(self), self._places.file.address(), self._settings)

    def _share(self) -> None:
        """Expect other processes to have the pool too."""
        self._shared = True
        if self._idle or self._out or self._waiters:
            self._have_porter()

    def _forget(self) -> None:
        """Begin anew in a forked child, which has no right to what its parent holds, nor to close it."""
        _INHERITED.append((self._idle, self._out))
        if self._porter is not None:
            self._porter.forget()
        self._places.forget()
        self._shared = True
        self._start()

    def __del__(self) -> None:
        places = getattr(self, "_places", None)
        if places is None or self._pid != os.getpid() or sys.is_finalizing():
            return  # while the interpreter ends, its frozen threads may have the locks; the kernel frees the places
        with suppress(Exception):
            for idle in self._idle:  # nobody else has the pool any more, so there is nothing to lock
                self._finish(idle.resource)
            with places.settled():
                places.leave_all()
            places.wake()


_POOLS: weakref.WeakValueDictionary[bytes, ResourcePool] = weakref.WeakValueDictionary()
"""The pools of this process by their token: one object each, however often it is unpickled."""
_KEPT: dict[bytes, ResourcePool] = {}
"""Pools that came from other processes: they stay until they are closed, so that the next chunk finds what is idle."""
_INHERITED: list[object] = []
"""What forked children must not even finalize: a connection would take its leave, on its parent's line."""
_rebuilding = threading.Lock()


def _rebuild(cls: type[ResourcePool], address: Any, settings: ResourceSettings) -> ResourcePool:
    with _rebuilding:
        file = reach(address)
        pool = _POOLS.get(file.token)
        if pool is None:
            pool = cls.__new__(cls)
            pool._settle(Places(file), settings)  # noqa: SLF001 - its own class
            pool._shared = True  # noqa: SLF001
            for token in [token for token, kept in _KEPT.items() if kept.closed]:
                del _KEPT[token]
            _KEPT[file.token] = pool
    return pool


def _told(holders: dict[int, int]) -> str:
    """Tell who has places: "2 by this process, 1 by process 4121"."""
    names = {os.getpid(): "this process", 0: "a process out of sight"}
    return ", ".join(f"{count} by {names.get(pid, f'process {pid}')}" for pid, count in holders.items())


def _after_fork_in_parent() -> None:
    for pool in list(_POOLS.values()):
        pool._share()  # noqa: SLF001 - its own module


def _after_fork_in_child() -> None:
    global _rebuilding  # noqa: PLW0603 - the thread that may hold it does not exist here
    _rebuilding = threading.Lock()
    for pool in list(_POOLS.values()):
        pool._forget()  # noqa: SLF001


os.register_at_fork(after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
