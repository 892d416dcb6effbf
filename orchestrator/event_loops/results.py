"""Results as `async for` takes them: a thread waits for them while the event loop does other things.

    event loop: request --queue--> thread: next list of results (source, stage, pool) --mailbox--> event loop

The thread asks for a list only when somebody waits for one, so a run reads ahead and holds as much as if it were
iterated by `for`, and no more. Owner of the run's state: its thread, which starts with the first request.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

from orchestrator.errors import ClosedError, OrchestratorError
from orchestrator.event_loops.mailbox import Mailbox, give
from orchestrator.event_loops.sources import Home, LoopSource, home

_GRACE_S = 0.1
"""For what workers are at when their run is left, before they are ended."""
_LEFT = "these results were closed, or the wait for one was cancelled; iterate over new ones"


class Graph(Protocol):
    """What runs, as `Runner`."""

    def leave(self) -> None:
        """Make the run end with `ClosedError` when it continues, from any thread."""

    def end_running(self, grace_s: float) -> None:
        """End the workers that still run something of it so many seconds after it was closed."""


Lists = Generator[list[Any], None, None]
"""The results of a run, list by list; asking for one drives it."""


class AsyncResults(AsyncIterator[Any]):
    """Iterates over the results of a run in an event loop.

    A cancelled wait for a result, `aclose()`, leaving an `async with` block, or dropping it ends the run: nothing more
    is read, and a worker that is still at an item of it a tenth of a second later is ended and replaced. Several tasks
    may share it: each result goes to one of them.
    """

    def __init__(
        self,
        begin: Callable[[Callable[[Graph], object]], Lists],
        close: Callable[[], object] | None = None,
        sources: Iterable[LoopSource] = (),
    ) -> None:
        """Take a run that has not started.

        Args:
            begin: returns the lists, and tells, then or later, what runs.
            close: what closes the run between two lists; None: closing the lists.
            sources: which are read in the loop.
        """
        self._run = _Run(begin, close, tuple(sources))
        self._items: deque[Any] = deque()
        self._ended = False
        self._mailbox: Mailbox | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """Return the next result.

        Raises:
            ItemError: an item failed; the results before it were given.
            ClosedError: the results were closed, or a wait for one was cancelled.
        """
        while not self._items:
            self._items.extend(await self._next_list())
        return self._items.popleft()

    async def _next_list(self) -> list[Any]:
        if self._ended:
            raise StopAsyncIteration
        if self._run.left:
            raise ClosedError(_LEFT)
        if self._mailbox is None:
            self._mailbox = Mailbox(asyncio.get_running_loop())
            self._run.start(Home(self._mailbox.loop))
        waiting = self._mailbox.loop.create_future()
        self._run.requests.put(partial(self._mailbox.put, partial(give, waiting)))
        try:
            items, error = await waiting
        except BaseException:
            self._run.leave()
            raise
        if items is not None:
            return items  # type: ignore[no-any-return]
        self._ended = not self._run.left
        self._run.finish()
        if error is None:
            raise StopAsyncIteration
        try:
            raise error
        finally:
            del error  # whose traceback has this frame

    async def aclose(self) -> None:
        """End the run, and wait until it has ended.

        A source that is no async iterable is waited for if it is being read. Cancel this to wait no longer.
        """
        self._items.clear()
        if self._mailbox is None:
            self._run.drop()
            return
        self._run.leave()
        closed = await self._mailbox.outcome(self._run.closed)
        if tasks := self._run.tasks:
            await asyncio.wait(tasks)
        closed.result()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._mailbox is None:
            self._run.lists.close()  # says so, if nobody wanted them
        else:
            self._run.leave()

    def leave(self) -> None:
        """End the run, without waiting for that.

        From any thread.
        """
        self._run.leave()


class _Run:
    """What the consumer and the thread share.

    It does not refer to the results, so that these can be dropped.
    """

    def __init__(
        self,
        begin: Callable[[Callable[[Graph], object]], Lists],
        close: Callable[[], object] | None,
        sources: tuple[LoopSource, ...],
    ) -> None:
        self.left = False
        """Whether nobody wants more."""
        self.requests: queue.SimpleQueue[Callable[[Any], object] | None] = queue.SimpleQueue()
        """What wants the next list, or None at the end."""
        self.closed: Future[None] = Future()
        self._graph: Graph | None = None
        self.lists = begin(self._starting)
        self._close = close or self.lists.close
        self._sources = sources
        self._home: Home | None = None

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The tasks that read sources."""
        return [] if self._home is None else self._home.tasks

    def _starting(self, graph: Graph) -> None:
        self._graph = graph
        if self.left:
            graph.leave()

    def start(self, at: Home) -> None:
        """Start the thread.

        Runs in the event loop.
        """
        self._home = at
        for source in self._sources:
            source.begin(at)
        context = contextvars.copy_context()
        context.run(home.set, at)
        threading.Thread(target=context.run, args=(self._drive,), name="orchestrator-results", daemon=True).start()

    def finish(self) -> None:
        """Have the thread end, behind what was asked for before."""
        self.requests.put(None)

    def leave(self) -> None:
        """End the run at once.

        From any thread.
        """
        self.left = True
        if self._graph is not None:
            self._graph.leave()
        self.finish()

    def drop(self) -> None:
        """Close a run that has no thread."""
        self.left = True
        self._close()

    def _drive(self) -> None:
        """Get a list for each request.

        Runs in the thread.
        """
        for answer in iter(self.requests.get, None):
            answer(self._next())
        try:
            self._close()
            for source in self._sources:
                source.close()
            if self.left and self._graph is not None:
                with contextlib.suppress(OrchestratorError):  # the pool is closed, so nothing runs
                    self._graph.end_running(_GRACE_S)
        except BaseException as error:
            self.closed.set_exception(error)
        else:
            self.closed.set_result(None)

    def _next(self) -> tuple[list[Any] | None, BaseException | None]:
        if self.left:
            return None, ClosedError(_LEFT)
        try:
            return next(self.lists, None), None
        except BaseException as error:
            return None, error
