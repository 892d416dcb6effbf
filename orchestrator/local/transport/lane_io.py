"""Reads and writes the lanes, and holds what the one wait listens to.

    reader, sentinel   from the start of a lane to its end
    writer             only while its pipe is full and something waits to be written

Owner of the selector: the coordinator, under its lock; only the wait itself runs without it.
"""

from __future__ import annotations

import contextlib
import select
import selectors

from orchestrator.local.transport.lane import Lane
from orchestrator.local.transport.wakeup import WakeUp
from orchestrator.machine import own_descriptors
from workers.transport.wire import Frame

Occurred = list[tuple[selectors.SelectorKey, int]]
"""What a wait told about: the `data` of a key is its lane, None for the wake-up."""


class LaneIO:
    """The one wait of a coordinator, which reads and writes the lanes."""

    def __init__(self) -> None:
        self.wakeup = WakeUp()
        """Ends the wait; from any thread."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.wakeup.fd, selectors.EVENT_READ, None)
        self._unwritten: set[int] = set()  # keys of lanes that wait for their pipe to take more
        self.closed = False
        own_descriptors.own(*self.wakeup.fds, self._selector.fileno())

    def add(self, lane: Lane) -> None:
        """Listen to a lane, and for the end of its worker."""
        self._selector.register(lane.reader_fd, selectors.EVENT_READ, lane)
        self._selector.register(lane.sentinel, selectors.EVENT_READ, lane)

    def remove(self, lane: Lane) -> None:
        """Stop listening to a lane."""
        for fd in (lane.reader_fd, lane.sentinel):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(fd)
        self._stop_writing(lane)

    def flush(self, lane: Lane) -> None:
        """Write, and if the pipe is full, make the wait tell when it takes more."""
        if lane.gated:
            return
        done = lane.flush()
        if done == (lane.key not in self._unwritten):
            return
        if done:
            self._stop_writing(lane)
        else:
            self._unwritten.add(lane.key)
            self._selector.register(lane.writer_fd, selectors.EVENT_WRITE, lane)

    def _stop_writing(self, lane: Lane) -> None:
        if lane.key in self._unwritten:
            self._unwritten.discard(lane.key)
            self._selector.unregister(lane.writer_fd)

    def read(self, lane: Lane) -> list[Frame]:
        """Read once, and return the frames that are whole now.

        Behind the end of the pipe nothing is read.
        """
        frames = lane.read()
        if frames is None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(lane.reader_fd)
            return []
        return frames

    def wait(self, timeout: float | None) -> Occurred:
        """Wait for lanes, sentinels and the wake-up. Called without the lock."""
        return self._selector.select(timeout)

    def wait_beside(self, timeout: float) -> Occurred:
        """Wait as `wait` does in a frame that was interrupted, and to which the wake-up is left."""
        poller = select.poll()
        keys = {fd: key for fd, key in list(self._selector.get_map().items()) if key.data is not None}
        for fd, key in keys.items():
            poller.register(fd, select.POLLIN if key.events & selectors.EVENT_READ else select.POLLOUT)
        return [(keys[fd], keys[fd].events) for fd, _ in poller.poll(timeout * 1000)]

    @property
    def has_occurred(self) -> bool:
        """Whether `wait` would tell of something at once."""
        if self.closed:
            return False
        poller = select.poll()
        poller.register(self._selector.fileno(), select.POLLIN)
        return bool(poller.poll(0))

    def close(self) -> None:
        """Free the descriptors of the wait."""
        self.closed = True
        own_descriptors.disown(*self.wakeup.fds, self._selector.fileno())
        self._selector.close()
        self.wakeup.close()
