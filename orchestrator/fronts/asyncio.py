"""A `Pool` for asyncio: results are awaited, and nothing blocks the event loop.

    event loop: submit --Pool.submit--> futures' thread --mailbox, one wake-up for many--> event loop
                map    --AsyncResults-> a thread that iterates Pool.map --mailbox--> event loop

What runs and what waits is the pool's. Owner of the state: the pool; here are only the calls and maps that are open.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import weakref
from collections.abc import AsyncIterable, Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from orchestrator.errors import ClosedError, ConfigError
from orchestrator.event_loops.mailbox import Mailbox
from orchestrator.event_loops.results import AsyncResults
from orchestrator.event_loops.sources import LoopSource
from orchestrator.pool.calls.pool_future import PoolFuture
from orchestrator.pool.internals import internals_of
from orchestrator.pool.map_results import lists_of
from orchestrator.pool.pool import Pool
from orchestrator.pool.workflow import Workflow
from workers.functions.steps import Steps

if TYPE_CHECKING:
    from orchestrator.pool.close_report import CloseReport
    from orchestrator.pool.size.sizing import Sizing


class AsyncPool:
    """Worker processes for programs of asyncio.

    One may be used by several event loops, in several threads, at once. `async with` closes it at the end of the
    block, without blocking the loop, and terminates it if the block raises or is cancelled.

    Args:
        workers: how many, as of `Pool`; or a `Pool`, which stays open: then only what this one began is finished or
            ended with it.
        options: those of `Pool`.

    Raises:
        ConfigError: an argument can't be used; nothing was started.
    """

    def __init__(self, workers: int | str | Sizing | Pool | None = None, **options: Any) -> None:
        if isinstance(workers, Pool) and options:
            raise ConfigError(f"a pool that exists takes no options: {', '.join(options)}; give them to Pool(...)")
        self._owns = not isinstance(workers, Pool)
        self.pool = workers if isinstance(workers, Pool) else Pool(workers, **options)
        """The pool, for `resize`, `stats` and whatever else waits for nothing."""
        self._mailboxes: dict[asyncio.AbstractEventLoop, Mailbox] = {}
        self._calls: set[PoolFuture] = set()
        self._maps: weakref.WeakSet[AsyncResults] = weakref.WeakSet()

    # ---- work -------------------------------------------------------------------------------------------------

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Call:
        """Run `fn(*args, **kwargs)` in a worker, and return what to await for its result.

        It begins at once, as with `loop.run_in_executor`. A cancelled wait ends the call if it runs, and frees its
        worker. The arguments are pickled before this returns; `timeout`, `retries` and `priority` are as of
        `Pool.submit`. `TaskGroup.create_task` takes it as well as `gather` and `wait_for`.

        Raises:
            ClosedError: the pool is closed.
            ConfigError: an option can't be used.
        """
        return self._awaited(self.pool.submit(fn, *args, **kwargs))

    def call(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Call:
        """Run `fn(*args, **kwargs)` in a worker as `submit` does, with options that can't be mistaken for arguments.

        Args:
            fn: the function.
            args: its arguments.
            kwargs: its keyword arguments.
            options: those of `Pool.call`.

        Raises:
            ClosedError: the pool is closed.
            ConfigError: an option can't be used.
        """
        return self._awaited(self.pool.call(fn, args, kwargs, **options))

    def map(
        self,
        fn: Callable[..., Any] | Workflow | Steps,
        *iterables: Iterable[Any] | AsyncIterable[Any],
        **options: Any,
    ) -> AsyncResults:
        """Run `fn` over the items in the workers, and return what `async for` takes the results of.

        Nothing is read before the first result is asked for, and then only as far ahead as by `Pool.map`: while nobody
        takes results, nothing more is read. A cancelled wait for a result ends the map.

        Args:
            fn: called with one item, or with one item of each iterable; or a workflow, run over one iterable.
            iterables: one or more. An async iterable is read in the event loop, up to 32 items further, and closed at
                the end; any other in a thread, where it may wait.
            options: those of `Pool.map`.

        Raises:
            ConfigError: an option can't be used.
            ClosedError: the pool is closed.
        """
        copies = "processes" in internals_of(self.pool).engine.capabilities
        read: list[Any] = [
            LoopSource(each, copies=copies)
            if isinstance(each, AsyncIterable) and not hasattr(each, "__iter__")
            else each
            for each in iterables
        ]
        found = self.pool.map(fn, *read, **options)
        sources = [each for each in read if isinstance(each, LoopSource)]
        results = AsyncResults(partial(lists_of, found), found.close, sources)
        self._maps.add(results)
        return results

    def _awaited(self, future: Any) -> Call:
        mailbox = self._mailbox()
        call = Call(future, loop=mailbox.loop)
        self._calls.add(future)
        future.add_done_callback(partial(self._done, mailbox, call))
        return call

    def _done(self, mailbox: Mailbox, call: Call, future: PoolFuture) -> None:
        self._calls.discard(future)
        mailbox.put(call.take, future)

    def _mailbox(self) -> Mailbox:
        """Return the mailbox of the loop that runs in this thread."""
        loop = asyncio.get_running_loop()
        mailbox = self._mailboxes.get(loop)
        if mailbox is None:
            for other in list(self._mailboxes):
                if other.is_closed():
                    self._mailboxes.pop(other, None)
            mailbox = self._mailboxes[loop] = Mailbox(loop)
        return mailbox

    # ---- ending -----------------------------------------------------------------------------------------------

    async def close(self, timeout: float | None = None) -> CloseReport | None:  # noqa: ASYNC109 - as of `Pool.close`: workers are ended then
        """Finish submitted calls, end open maps and stop the workers gracefully, as `Pool.close`.

        If this is cancelled, the pool is terminated.

        Args:
            timeout: seconds after which workers that have not left are ended; None: as long as it takes.

        Raises:
            ConfigError: `timeout` can't be used.
        """
        self._end_maps()
        try:
            if self._owns:
                report: CloseReport | None = await self._mailbox().in_thread(partial(self.pool.close, timeout))
                return report
            await self._mailbox().in_thread(partial(concurrent.futures.wait, list(self._calls), timeout))
        except asyncio.CancelledError:
            await self.terminate()
            raise
        return None

    aclose = close

    async def terminate(self) -> None:
        """Kill every worker now, or, of a pool that it did not make, those that run what it began."""
        self._end_maps()
        if self._owns:
            await self._mailbox().in_thread(self.pool.terminate)
        for future in list(self._calls):
            future.cancel(running=True)

    def _end_maps(self) -> None:
        for results in list(self._maps):
            results.leave()

    async def __aenter__(self) -> Self:
        self.pool.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
        else:
            await self.terminate()

    def __repr__(self) -> str:
        """Return the pool's."""
        return f"Async{self.pool!r}"


