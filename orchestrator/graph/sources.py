"""The sources of a graph: an iterable that is read inline, or by a thread if it may block.

`SourceNode` belongs to the engine's thread. `BlockingSource` shares its buffer with its reader thread, behind one
condition; the thread only reads, appends and wakes the engine, and is a daemon, because a read that waits for a socket
can't be called off.
"""

from __future__ import annotations

import io
import multiprocessing.connection
import multiprocessing.queues
import queue
import socket
import stat
import threading
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from itertools import islice
from os import fstat
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.event_loops.sources import LoopSource, home
from orchestrator.graph.drawing import Drawer, close_iterator
from orchestrator.graph.flow.node import Node
from orchestrator.graph.flow.ownership import copied, is_safe

READ_ITEMS = 4096
"""How many items to read from one source before it is the others' turn."""
SLICEABLE = (list, tuple, range)
"""Whose items belong to the program: they are not looked through."""
BUFFER_ITEMS = 4096
"""A reader thread reads at most so far ahead."""


class SourceNode(Node):
    """Reads an iterable while everything downstream has room.

    Emits when: its consumer has room and the iterable gives an item.
    Backpressures when: it is what backpressure ends at: it does not read.
    Completes when: the iterable ends.
    Fails when: the iterable raises; the run continues until the items before that are through.
    """

    __slots__ = ("_drawer", "_iterator", "_paused", "_skip", "_source", "error")
    is_source = True

    def __init__(self, name: str, source: Iterable[Any]) -> None:
        super().__init__(name, inputs=0)
        self._source = source
        self._drawer: Drawer | None = None
        """Reads what is no list, tuple or range; what may be changed later is copied, or passed on alone."""
        self._iterator: Iterator[Any] | None = None
        self._paused = False
        self._skip = 0
        self.error: BaseException | None = None
        """What the iterable raised; the runner raises it when all else is done."""

    @property
    def has_news(self) -> bool:
        """Whether `pump` would move something."""
        outlet = self.outlets[0]
        return not self._paused and not outlet.ended and outlet.capacity() > 0

    def pause(self) -> None:
        """Read nothing more for now, though the source has not ended."""
        self._paused = True

    def snapshot(self) -> Any:
        """Return how many items were read."""
        return self.outlets[0].items + self.outlets[0].waiting

    def restore(self, state: Any) -> None:
        """Skip those items."""
        self._skip = state

    def stop(self) -> None:
        """Read nothing more.

        What was read goes through.
        """
        self.outlets[0].end()

    def pump(self) -> bool:
        """Pass on what waits, or read as much as is wanted."""
        outlet = self.outlets[0]
        moved = outlet.flush()
        if outlet.ended or outlet.cancelled or self._paused:
            return moved
        room = min(outlet.capacity(), READ_ITEMS)
        return (room > 0 and self._read(room)) or moved

    def _read(self, room: int) -> bool:
        items: list[Any] = []
        try:
            if self._iterator is None:
                self._iterator = iter(self._source)
                for _ in islice(self._iterator, self._skip):
                    pass
                if type(self._source) not in SLICEABLE:
                    self._drawer = Drawer(self._iterator, copied if self.copies else None)
            if self._drawer is not None:
                items = self._drawer.draw(room)
                finished = self._drawer.ended
            else:
                items.extend(islice(self._iterator, room))
                finished = len(items) < room  # before the push: from then on the list is the receiver's
        except Exception as error:
            self.error, finished = error, True
            items = items if self._drawer is None else self._drawer.drawn
        self.outlets[0].push(items)
        if finished:
            self.outlets[0].end()
        return True

    def close(self) -> None:
        """Close a generator, so that its own `finally` runs now."""
        iterator, self._iterator = self._iterator, None
        close_iterator(iterator)


