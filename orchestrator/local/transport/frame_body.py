"""What a frame carries, for the consumer: decoded or discarded in its thread. Immutable."""

from __future__ import annotations

from typing import Any

from workers.transport import payload
from workers.transport.arena import ArenaReader


class FrameBody(tuple[int, int, bytes, ArenaReader]):
    """A `Body`: a frame's flags, number of buffers and bytes, and the reader of the arena that it refers to.

    A bare tuple, as one is made for every chunk: a class with fields takes four times as long.
    """

    __slots__ = ()

    def decode(self) -> Any:
        """Return what the frame carries."""
        return payload.decode(*self)

    def discard(self) -> None:
        """Give back its shared memory."""
        _, buffers, body, reader = self
        payload.discard(buffers, body, reader)
