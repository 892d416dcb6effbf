"""What graphs, streams, fronts and the command line use of a pool, beside its public methods.

Owner of the state: the pool. Its parts look after what they share between threads themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.engine.stage import Stage
from orchestrator.engine.together import Together
from orchestrator.graph.barrier import BarrierNode
from orchestrator.graph.barrier_hook import EndOfStage
from orchestrator.graph.stage_node import MapNode
from orchestrator.pool.stats import Totals

if TYPE_CHECKING:
    from orchestrator.engine.protocol.engine import Engine
    from orchestrator.engine.superstep import Superstep
    from orchestrator.pool.calls.futures import FutureDriver
    from orchestrator.settings import MapOptions, PoolSettings
    from orchestrator.sources.block_splitting import Divider
    from workers.functions.steps import Steps


class Internals:
    """Opens calls on a pool for nodes that feed and drain them themselves."""

    def __init__(self, engine: Engine, settings: PoolSettings, futures: FutureDriver) -> None:
        self.engine = engine
        """What runs the pool's chunks."""
        self.futures = futures
        """What runs submitted calls."""
        self.together = Together(engine, settings.max_deaths)
        """What runs in all workers at once."""
        self.totals = Totals()
        """The counts of all calls."""
        self._settings = settings
        self._order = itertools.count(1)  # of the calls, for their random numbers

    def open_stage(
        self,
        fn: Callable[..., Any] | Steps,
        options: MapOptions,
        *,
        star: bool = False,
        total: int | None = None,
        forward_output: bool = False,
        divider: Divider | None = None,
    ) -> Stage:
        """Open a call.

        Raises:
            ClosedError: the pool is closed.
            ItemError: the function can't be pickled.
        """
        stage = Stage(
            self.engine,
            self._settings,
            fn,
            options,
            star=star,
            total=total,
            forward_output=forward_output or self.engine.forwards_output,
            divider=divider,
            order=next(self._order),
        )
        self.totals.add(stage)
        return stage

    def stage_node(self, steps: Steps, options: MapOptions, *, forward_output: bool) -> MapNode:
        """Return the node of a call that is open."""
        stage = self.open_stage(steps, options, forward_output=forward_output)
        return MapNode("+".join(steps.names), lambda: stage)

    def barrier_node(
        self, name: str, each_worker: Callable[[], Any] | None, then: Callable[[list[Any]], object] | None
    ) -> BarrierNode:
        """Return the node of a barrier, with its hook if it has one."""
        if each_worker is None:
            return BarrierNode(name)

        def begin(graph: object) -> Superstep | None:
            return self.together.begin(each_worker, (), graph)

        return EndOfStage(name, begin, lambda: not self.together.busy, then)


class _HasInternals(Protocol):
    """A pool."""

    _internals: Internals


def internals_of(pool: _HasInternals) -> Internals:
    """Return a pool's internals, which are not for programs."""
    return pool._internals  # noqa: SLF001 - the one place that asks for them
