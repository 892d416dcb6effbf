"""The body of a frame, which the consumer decodes or discards in its thread.

Immutable.
"""

from __future__ import annotations

from typing import Any, Self

from orchestrator.errors import OrchestratorError
from workers.transport import payload
from workers.transport.arena import ArenaReader


class FrameBody(tuple[int, int, bytes, ArenaReader]):
    """A `Body`: a frame's flags, number of buffers and bytes, and the reader of the arena that it refers to.

    A bare tuple, as one is made for every chunk: a class with fields takes four times as long.
    """

    __slots__ = ()

    def decode(self) -> Any:
        """Return the object of the frame."""
        return payload.decode(*self)

    def taken(self) -> tuple[bytes, list[bytes]]:
        """Return the pickle and its large buffers, for another machine, and free the shared memory."""
        return payload.taken(*self)

    def discard(self) -> None:
        """Free its shared memory."""
        _, buffers, body, reader = self
        payload.discard(buffers, body, reader)


class Refusal(FrameBody):
    """A body that must not be used."""

    def __new__(cls, body: FrameBody, why: str) -> Self:
        """Take the body, and the reason why it must not be used."""
        made = super().__new__(cls, body)
        made.why = why
        return made

    why: str

    def decode(self) -> Any:
        """Say why.

        Raises:
            OrchestratorError: always.
        """
        self.discard()
        raise OrchestratorError(self.why)
