"""Brings what threads have to an event loop, all that is there in one wake-up.

Owner of the state: any thread appends, the loop's thread takes.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any


class Mailbox:
    """What waits to be taken by one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the loop."""
        self.loop = loop
        self._arrived: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._is_told = False
        """Whether the loop will look. Set before it is told, reset before it looks, so nothing is left behind."""

    def put(self, take: Callable[[Any], object], value: Any) -> None:
        """Have the loop call `take(value)`.

        From any thread. If the loop is closed nobody waits for it, and it is dropped.
        """
        self._arrived.append((take, value))
        if not self._is_told:
            self._is_told = True
            try:
                self.loop.call_soon_threadsafe(self._look)
            except RuntimeError:
                self._arrived.clear()
                self._is_told = False

    def _look(self) -> None:
        self._is_told = False
        while self._arrived:
            take, value = self._arrived.popleft()
            take(value)

    def outcome(self, future: Future[Any]) -> asyncio.Future[Future[Any]]:
        """Return what waits, in the loop, until a future of a thread is done, and gives that."""
        waiting: asyncio.Future[Future[Any]] = self.loop.create_future()
        future.add_done_callback(partial(self.put, partial(give, waiting)))
        return waiting

    async def in_thread(self, call: Callable[[], Any]) -> Any:
        """Wait for a call in a thread of its own, which continues if the wait is cancelled."""
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(call())
            except BaseException as error:
                done.set_exception(error)

        threading.Thread(target=run, name="orchestrator-asyncio", daemon=True).start()
        return (await self.outcome(done)).result()


def give(waiting: asyncio.Future[Any], value: Any) -> None:
    """Resolve a future, in its loop, unless its owner has cancelled it."""
    if not waiting.done():
        waiting.set_result(value)