class BlockingSource(Node):
    """Reads an iterable that may wait, with a thread, into a bounded buffer.

    Emits when: its consumer has room and the thread has read an item.
    Backpressures when: the buffer is full: the thread waits.
    Completes when: the iterable has ended and the buffer is empty.
    Fails when: the iterable raises; the run continues until the items before that are through.
    """

    __slots__ = ("_buffer", "_changed", "_done", "_lock", "_paused", "_raised", "_source", "_thread", "_wake", "error")
    is_source = True

    def __init__(self, name: str, source: Any) -> None:
        super().__init__(name, inputs=0)
        self._source = source
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._buffer: list[Any] = []
        self._done = False
        self._paused = False
        self._raised: BaseException | None = None
        self.error: BaseException | None = None
        """What the iterable raised; the runner raises it when all else is done."""
        self._thread: threading.Thread | None = None
        self._wake: Callable[[], None] = _nobody

    def start(self, wake: Callable[[], None]) -> None:
        """Start reading.

        The thread calls `wake` when there is news and the buffer was empty.
        """
        self._wake = wake
        consumer = home.get()
        if consumer is not None and isinstance(self._source, AsyncIterable):
            self._source = LoopSource(self._source, copies=self.copies)
            self._source.begin(consumer)
        self._thread = threading.Thread(target=self._run, name=f"orchestrator-source-{self.name}", daemon=True)
        self._thread.start()

    @property
    def has_news(self) -> bool:
        """Whether `pump` would move something."""
        outlet = self.outlets[0]
        if self._paused:
            return False
        return (bool(self._buffer) or (self._done and not outlet.ended)) and outlet.capacity() > 0

    @property
    def is_waiting(self) -> bool:
        """Whether the iterable may still bring something that would be taken."""
        outlet = self.outlets[0]
        return not (self._paused or outlet.ended or outlet.cancelled) and outlet.capacity() > 0

    def keep_written(self, place: str, secret: str) -> None:  # noqa: ARG002 - whatever they are
        """Refuse, as what is read here can't be read again.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"the source {self.name!r} can't be read twice, so its run can't be resumed; write its items to a file "
            "first, or run without a checkpoint"
        )

    def pause(self) -> None:
        """Pass on nothing more for now."""
        self._paused = True

    def stop(self) -> None:
        """Read nothing more.

        What was passed on goes through.
        """
        self.outlets[0].end()

    def pump(self) -> bool:
        """Pass on what waits, or what the thread has read."""
        outlet = self.outlets[0]
        moved = outlet.flush()
        if outlet.ended or outlet.cancelled or self._paused:
            return moved
        room = outlet.capacity()
        if room <= 0:
            return moved
        with self._lock:
            items, self._buffer = self._buffer[:room], self._buffer[room:]
            finished = self._done and not self._buffer
            self._changed.notify()
        moved = moved or bool(items) or finished
        outlet.push(items)
        if finished:
            self.error = self._raised
            outlet.end()
        return moved

    def close(self) -> None:
        """Tell the thread to stop.

        One that is stuck in a read ends with it, or with the process.
        """
        with self._lock:
            self.closed = True
            self._changed.notify()
        if isinstance(self._source, LoopSource):
            self._source.close()

    def _run(self) -> None:
        try:
            for item in _items_of(self._source):
                if not self._keep(item):
                    break
        except BaseException as error:
            self._raised = error
        with self._lock:
            self._done = True
        self._wake()

    def _keep(self, item: Any) -> bool:
        """Put an item into the buffer, when there is room, and return whether more is wanted."""
        if self.copies and not is_safe(item, 1):
            item = copied(item)
        with self._lock:
            while len(self._buffer) >= BUFFER_ITEMS and not self.closed:
                self._changed.wait()
            if self.closed:
                return False
            self._buffer.append(item)
            first = len(self._buffer) == 1
        if first:
            self._wake()
        return True


def may_block(source: Any) -> bool:
    """Tell whether reading a source may block, as queues, sockets, pipes and async iterables do."""
    kinds = (
        queue.Queue,
        queue.SimpleQueue,
        multiprocessing.queues.Queue,
        multiprocessing.queues.SimpleQueue,
        multiprocessing.connection.Connection,
        socket.socket,
        AsyncIterable,
    )
    return isinstance(source, kinds) or _is_pipe(source)


def _is_pipe(source: Any) -> bool:
    if not isinstance(source, io.IOBase):
        return False
    try:
        return not stat.S_ISREG(fstat(source.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def _items_of(source: Any) -> Iterator[Any]:
    """Iterate over a blocking source: an iterable, a queue, a connection or a socket.

    A queue ends at None.
    """
    if isinstance(source, AsyncIterable):
        yield from _of_async(source)
    elif hasattr(source, "__iter__"):
        yield from source
    elif isinstance(source, multiprocessing.connection.Connection):
        while True:
            try:
                got = [source.recv()]
            except EOFError:
                return
            yield got.pop()  # nothing here refers to it then
    elif isinstance(source, socket.socket):
        while data := source.recv(1 << 16):
            yield data
    else:
        while (got := [source.get()])[0] is not None:
            yield got.pop()


def _of_async(source: AsyncIterable[Any]) -> Iterator[Any]:
    """Run an async iterable in a loop of this thread's own."""
    import asyncio  # noqa: PLC0415 - whoever gives an async iterable has loaded it; for all others it is slow to

    with asyncio.Runner() as runner:
        iterator = aiter(source)

        async def next_item() -> Any:
            return await anext(iterator)

        try:
            while True:
                try:
                    got = [runner.run(next_item())]
                except StopAsyncIteration:
                    return
                yield got.pop()
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                runner.run(close())


def _nobody() -> None:
    """Stand in for the engine before it has started."""
