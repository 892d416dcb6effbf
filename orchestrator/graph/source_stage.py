"""A source and the stage behind it as one node, which cuts chunks straight from the source.

    iterable --cut--> chunk --pickled--> lanes        no list in between, and no step in Python an item

A list is cut by slicing, and a range travels as a range. Owner of the state: the engine's thread.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from orchestrator.graph.drawing import Drawer, close_iterator
from orchestrator.graph.sources import SLICEABLE
from orchestrator.graph.stage_node import MapNode

if TYPE_CHECKING:
    from orchestrator.engine.stage import Stage


@runtime_checkable
class Telling(Protocol):
    """A source that may make its reader wait, as standard input does, and tells when it would not.

    One that is anything else is taken to have its next item at once.
    """

    def ready(self) -> bool:
        """Tell whether the next item, or the end, is here without waiting."""

    def when_ready(self, call: Callable[[], None], /) -> None:
        """Call `call`, from another thread, whenever `ready` may have become true."""

    @property
    def wait_s(self) -> float | None:
        """Seconds until it has something by itself, or None if unknown."""


class Cutter(Protocol):
    """The source that chunks are cut from."""

    ended: bool
    """Nothing more can be cut."""
    error: BaseException | None
    """What the source raised; what it gave before is cut first."""

    def cut(self, size: int) -> Sequence[Any]:
        """Return the next items, at most `size`.

        None at the end, and none if that would make the caller wait.
        """

    def is_ready(self) -> bool:
        """Tell whether `cut` would find something, or the end, without waiting."""

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call `call`, from another thread, whenever `is_ready` may have become true."""

    def keep_items(self) -> None:
        """Draw the items themselves from now on, not copies of those that the source may change."""

    @property
    def wait_s(self) -> float | None:
        """Seconds until the source has something by itself, or None if unknown."""

    def skip(self, items: int) -> None:
        """Skip so many items."""

    def close(self) -> None:
        """Close a generator, so that its own `finally` runs now.

        A file is closed by its owner.
        """


def in_step(iterables: Sequence[Iterable[Any]]) -> Iterable[Any]:
    """Return what gives one item of each as a tuple, to the end of the shortest, as `zip` does."""
    telling = [each for each in iterables if isinstance(each, Telling)]
    return _InStep(iterables, telling) if telling else zip(*iterables, strict=False)


class _InStep:
    """Tuples of items of several sources, of which some tell whether their reader would wait."""

    wait_s = None

    def __init__(self, iterables: Sequence[Iterable[Any]], telling: Sequence[Telling]) -> None:
        self._telling = telling
        self._tuples = zip(*iterables, strict=False)

    def __iter__(self) -> Iterator[Any]:
        return self._tuples

    def ready(self) -> bool:
        return all(each.ready() for each in self._telling)

    def when_ready(self, call: Callable[[], None]) -> None:
        for each in self._telling:
            each.when_ready(call)


class FeedNode(MapNode):
    """Reads an iterable as the pool takes its items, and passes on what comes back.

    Emits when: the results of the chunk whose turn it is are here (or of any chunk, if not ordered).
    Backpressures when: it reads no further than the lanes' credits, the pool's window and byte budget allow.
    Completes when: the iterable has ended and every chunk is back.
    Fails when: an item fails under `on_error="raise"`, the pool can't continue, or the iterable raises (then its
        earlier items go through first).
    """

    __slots__ = ("_closes_source", "_paused", "_source", "_source_name", "_taken_up", "cutter")
    is_source = True

    def __init__(
        self,
        name: str,
        source: Iterable[Any],
        open_stage: Callable[[], Stage],
        *,
        source_name: str = "source",
        closes_source: bool = False,
    ) -> None:
        super().__init__(name, open_stage, inputs=0)
        self._source_name = source_name
        self._closes_source = closes_source
        self._paused = False
        self._source = source
        self.cutter: Cutter = _cutter(source)
        self._taken_up: Resumed | None = None
        """The cutter of a run that was resumed."""

    def set_up(self, graph: object) -> None:
        """Open the call.

        Where items stay in this process, none of them is copied.
        """
        super().set_up(graph)
        if not self.stage.pickles:
            self.cutter.keep_items()

    def start(self, wake: Callable[[], None]) -> None:
        """Make a source whose reader would wait, as standard input, tell when it no longer would."""
        self.cutter.when_ready(wake)

    @property
    def source_name(self) -> str:
        """What the iterable is called."""
        return self._source_name

    @property
    def error(self) -> BaseException | None:
        """The exception that the iterable raised.

        The runner raises it when all else is done.
        """
        return self.cutter.error

    @property
    def items_in(self) -> int:
        """Items cut from the source so far."""
        return self._next_index

    @property
    def wait_s(self) -> float | None:
        """Seconds until an item is to be retried, or the source has something by itself."""
        delays = self.stage.timeout_s, self.cutter.wait_s
        return min((delay for delay in delays if delay is not None), default=None)

    @property
    def has_news(self) -> bool:
        """Whether `pump` could do something now."""
        stage, cutter = self.stage, self.cutter
        if self.outlets[0].cancelled:
            return False
        if stage.events:
            return True
        if self._paused:
            return False
        if stage.wants_room(source_ended=cutter.ended or not cutter.is_ready()):
            return True
        return cutter.ended and not (stage.outstanding or self.outlets[0].ended)

    @property
    def is_waiting(self) -> bool:
        """Whether the pool, or the source, will bring something without a turn of ours before."""
        cutter = self.cutter
        if self.outlets[0].cancelled:
            return False
        return self.stage.is_waiting(source_ended=cutter.ended or self._paused)

    def stop(self) -> None:
        """Read nothing more.

        What was read goes through.
        """
        self.cutter.ended = True

    def close(self) -> None:
        """End the call, and close or drop the source, so that a generator that nobody else holds ends now."""
        super().close()
        if self._closes_source:
            self.cutter.close()
        self._source, self.cutter, self._taken_up = (), _Slices(()), None

    def pause(self) -> None:
        """Read nothing more for now, though the source has not ended."""
        self._paused = True

    def snapshot(self) -> Any:
        """Return how far the source is read, and which indexes of that are not settled."""
        unsettled = [(first, len(items)) for first, items in self._unsettled.items()]
        cut = self._next_index
        if self._taken_up is not None:
            unsettled += self._taken_up.wanted
            cut = max(cut, self._taken_up.cut_before)
        return {"cut": cut, "open": sorted(unsettled), "counts": self.stage.counts}

    def restore(self, state: Any) -> None:
        """Skip what was settled, and read the rest as it comes."""
        self.cutter = self._taken_up = Resumed(self.cutter, state["open"], state["cut"])
        if self.outlets[0].ended:
            self.cutter.ended = True
        self.stage.counts.take_over(state["counts"])

    def _cut(self, size: int) -> tuple[int, Sequence[Any]]:
        items = () if self._paused else self.cutter.cut(size)
        first = self._next_index if self._taken_up is None or not items else self._taken_up.first_index
        self._next_index = first + len(items)
        return first, items

    @property
    def _all_cut(self) -> bool:
        return self.cutter.ended


