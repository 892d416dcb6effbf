"""Allows one superstep at a time.

The next one waits until all workers have left the last.

Owner of the state: the threads that use the pool; the lock of it is held from a superstep's beginning to its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.engine.protocol.engine import Engine, unable
from orchestrator.engine.protocol.reentrancy import importing
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.engine.superstep import Superstep


class Together:
    """Runs a pool's supersteps, one after another."""

    def __init__(self, coordinator: Engine, max_deaths: int) -> None:
        self._coordinator = coordinator
        self._max_deaths = max_deaths
        self._lock = threading.Lock()
        self._holder = 0
        """The thread that has begun the superstep that is under way."""
        self._inside: set[int] = set()
        """This one, and those that wait for their turn."""
        self._graph: object = None
        """The graph whose hook it is; None: it is not a hook."""

    @property
    def busy(self) -> bool:
        """Whether one is under way."""
        return self._lock.locked()

    def begin(self, fn: Callable[..., Any], arguments: tuple[Any, ...], graph: object = None) -> Superstep | None:
        """Begin a superstep when none is under way.

        Args:
            fn: run in every worker.
            arguments: of it.
            graph: the graph whose hook it is: then another one is not waited for, but None returned; when that is
                through, the coordinator wakes.

        Raises:
            ConfigError: the calling thread has one under way that can't continue before this call returns.
            ItemError: the function or an argument can't be pickled.
        """
        if "supersteps" not in self._coordinator.capabilities:
            raise unable(self._coordinator.name, "run_on_all or a barrier's each_worker", "supersteps")
        with importing("run_on_all"):
            from orchestrator.engine.superstep import Superstep  # noqa: PLC0415 - with the barrier, and few programs need it

        me = threading.get_ident()
        if me in self._inside and (graph is None or self._graph is not graph):
            raise ConfigError(
                "run_on_all was called by a callback of the pool or a signal handler, inside another run_on_all or "
                "while a barrier's hook runs: call it afterwards"
            )
        if not self._take_turn(me, wait=graph is None):
            return None
        self._holder, self._graph = me, graph
        try:
            return Superstep(self._coordinator, fn, arguments, self._max_deaths, self._end)
        except BaseException:
            self._end()
            raise

    def _take_turn(self, me: int, *, wait: bool) -> bool:
        waits_already = me in self._inside  # the hook of the same graph before this one
        self._inside.add(me)  # before the lock is taken, as a signal handler may interrupt this anywhere
        taken = False
        try:
            taken = self._lock.acquire(blocking=wait)
        finally:
            if not (taken or waits_already):
                self._inside.discard(me)
        return taken

    def _end(self) -> None:
        self._inside.discard(self._holder)
        self._graph = None
        self._lock.release()
        self._coordinator.wake()
