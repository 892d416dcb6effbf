"""The lazy iterator of `Pool.map`, which runs the engine while it is iterated.

    source --cut--> stage of the pool --> results              one graph of two nodes, as any stream's (see `graph/`)

Runs in the consumer's thread. The source is read here too, only while the consumer asks, and never inside the
coordinator's lock; so a source may itself use the pool.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator
from functools import reduce
from itertools import chain, pairwise
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from orchestrator.engine.protocol.counts import StageCounts
from orchestrator.errors import ClosedError, ReentrantCallError
from orchestrator.graph.runner import NOT_YET, Runner
from orchestrator.graph.sinks import ResultsNode
from orchestrator.graph.stage_node import MapNode
from orchestrator.option_values import wait_seconds

if TYPE_CHECKING:
    from orchestrator.engine.protocol.engine import Engine
    from orchestrator.graph.flow.node import Node

_UNREAD = "the results of {} were dropped unread, so it never ran: iterate over them, or use list(pool.map(...))"


class MapResults(Iterator[Any]):
    """Iterates over the results of one call.

    `close()`, dropping it, or leaving a `with` block ends the call.
    """

    def __init__(
        self,
        coordinator: Engine,
        nodes: list[Node],
        open_bars: Callable[[], Any] | None,
        owner: object,
        name: str,
    ) -> None:
        """Take the nodes in a row, their calls open on the pool.

        `owner` must live as long as they are iterated.

        `name` is what messages call the map.
        """
        results = ResultsNode("")
        row = [*nodes, results]
        for node, consumer in pairwise(row):
            node.outlets[0].to(consumer)
        self._name = name
        self._stages = [node.stage for node in nodes if isinstance(node, MapNode)]
        self._engine = Runner(row, coordinator)
        self._lists = _lists(self._engine, results, open_bars, owner, self._name)
        next(self._lists)  # started, so that its `finally` runs whenever and however the iteration ends
        # Iterating in C: a Python `__next__` an item would cost more than all the rest.
        self._items = chain.from_iterable(self._lists)

    def __iter__(self) -> Iterator[Any]:  # noqa: PYI034 - in C, on purpose
        """Return the iterator over the results.

        Iterating again after a pause continues where it was.

        Raises:
            ReentrantCallError: a signal handler asks that interrupted their iteration.
        """
        if self._is_running:
            raise ReentrantCallError("iterating these results")
        return self._items

    def __next__(self) -> Any:
        """Return the next result.

        Raises:
            ItemError: an item failed under `on_error="raise"`; the results before it were given.
            ReentrantCallError: a signal handler asks that interrupted their iteration.
        """
        if self._is_running:
            raise ReentrantCallError("iterating these results")
        return next(self._items)

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result, as `next(results)`, but wait for at most `timeout` seconds.

        After a `TimeoutError` nothing is lost: the map continues, and the next call returns the result that was waited
        for. A source that keeps its reader waiting, and a function that runs in this process, are not interrupted.

        Args:
            timeout: seconds; 0: only what is there already; None: as long as it takes.

        Raises:
            TimeoutError: it is not there yet.
            StopIteration: there are no more.
            ItemError: an item failed under `on_error="raise"`; the results before it were given.
            ReentrantCallError: a signal handler asks that interrupted their iteration.
        """
        wait_s = wait_seconds("timeout", timeout)
        if wait_s is None:
            return self.__next__()
        if self._is_running:
            raise ReentrantCallError("iterating these results")
        self._engine.limit_wait(wait_s)
        try:
            result = next(self._items)
        finally:
            self._engine.limit_wait(None)
        if result is NOT_YET:
            raise TimeoutError(f"the next result of {self._name} is not there after {wait_s:g} s; ask again for it")
        return result

    def start(self) -> Self:
        """Begin now, and not when the first result is asked for.

        Returns these results.

        What the workers take is read and sent, and while they are at it, as much again as a pause of the consumer
        allows, within `buffer_bytes`. A second call, or one after the first result, does nothing.

        Raises:
            ClosedError: the pool is closed, or these results are.
            ReentrantCallError: a signal handler asks that interrupted their iteration.
        """
        if self._is_running:
            raise ReentrantCallError("starting these results")
        if self._engine.closed and not self._engine.started:
            raise ClosedError("these results were closed; make new ones")
        if not self._engine.started:
            try:
                self._engine.start()
                self._engine.supply()
            except BaseException:
                self._engine.close(failed=True)
                raise
        return self

    @property
    def _is_running(self) -> bool:
        """Whether a signal handler has interrupted a frame that iterates, if asked in its own thread."""
        return bool(self._lists.gi_running)  # type: ignore[attr-defined]

    @property
    def stats(self) -> StageCounts:
        """The counts so far: items, failures, retries, deaths, chunks.

        `steps` by name, if there are steps.
        """
        counts = [stage.counts for stage in self._stages]
        return reduce(lambda before, stage: stage.behind(before), counts[1:], counts[0])

    def close(self) -> None:
        """Stop the call: read and send nothing more, drop queued chunks, and free all memory.

        Called by a signal handler that interrupted the iteration, or from another thread, it has the iteration raise
        `ClosedError` as soon as it continues.
        """
        if self._is_running:
            self._engine.leave()
            return
        self._engine.close(failed=True)  # first: closed on purpose, it is not reported as unread
        self._lists.close()

    def __repr__(self) -> str:
        """Tell whether the call runs, without asking a worker."""
        if self._engine.closed:
            state = "ended"
        else:
            state = "running" if self._engine.started else "not started: iterate it, list(...), or start()"
        return f"<results of {self._name}: {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def lists_of(results: MapResults, starting: Callable[[Runner], object]) -> Generator[list[Any], None, None]:
    """Return what gives the results list by list, for those who iterate over them in a thread of their own.

    `starting` is called with what runs.
    """
    starting(results._engine)  # noqa: SLF001 - the one place that asks for them
    return results._lists  # noqa: SLF001 - as above


def _lists(
    engine: Runner,
    results: ResultsNode,
    open_bars: Callable[[], Any] | None,
    owner: object,  # noqa: ARG001 - held, so that the pool is not dropped while it is at work
    name: str,
) -> Generator[list[Any], None, None]:
    """Yield the results, list by list.

    The bars are shown from the first that is asked for to the last.
    """
    try:
        yield []
        if open_bars is not None:
            engine.show(open_bars())
        yield from engine.results(results)
    finally:
        if not engine.started and not engine.closed:
            warnings.warn(_UNREAD.format(name), ResourceWarning, stacklevel=2)
        engine.close(failed=True)
        if engine.bars is not None:
            engine.bars.close()