class Call(asyncio.Future[Any]):
    """The future of a submitted call, in its event loop.

    It is a coroutine, too, as far as tasks ask for one.
    """

    def __init__(self, future: PoolFuture, *, loop: asyncio.AbstractEventLoop) -> None:
        """Stand for the pool's future."""
        super().__init__(loop=loop)
        self._pool_future: PoolFuture | None = future
        self._steps: Generator[Any, None, Any] | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the call, and end it if it runs.

        Returns False if it is done.
        """
        future = self._pool_future
        if not super().cancel(msg):
            return False
        if future is not None:
            future.cancel(running=True)
        return True

    def take(self, future: PoolFuture) -> None:
        """Take what became of the call.

        Runs in the event loop.
        """
        self._pool_future = None
        if self.done():
            return
        if future.cancelled():
            super().cancel()
        elif (error := future.exception()) is None:
            self.set_result(future.result())
        else:
            self.set_exception(error)
            if isinstance(error, ClosedError):
                self.exception()  # seen: whoever ended the pool knows

    def send(self, value: None) -> Any:
        """Continue to wait, for a task that takes it as a coroutine."""
        if self._steps is None:
            self._steps = self.__await__()
        return self._steps.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise an error where it waits.

        A task that was cancelled before its first step ends the call so.
        """
        if isinstance(error[0], asyncio.CancelledError):
            self.cancel()
        if self._steps is None:
            self._steps = self.__await__()
        return self._steps.throw(*error)

    def close(self) -> None:
        """Cancel the call, as a task that is not to begin does."""
        self.cancel()
        if self._steps is not None:
            self._steps.close()
