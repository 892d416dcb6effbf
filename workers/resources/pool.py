"""A pool of resources (connections, licences, devices) whose limit holds across processes.

    db = ResourcePool(connect, 4, close=Connection.close)
    with db.acquire(timeout=5) as connection:
        ...

A resource stays in the process that created it. It occupies one of `limit` *slots*, which are counted in memory shared
by all processes (`slot_table`). A pool that is sent to another process (as an argument, in a closure, by a fork) is the
same pool there.

Owner of the state: `process_state`, for this process. The user's functions run here, under no lock. A slot is freed
only after `close` has returned, so there are never more than `limit` resources.
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

from workers.errors.describe import describe
from workers.resources.handles import CLOSED, NOTHING, Handle, ResourceSettings, ResourceStats, Waiter, mistake_in_limit
from workers.resources.process_state import ProcessState
from workers.resources.slot_table import SlotTable
from workers.resources.wakeup_thread import NextWait, WakeupThread
from workers.sync.shared_file import SharedFile, reach


class ResourcePool:
    """A limited number of expensive resources, shared by threads of any number of processes.

    `acquire` reuses an idle resource of this process, or creates one while fewer than `limit` exist in all processes
    together, or waits: first come, first served, over all processes. An idle resource is closed when another process
    waits for its slot. The slots of a process that ends, however it ends, become free.

    Args:
        create: Makes a resource; called in the acquiring process and thread. It is pickled with the pool, like the
            other functions.
        limit: How many resources may exist at once, at least 1.
        close: Called with each resource that is no longer needed. An exception is reported and otherwise ignored.
        check: Called before a resource is reused. If it raises, or returns something false other than None, the
            resource is closed and a new one is created.
        idle_s: Seconds after which an idle resource is closed; None: never.
        on_error: What to do with a resource whose `with` block raised: "discard" closes it, "keep" returns it.

    A process that is killed does not call `close`; the operating system cleans up what it can.
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
        self._settle(SlotTable.create(limit), settings)

    def _settle(self, slots: SlotTable, settings: ResourceSettings) -> None:
        self._settings = settings
        self._state = ProcessState(slots, settings.idle_s)
        self._shared = False
        """Whether other processes may have the pool too."""
        self._wakeup_thread: WakeupThread | None = None
        _POOLS[slots.file.token] = self

    # -- public -------------------------------------------------------------------------------------------------------

    def acquire(self, timeout: float | None = None) -> Handle:
        """Acquire a resource.

        `with pool.acquire() as resource:` returns it at the end of the block.

        Args:
            timeout: Seconds to wait for a slot; 0: do not wait; None: no limit. It does not limit `create` itself.

        Raises:
            TimeoutError: No slot became free in time.
            RuntimeError: The pool is closed.
        """
        claim, resource = self._reserve(timeout)
        handle = None
        try:
            if resource is not NOTHING and not self._passes(resource):
                self._finish(resource)
                resource = NOTHING
            if resource is NOTHING:
                resource = self._settings.create()
                self._state.count("created")
            handle = Handle(self, claim, resource)
            self._state.hand_out(handle)
            return handle
        finally:
            if handle is None:  # `create` raised, or `check` raised a BaseException
                self._discard(claim, resource)

    def release(self, resource: Any) -> None:
        """Return a resource to the pool, given the resource or its handle."""
        handle = resource if isinstance(resource, Handle) else self._state.handle_of(resource)
        if handle is None:
            raise self.settings_error(f"{describe(resource)} was not acquired from this pool in this process")
        handle.release()

    def drain(self, timeout: float | None = None) -> None:
        """Close the pool, and wait until all resources in all processes have been returned and closed.

        Waiters get an error. Resources in use may be used until they are released.

        Args:
            timeout: Seconds; None: no limit. The pool is closed in any case.

        Raises:
            TimeoutError: Some were not returned in time.
        """
        waiter = self._state.wait_for_end()
        self._start_wakeup_thread()
        try:
            self.close()
            waiter.wait(timeout)
        finally:
            late = self._state.unqueue(waiter)
            self._join_wakeup_thread()
        if late:
            raise self.timeout_error(f"not all resources were returned within {timeout:g} s: {self._who()}")

    def close(self) -> None:
        """Close the pool for all processes.

        Waiters get an error.

        Idle resources are closed at once (in other processes, by their wake-up thread). Resources in use are closed
        when they are released; `close` does not wait for that, `drain` does.
        """
        self._state.close()
        self._clear(deaths=False)
        if self._wakeup_thread is None:
            with self._state.locked() as slots:
                self._ended(slots)
        self._join_wakeup_thread()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    @property
    def limit(self) -> int:
        """How many resources may exist at once, in all processes together."""
        return self._state.slots.limit

    @property
    def closed(self) -> bool:
        """Whether the pool was closed, here or in another process."""
        return self._state.slots.closed

    def stats(self) -> ResourceStats:
        """Return the pool's state and counts in this process."""
        return self._state.stats()

    # -- acquire and release ------------------------------------------------------------------------------------------

    def _reserve(self, timeout: float | None) -> tuple[int, Any]:
        """Return a claim to a slot, and the idle resource in it or `NOTHING`."""
        self._refuse_if_closed()
        self._start_wakeup_thread()
        reserved = self._state.reserve(may_wait=timeout is None or timeout > 0)
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
            if not self._state.unqueue(waiter) and waiter.outcome is not CLOSED:
                self._take_in(waiter.claim, waiter.outcome)
            raise
        if not in_time and self._state.unqueue(waiter):
            raise self.timeout_error(f"no resource became free within {timeout:g} s: {self._who()}")

    def _refuse_if_closed(self) -> None:
        if self.closed:
            raise self.closed_error("the resource pool was closed, here or in another process; make a new one")

    def _who(self) -> str:
        """Describe who has slots, as in "2 of 3 are taken (1 by this process, 1 by process 4121)"."""
        with self._state.locked() as slots:
            holders, waiting = slots.holders(), slots.waiting()
        names = {os.getpid(): "this process", 0: "a process of another pid namespace"}
        told = ", ".join(f"{count} by {names.get(pid, f'process {pid}')}" for pid, count in holders.items())
        return f"{holders.total()} of {self.limit} are in use ({told or 'nobody'}); {waiting} waiting"

    def _passes(self, resource: Any) -> bool:
        """Return whether an idle resource passes `check`."""
        if self._settings.check is not None:
            try:
                verdict = self._settings.check(resource)
            except Exception:
                return False
            if verdict is not None and not verdict:
                return False
        self._state.count("reused")
        return True

    def take_back(self, handle: Handle, *, sound: bool) -> None:
        """Take a resource back.

        Called by `Handle.release`.
        """
        if sound:
            self._take_in(handle.claim, handle.resource)
        else:
            self._discard(handle.claim, handle.resource)

    def keeps_after(self, error: BaseException) -> bool:
        """Return whether a resource is kept after its user raised this error.

        Called by the handle.
        """
        return self._settings.on_error == "keep" or isinstance(error, GeneratorExit)

    def _take_in(self, claim: int, resource: Any) -> None:
        if resource is NOTHING or not self._state.take_in(claim, resource):
            self._discard(claim, resource)

    def _discard(self, claim: int, resource: Any) -> None:
        if resource is not NOTHING:
            self._finish(resource)
        self._state.free(claim)

    def _finish(self, resource: Any) -> None:
        """Close a resource, reporting what its `close` raises."""
        self._state.count("discarded")
        if self._settings.close is None:
            return
        try:
            self._settings.close(resource)
        except Exception as error:
            what = f"Exception ignored while a resource was closed by {describe(self._settings.close)}, of"
            sys.unraisablehook(
                SimpleNamespace(
                    exc_type=type(error), exc_value=error, exc_traceback=error.__traceback__, err_msg=what, object=self
                )
            )

    # -- the wake-up thread -------------------------------------------------------------------------------------------

    def _start_wakeup_thread(self) -> None:
        """Start the wake-up thread if other processes may have the pool, or idle resources expire."""
        if self._wakeup_thread is None and (self._shared or self._settings.idle_s is not None):
            with self._state.locked() as slots:
                if self._wakeup_thread is None:
                    self._wakeup_thread = WakeupThread(self, slots)

    def _join_wakeup_thread(self) -> None:
        """Wait for the wake-up thread's end, in a closed pool without users here."""
        wakeup_thread = self._wakeup_thread
        if wakeup_thread is not None and not self._state.busy:
            self._state.slots.wake()
            wakeup_thread.join()

    def serve(self, *, deaths: bool) -> NextWait | None:
        """Do what is due for this process.

        Called by its wake-up thread. None: the thread may end.
        """
        self._clear(deaths=deaths)
        with self._state.locked() as slots:
            if self._ended(slots):
                self._wakeup_thread = None
                return None
            return NextWait(slots.watched(), self._state.next_expiry_s())

    def _clear(self, *, deaths: bool) -> None:
        for idle in self._state.take_news(deaths=deaths):
            self._discard(idle.claim, idle.resource)

    def _ended(self, slots: SlotTable) -> bool:
        """Leave the shared table if the pool is closed and unused here.

        Call it under both locks.
        """
        if not slots.closed or self._state.busy or self._state.idle:
            return False
        slots.leave_all()
        slots.shut()
        _KEPT.pop(slots.file.token, None)
        return True

    # -- other processes ----------------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        self._refuse_if_closed()
        self._share()
        return _rebuild, (type(self), self._state.slots.file.address(), self._settings)

    def _share(self) -> None:
        """Note that other processes may have the pool from now on."""
        self._shared = True
        if self._state.idle or self._state.busy:
            self._start_wakeup_thread()

    def _forget(self) -> None:
        """Start over in a forked child, which must neither use nor close what its parent holds."""
        _INHERITED.append(self._state)
        if self._wakeup_thread is not None:
            self._wakeup_thread.forget()
        self._state.slots.forget()
        self._state = ProcessState(self._state.slots, self._settings.idle_s)
        self._shared, self._wakeup_thread = True, None

    def __del__(self) -> None:
        state = getattr(self, "_state", None)
        if state is None or state.pid != os.getpid() or sys.is_finalizing():
            return  # at interpreter exit, frozen threads may hold the locks; the kernel frees the slots
        with suppress(Exception):
            for idle in state.idle:  # nothing else refers to the pool
                self._finish(idle.resource)
            with state.slots.locked():
                state.slots.leave_all()
            state.slots.wake()


_POOLS: weakref.WeakValueDictionary[bytes, ResourcePool] = weakref.WeakValueDictionary()
"""The pools of this process by token: unpickling a pool twice gives the same object."""
_KEPT: dict[bytes, ResourcePool] = {}
"""Pools received from other processes, kept until they are closed, so that the next chunk finds idle resources."""
_INHERITED: list[object] = []
"""What forked children must not even finalize: closing a connection would speak on the parent's socket."""
_rebuilding = threading.Lock()


def _rebuild(cls: type[ResourcePool], address: Any, settings: ResourceSettings) -> ResourcePool:
    with _rebuilding:
        file = reach(SharedFile, address)
        pool = _POOLS.get(file.token)
        if pool is None:
            pool = cls.__new__(cls)
            pool._settle(SlotTable(file), settings)  # noqa: SLF001 - its own class
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
