"""One superstep at a time: whoever wants the workers all together waits until they are through with the last one.

Owner of the state: the threads that use the pool; the lock of it is held from a superstep's beginning to its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.coordinator import Coordinator
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.superstep import Superstep


class Together:
    """Gives out a pool's supersteps, one after another."""

    def __init__(self, coordinator: Coordinator, max_deaths: int) -> None:
        self._coordinator = coordinator
        self._max_deaths = max_deaths
        self._lock = threading.Lock()
        self._thread: int | None = None
        """Who has begun the superstep that is under way."""
        self._graph: object = None
        """The graph whose hook it is; None: it is no hook."""

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
            ConfigError: the calling thread has one under way that can't go on before this call returns.
            ItemError: the function or an argument can't be pickled.
        """
        from orchestrator.superstep import Superstep  # noqa: PLC0415 - with the barrier, and few programs need it

        if self._thread == threading.get_ident() and (graph is None or self._graph is not graph):
            raise ConfigError(
                "run_on_all was called inside run_on_all, or while the hook of a barrier runs, by a callback of the "
                "pool: call it afterwards"
            )
        if not self._lock.acquire(blocking=graph is None):
            return None
        self._thread, self._graph = threading.get_ident(), graph
        try:
            return Superstep(self._coordinator, fn, arguments, self._max_deaths, self._end)
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        self._thread = self._graph = None
        self._lock.release()
        self._coordinator.wake()
