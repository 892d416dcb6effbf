"""What came back from nodes, as events of calls."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from typing import Any

from orchestrator.cluster.carrier import NodeLost
from orchestrator.cluster.node.messages import Block, Death, Outcome, content
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.events import Body, Ended, Finished, Lost, Refused
from orchestrator.engine.protocol.spilled import SpillFile
from orchestrator.errors import OrchestratorError


class Received:
    """A `Body` that came as bytes."""

    __slots__ = ("_buffers", "_error", "_pickle")

    def __init__(self, body: Any, buffers: Sequence[Block], error: OrchestratorError | None) -> None:
        self._pickle = body
        self._buffers = buffers
        self._error = error

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self._pickle) + sum(each.size for each in self._buffers)

    def decode(self) -> Any:
        """Return the object.

        Raises:
            OrchestratorError: it must not be used.
            Exception: it can't be unpickled here.
        """
        if self._error is not None:
            raise self._error
        return pickle.loads(self._pickle, buffers=[each.writable() for each in self._buffers])

    def discard(self) -> None:
        """Do nothing, as it is memory of this process."""


def finished(chunk: Chunk, outcome: Outcome, body: Body, size_bytes: int) -> Finished | Refused:
    """Return the event of a chunk that ran, or that its worker could not read.

    The size of the body is added to the chunk's.
    """
    chunk.size_bytes += size_bytes
    made = Finished if outcome.kind == "finished" else Refused
    spill = outcome.spill
    if spill is not None and not isinstance(spill, SpillFile):
        spill = _spilled(content(spill))
    flags = 0 if outcome.error is not None else outcome.flags
    return made(chunk, outcome.run_s, flags, body, size_bytes, spill)


def _spilled(data: Any) -> SpillFile:
    file = SpillFile()
    view, at = memoryview(data), 0
    while at < len(view):
        at += os.pwrite(file.fd, view[at:], at)
    return file


def died(chunk: Chunk, death: Death, host: str) -> Lost:
    """Return the event of a chunk whose worker died or was killed on its node."""
    ended = None
    if death.reason is not None:
        ident = chunk.ident if death.at else -1
        ended = Ended(death.reason, ident, death.position, death.limit, death.record, death.allowed)  # type: ignore[arg-type]
    reading = death.reading
    if reading is not None:
        own = chunk.ident if reading.ident == 0 else -1
        last = chunk.ident if reading.last == 0 else -1
        loads = None if reading.loads is None else chunk.call
        reading = reading._replace(ident=own, last=last, loads=loads)
    return Lost(
        chunk,
        death.worker,
        death.pid,
        death.exitcode,
        death.to_blame,
        ended,
        death.begun,
        reading,
        death.held_s,
        host,
    )


def lost_with_node(chunk: Chunk, lost: NodeLost) -> Lost:
    """Return the event of a chunk whose node is gone."""
    ended = Ended("node", chunk.ident, None, 0.0)
    return Lost(chunk, 0, lost.pid, None, to_blame=False, ended=ended, host=lost.host)
