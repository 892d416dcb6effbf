"""What `Pool.map` gives: a lazy iterator over the results, which drives the coordinator while it is iterated.

Runs in the consumer's thread. The source is read here too, only while the consumer asks, and never inside the
coordinator's lock; so a source may itself use the pool.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import chain, islice
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from orchestrator.coordinator import Coordinator
from orchestrator.failures import Failure
from orchestrator.recovery import StageCounts
from orchestrator.stage import Stage

if TYPE_CHECKING:
    from orchestrator.progress import Progress

POLL_S = 0.001
"""While results are at hand, the lanes are looked after this often."""


class MapResults(Iterator[Any]):
    """Iterates over the results of one call; `close()`, dropping it, or leaving a `with` block ends the call."""

    def __init__(
        self,
        coordinator: Coordinator,
        stage: Stage,
        source: Iterator[Any] | Sequence[Any],
        progress: Callable[[], Progress] | None,
        owner: object,
    ) -> None:
        self._stage = stage
        self._before = source if isinstance(source, Held) else None
        self._lists = _deliveries(coordinator, stage, source, progress, owner)
        next(self._lists)  # started, so that its `finally` runs whenever and however the iteration ends
        # Iterating in C: a Python `__next__` an item would cost more than all the rest.
        self._items = chain.from_iterable(_failures_first(self._before, self._lists) if self._before else self._lists)

    def __iter__(self) -> Iterator[Any]:  # noqa: PYI034 - in C, on purpose
        """Return the iterator over the results; going on after a pause continues where it was."""
        return self._items

    def __next__(self) -> Any:
        """Return the next result.

        Raises:
            ItemError: an item failed under `on_error="raise"`; the results before it were given.
        """
        return next(self._items)

    @property
    def stats(self) -> StageCounts:
        """What was counted so far: items, failures, retries, deaths, chunks; `steps` by name, if there are steps."""
        counts = self._stage.counts
        return counts if self._before is None else counts.behind(self._before.results.stats)

    def close(self) -> None:
        """Stop: nothing more is read or sent, queued chunks are dropped, all memory is given back."""
        self._lists.close()
        self._stage.close()
        if self._before is not None:
            self._before.results.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Held(Iterator[Any]):
    """Holds the results of the stage before a barrier until all are there; failures are not passed on as items."""

    def __init__(self, results: MapResults) -> None:
        self.results = results
        self.failures: list[Any] = []
        self._all: Iterator[Any] | None = None

    def __next__(self) -> Any:
        if self._all is None:
            held: list[Any] = []
            for result in self.results:
                (self.failures if isinstance(result, Failure) else held).append(result)
            self._all = iter(held)
        return next(self._all)


def _failures_first(held: Held, lists: Iterator[list[Any]]) -> Iterator[list[Any]]:
    """Yield the failures of the stage before the barrier, then the results of the one behind it."""
    for results in lists:
        failures, held.failures = held.failures, []
        yield failures
        yield results
    yield held.failures


SLICEABLE = (list, tuple, range)


class _Slices:
    """A list, tuple or range as the source, cut by slicing: no Python step an item, and a range travels as a range.

    As with its iterator, what is appended to a list meanwhile is seen.
    """

    error: BaseException | None = None

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items
        self._at = 0
        self.ended = False
        self.is_ready = _always

    def cut(self, size: int) -> Sequence[Any]:
        """Return the next items, at most `size`; none at the end."""
        start = self._at
        self._at = start + size
        items = self._items[start : self._at]
        if len(items) < size:
            self.ended, self._at = True, sys.maxsize
        return items


class _Source:
    """Any other source, cut into lists; an error in it waits until the results before it are through."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self.is_ready: Callable[[], bool] = getattr(items, "ready", _always)
        """A source that can make its reader wait, as standard input does, tells when it would not."""
        self.ended = False
        self.error: BaseException | None = None

    def cut(self, size: int) -> Sequence[Any]:
        """Return the next items, at most `size`; none at the end."""
        if self.ended or not self.is_ready():
            return []
        items: list[Any] = []
        try:
            items.extend(islice(self._items, size))
        except BaseException as error:
            self.ended, self.error = True, error
            if not isinstance(error, Exception):
                raise
        else:
            self.ended = len(items) < size
        return items


def _deliveries(
    coordinator: Coordinator,
    stage: Stage,
    items: Iterator[Any] | Sequence[Any],
    progress: Callable[[], Progress] | None,
    owner: object,  # noqa: ARG001 - the pool, which must live as long as its results are iterated
) -> Generator[list[Any], None, None]:
    """Yield the results of chunk after chunk; feed the stage and drive the coordinator in between."""
    bar: Progress | None = None
    source = _Slices(items) if isinstance(items, SLICEABLE) else _Source(iter(items))
    look_at = 0.0
    try:
        yield []
        getattr(items, "when_ready", _never_waits)(coordinator.wake)
        bar = progress() if progress is not None else None
        while True:
            if perf_counter() >= look_at:
                _look_after(coordinator, stage, source)
                look_at = perf_counter() + POLL_S
            delivery = stage.take()
            if delivery is None:
                if source.ended and not stage.outstanding:
                    break
                _wait(coordinator, stage, source)
                continue
            if bar is not None:
                bar.update(delivery.items)
            if delivery.results:
                yield delivery.results
            if delivery.error is not None:
                raise delivery.error
        if source.error is not None:
            raise source.error
    finally:
        stage.close()
        if bar is not None:
            bar.close()


def _look_after(coordinator: Coordinator, stage: Stage, source: _Source | _Slices) -> None:
    """Keep the workers supplied while the consumer has results at hand; does not wait."""
    stage.feed(source.cut)
    if not stage.events:
        coordinator.drive(_never, 0)
    stage.settle()


def _wait(coordinator: Coordinator, stage: Stage, source: _Source | _Slices) -> None:
    """The consumer has taken all there is: feed, then wait for news."""
    stage.feed(source.cut)
    coordinator.drive(_reason_to_go_on(stage, source), stage.timeout_s)
    stage.settle()


def _reason_to_go_on(stage: Stage, source: _Source | _Slices) -> Callable[[], Any]:
    """Return the test that ends the wait: news, or a lane with room for a call that has nothing out."""
    events, ended = stage.events, source.ended
    if ended and not stage.outstanding:
        return _always
    if stage.in_lanes and (ended or source.is_ready()):
        return lambda: events
    return lambda: events or ((ended or source.is_ready()) and stage.wants_room(source_ended=ended))


def _never_waits(_: Callable[[], None]) -> None:
    """Stand in for `when_ready` of a source that never makes its reader wait."""


def _always() -> bool:
    return True


def _never() -> bool:
    return False