class _Slices:
    """A list, tuple or range, cut by slicing.

    As with its iterator, what is appended to a list meanwhile is seen.
    """

    error: BaseException | None = None
    wait_s: float | None = None

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items
        self._at = 0
        self.ended = False

    def cut(self, size: int) -> Sequence[Any]:
        if self.ended:
            return ()
        start = self._at
        self._at = start + size
        items = self._items[start : self._at]
        if len(items) < size:
            self.ended, self._at = True, sys.maxsize
        return items

    def is_ready(self) -> bool:
        return True

    def when_ready(self, call: Callable[[], None]) -> None:
        pass

    def keep_items(self) -> None:
        pass

    def skip(self, items: int) -> None:
        self._at += items

    def close(self) -> None:
        pass


class _Drawn:
    """Any other source.

    Its error waits until the results before it are through.
    """

    def __init__(self, source: Iterable[Any]) -> None:
        self._items: Iterator[Any] = iter(source)
        self._telling = next((each for each in (self._items, source) if isinstance(each, Telling)), None)
        self.is_ready: Callable[[], bool] = _always if self._telling is None else self._telling.ready
        self.when_ready: Callable[[Callable[[], None]], None] = _never
        if self._telling is not None:
            self.when_ready = self._telling.when_ready
        self._drawer = Drawer(self._items)
        self.ended = False
        self.error: BaseException | None = None

    @property
    def wait_s(self) -> float | None:
        return None if self._telling is None else self._telling.wait_s

    def cut(self, size: int) -> Sequence[Any]:
        if self.ended or not self.is_ready():
            return ()
        try:
            if self._telling is None:
                items = self._drawer.draw(size)
                self.ended = self._drawer.ended
                return items
            return self._cut_what_is_ready(size)
        except BaseException as error:
            self.ended, self.error = True, error
            if not isinstance(error, Exception):
                raise
        return self._drawer.drawn

    def keep_items(self) -> None:
        self._drawer.copies = False

    def _cut_what_is_ready(self, size: int) -> list[Any]:
        items = self._drawer.draw(1)
        while len(items) < size and not self._drawer.ended and self.is_ready():  # else these would wait for another
            items += self._drawer.draw(1)
        self.ended = self._drawer.ended
        return items

    def skip(self, items: int) -> None:
        try:
            self._drawer.skip(items)
        except Exception as error:
            self.ended, self.error = True, error
        else:
            self.ended = self._drawer.ended

    def close(self) -> None:
        close_iterator(self._items)


class Resumed:
    """A source that is read again, of which only some of the first items are wanted."""

    def __init__(self, cutter: Cutter, wanted: list[tuple[int, int]], cut_before: int) -> None:
        """Take the ranges that are wanted, as (first index, items) in order.

        From `cut_before` on everything is wanted.
        """
        self._cutter = cutter
        self.wanted = deque(wanted)
        self.cut_before = cut_before
        self._at = 0  # index of what the cutter gives next
        self.first_index = 0
        """Of what was cut last."""
        self.ended = False
        self.error: BaseException | None = None
        self.is_ready = cutter.is_ready
        self.when_ready = cutter.when_ready

    def cut(self, size: int) -> Sequence[Any]:
        """Return the next items that are wanted."""
        if self.ended:
            return ()
        first, length = self.wanted.popleft() if self.wanted else (max(self.cut_before, self._at), size)
        if first > self._at:
            self._cutter.skip(first - self._at)
        items = self._cutter.cut(min(size, length))
        self.first_index, self._at = first, first + len(items)
        if first < self.cut_before and 0 < len(items) < length:
            self.wanted.appendleft((self._at, length - len(items)))
        self.ended, self.error = self._cutter.ended, self._cutter.error
        return items

    @property
    def wait_s(self) -> float | None:
        """As of what is read."""
        return self._cutter.wait_s

    def keep_items(self) -> None:
        """Draw the items themselves."""
        self._cutter.keep_items()

    def skip(self, items: int) -> None:
        """Do nothing, as a run is resumed once."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what is read."""
        self._cutter.close()


def _cutter(source: Iterable[Any]) -> Cutter:
    return _Slices(source) if type(source) in SLICEABLE else _Drawn(source)  # type: ignore[arg-type]


def _always() -> bool:
    return True


def _never(_call: Callable[[], None]) -> None:
    """Stand in for a source that is always ready."""
