"""Reads async iterables in the event loop of whoever consumes the results, for the thread that drives these.

    event loop: async iterable --task--> a few items ahead | thread of the run: ready, next

Owner of the state: the task reads and appends, the thread takes; each tells the other by its own wake-up.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import AsyncIterable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Self

from orchestrator.graph.flow.ownership import copied, is_safe

if TYPE_CHECKING:
    import asyncio

AHEAD_ITEMS = 32
"""How many items of an async source are read before a map or a stream takes them."""
_END: Final = object()


class Home:
    """The event loop that consumes a run, and the tasks that read sources in it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the loop."""
        self.loop = loop
        self.tasks: list[asyncio.Task[None]] = []


home: ContextVar[Home | None] = ContextVar("home", default=None)
"""Where the run of this thread is consumed; None: by no event loop."""


class LoopSource:
    """An iterator over an async iterable, for a thread beside its event loop."""

    wait_s: float | None = None
    """It tells when it has something, and never knows before."""

    def __init__(self, source: AsyncIterable[Any], *, copies: bool) -> None:
        """Take the iterable.

        `copies`: whether an item that may still change is copied before the next one is read.
        """
        self._source = source
        self._copies = copies
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._home: Home | None = None
        self._task: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._waits_for_room = False
        self._closed = self._ended = False
        self._error: BaseException | None = None
        self._call: Callable[[], object] = _nobody

    def begin(self, at: Home) -> None:
        """Begin to read.

        From any thread.
        """
        self._home = at
        self._tell(self._begin)

    # ---- in the thread of the run -----------------------------------------------------------------------------

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        """Return the next item, and wait for it if it is not `ready`."""
        if self._ended:
            raise StopIteration
        item = self._items.get()
        if self._waits_for_room and self._items.qsize() <= AHEAD_ITEMS // 2:
            self._waits_for_room = False
            self._tell(self._give_room)
        if item is not _END:
            return item
        self._ended = True
        if self._error is not None and not self._closed:
            raise self._error
        raise StopIteration

    def ready(self) -> bool:
        """Whether the next item, or the end, is there."""
        return self._ended or not self._items.empty()

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call `call`, in the event loop, whenever `ready` may have become true."""
        self._call = call

    def close(self) -> None:
        """Read nothing more, and close the iterable in its loop.

        From any thread.
        """
        self._closed = True
        self._items.put(_END)
        self._tell(self._cancel)

    def _tell(self, call: Callable[[], object]) -> None:
        if self._home is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._home.loop.call_soon_threadsafe(call)

    # ---- in the event loop ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._home is not None and not self._closed:
            self._task = self._home.loop.create_task(self._read())
            # A loop that is closed while a source waits has its owner's reasons; the thread has been told.
            self._task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
            self._home.tasks.append(self._task)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _give_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def _read(self) -> None:
        try:
            iterator = aiter(self._source)
            try:
                while await self._read_one(iterator):
                    pass
            except BaseException:
                if not self._is_lost:
                    await _close(iterator)
                raise
        except BaseException as error:
            self._error = error
            if not self._is_lost and (self._closed or not isinstance(error, Exception)):
                raise
        finally:
            self._items.put(_END)
            self._call()

    @property
    def _is_lost(self) -> bool:
        """Whether the loop is closed, so that nothing can be awaited and nobody be told."""
        return self._home is None or self._home.loop.is_closed()

    async def _read_one(self, iterator: Any) -> bool:
        try:
            item = await anext(iterator)
        except StopAsyncIteration:
            return False
        if self._copies and not is_safe(item):
            item = copied(item)
        self._items.put(item)
        del item  # what nobody else refers to need not be copied again
        if self._items.qsize() == 1:
            self._call()
        while self._items.qsize() >= AHEAD_ITEMS:
            await self._wait_for_room()
        return True

    async def _wait_for_room(self) -> None:
        assert self._home is not None  # noqa: S101 - for the type checker
        self._room = self._home.loop.create_future()
        self._waits_for_room = True
        if self._items.qsize() >= AHEAD_ITEMS:  # else the thread has taken some before it could see that
            await self._room


async def _close(iterator: Any) -> None:
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()


def _nobody() -> None:
    """Stand in for the run before it has started."""
