"""Chunks as tasks of any `concurrent.futures.Executor`.

Where that has threads, functions run in them. Otherwise each of its processes hosts a node pool of one worker process,
so that deaths, deadlines and blame are as exact as on this machine, and no item takes a process of the executor along.
The executor stays its program's: it is neither changed nor shut down.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from orchestrator.cluster.carrier import Done, Result, Site, Withdrawn
from orchestrator.cluster.codec import AsTheyAre, Pickling
from orchestrator.cluster.engine import ClusterEngine
from orchestrator.cluster.executor.threads import ThreadRunner
from orchestrator.cluster.node import serve
from orchestrator.cluster.node.messages import Call, Outcome, Work
from orchestrator.engine.core.chunking import LOCAL, Limits
from orchestrator.engine.protocol.engine import Capability
from orchestrator.errors import EngineLostError, OrchestratorError
from orchestrator.settings import MAX_WORKERS, PoolSettings, usable_cpus
from workers.errors.describe import text_of, type_name

_OF_THREADS: frozenset[Capability] = frozenset({"background", "batches", "resizing", "shared memory", "single runs"})
_OF_PROCESSES: frozenset[Capability] = _OF_THREADS | {
    "processes", "deadlines", "deaths", "memory limits", "recycling", "seeds", "thread limits",
}  # fmt: skip
_LIMITS = Limits(target_s=0.02, most_bytes=1 << 20, least_depth=2)
"""A task of an executor costs about a millisecond, with the way to the worker process and back."""


def capabilities_of(executor: Executor) -> frozenset[Capability]:
    """Return what a pool over this executor can do."""
    return _OF_THREADS if isinstance(executor, ThreadPoolExecutor) else _OF_PROCESSES


def made_by(executor: Executor) -> Callable[[PoolSettings], ClusterEngine]:
    """Return what makes the engine of a pool over this executor."""

    def make(settings: PoolSettings) -> ClusterEngine:
        slots = _slots_of(executor) or (usable_cpus() if settings.workers == MAX_WORKERS else settings.workers)
        threads = ThreadRunner(slots) if isinstance(executor, ThreadPoolExecutor) else None
        return ClusterEngine(
            settings,
            _Tasks(executor, slots, threads),
            Pickling if threads is None else AsTheyAre,
            name="executor",
            capabilities=capabilities_of(executor),
            limits=_LIMITS if threads is None else LOCAL,
        )

    return make


def _slots_of(executor: Any) -> int | None:
    """Return how many tasks an executor runs at once, None if it does not say."""
    for name in ("_max_workers", "num_workers"):
        found = getattr(executor, name, None)
        if isinstance(found, int) and found > 0:
            return found
    return None


class _Tasks:
    """A `Carrier`: the tasks that the executor has."""

    def __init__(self, executor: Executor, slots: int, threads: ThreadRunner | None) -> None:
        self.slots = slots
        self._executor = executor
        self._threads = threads
        self._run: Callable[[Call, Work], Outcome] = serve.run if threads is None else threads.run
        self._lock = threading.Lock()
        self._futures: dict[int, Future[Outcome]] = {}
        self._pids: dict[tuple[str, int], None] = {}

    def start(self, done: Done, changed: Callable[[], None], broke: Callable[[OrchestratorError], None]) -> None:  # noqa: ARG002
        """Take what is to be told."""
        self._done, self._broke = done, broke

    def sites(self) -> list[Site]:
        """Return the processes that have run something."""
        return [Site(host, pid, 1) for host, pid in list(self._pids)]

    def carry(self, call: Call) -> None:
        """Return nothing: the call itself goes with each task."""

    def send(self, carried: None, call: Call, work: Work, *, once: bool) -> None:  # noqa: ARG002
        """Submit a task."""
        try:
            future = self._executor.submit(self._run, call, work)
        except Exception as error:
            self._broke(_lost(self._executor, error))
            return
        with self._lock:
            self._futures[work.ident] = future
        future.add_done_callback(partial(self._returned, work.ident))

    def _returned(self, ident: int, future: Future[Outcome]) -> None:
        """Report a task, in a thread of the executor's."""
        with self._lock:
            known = self._futures.pop(ident, None)
        if known is None:
            return
        result: Result
        if future.cancelled():
            result = Withdrawn()
        elif (error := future.exception()) is not None:
            self._broke(_lost(self._executor, error))
            return
        else:
            result = future.result()
            self._pids.setdefault((result.host, result.pid))
        self._done(ident, result)

    def cancel(self, ident: int, *, running: bool = False) -> None:  # noqa: ARG002 - nothing reaches what runs
        """Take a task back that has not begun."""
        future = self._futures.get(ident)
        if future is not None:
            future.cancel()

    def drop(self, idents: list[int], carried: None, oldest: int) -> None:  # noqa: ARG002
        """Forget the tasks of a call, and take those back that have not begun."""
        with self._lock:
            futures = [self._futures.pop(ident) for ident in idents if ident in self._futures]
        for future in futures:
            future.cancel()
        if self._threads is not None:
            self._threads.end_calls(oldest)

    def stop(self, timeout_s: float | None) -> serve.Farewells:  # noqa: ARG002
        """Return nothing: nodes end by the pool's lifeline, or when idle."""
        return []

    def close(self) -> None:
        """Leave the executor as it is."""


def _lost(executor: Executor, error: BaseException) -> EngineLostError:
    kind = type_name(type(executor))
    if isinstance(error, BrokenExecutor):
        why = f"broke: {text_of(error)}. Make a new one; a run with a checkpoint continues"
    else:
        why = f"can't run a chunk: {type_name(type(error))}: {text_of(error)}"
    lost = EngineLostError(f"the executor ({kind}) {why}")
    lost.__cause__ = error
    return lost
