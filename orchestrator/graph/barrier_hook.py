"""A barrier with a hook, which runs a function once in every worker when all items have passed the stage before.

    items, all of them -> [the hook, in every worker at once] -> items, to the next stage

The hook is a superstep whose events come through the coordinator's one wait, like everything else; the engine continues
with other branches meanwhile. Owner of the state: the engine's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from orchestrator.graph.barrier import BarrierNode


class RunningSuperstep(Protocol):
    """A function that runs once in every worker, as a `Superstep`."""

    results: list[Any]

    def go_on(self) -> bool:
        """Handle events without waiting, and return whether the results are there."""

    @property
    def has_news(self) -> bool:
        """Whether `go_on` would find something."""

    def close(self) -> None:
        """End the step, done or not."""


class EndOfStage(BarrierNode):
    """Holds all items until its input has ended and the hook has run in every worker.

    A run that is resumed runs the hook if no checkpoint says that it had been through.

    Emits when: its input has ended, and the hook is through.
    Backpressures when: never before the end: it has to take everything.
    Completes when: everything was passed on.
    Fails when: as `BarrierNode`; the hook fails in a worker, or takes `max_deaths` of them down.
    """

    __slots__ = ("_begin", "_graph", "_hook", "_may_begin", "_through", "_use")

    def __init__(
        self,
        name: str,
        begin: Callable[[object], RunningSuperstep | None],
        may_begin: Callable[[], bool],
        use: Callable[[list[Any]], object] | None = None,
    ) -> None:
        """Take how the hook is begun.

        Args:
            name: told in its errors.
            begin: begins it, given the graph that the node stands in; gives None if another one runs in the pool.
            may_begin: whether none does.
            use: called with the results by worker id, here, before the items continue.
        """
        super().__init__(name)
        self._begin = begin
        self._may_begin = may_begin
        self._use = use
        self._hook: RunningSuperstep | None = None
        self._through = False
        self._graph: object = None
        """The state that the nodes of one graph share: their hooks take turns."""

    @property
    def needs_engine(self) -> bool:
        """Its hook runs in workers."""
        return True

    def set_up(self, graph: object) -> None:
        """Note which graph it stands in."""
        self._graph = graph

    def rest(self) -> bool:
        """Return whether no hook is to be waited for."""
        return not self.is_waiting

    @property
    def is_waiting(self) -> bool:
        """Whether the hook runs, or is to run as soon as it can."""
        return self.ended[0] and not self._through and not self.outlets[0].cancelled

    @property
    def has_news(self) -> bool:
        """Whether `pump` could do something now."""
        if not self.is_waiting:
            return False
        return self._may_begin() if self._hook is None else self._hook.has_news

    def pump(self) -> bool:
        """Run the hook, then pass on."""
        if not self.ended[0] or self._through:
            return super().pump()
        if self.outlets[0].cancelled:
            return False
        if self._hook is None:
            self._hook = self._begin(self._graph)
        if self._hook is None or not self._hook.go_on():
            return False
        results = self._hook.results
        self._end_hook()
        self._through = True
        if self._use is not None:
            self._use(results)
        super().pump()
        return True

    def snapshot(self) -> Any:
        """Return what is held, and whether the hook was through."""
        return {**super().snapshot(), "through": self._through}

    def restore(self, state: Any) -> None:
        """Continue from there."""
        super().restore(state)
        self._through = state["through"]

    def close(self) -> None:
        """End the hook, if it runs."""
        self._end_hook()
        super().close()

    def _end_hook(self) -> None:
        if self._hook is not None:
            hook, self._hook = self._hook, None
            hook.close()
