"""What came back from nodes, as events of calls."""

from __future__ import annotations

import os
from typing import Any

from orchestrator.cluster.carrier import NodeLost, Result, Withdrawn
from orchestrator.cluster.codec import Codec, SizedBody
from orchestrator.cluster.node.messages import Death, Outcome, content
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.events import Ended, Finished, Lost, Refused, Returned
from orchestrator.engine.protocol.spilled import SpillFile


def event_of(chunk: Chunk, result: Result, codec: Codec) -> Finished | Refused | Lost | Returned:
    """Return what to tell a chunk's call of it."""
    if isinstance(result, NodeLost):
        ended = Ended("node", chunk.ident, None, 0.0)
        return Lost(chunk, 0, result.pid, None, to_blame=False, ended=ended, host=result.host)
    if isinstance(result, Withdrawn) or result.kind == "returned":
        return Returned(chunk)
    if result.death is not None:
        return _died(chunk, result.death, result.host)
    return _finished(chunk, result, codec.body(result))


def _finished(chunk: Chunk, outcome: Outcome, body: SizedBody) -> Finished | Refused:
    """Return the event of a chunk that ran, or that its worker could not read."""
    made = Finished if outcome.kind == "finished" else Refused
    spill = outcome.spill
    if spill is not None and not isinstance(spill, SpillFile):
        spill = _spilled(content(spill))
    flags = 0 if outcome.error is not None else outcome.flags
    return made(chunk, outcome.run_s, flags, body, body.size, spill)


def _spilled(data: Any) -> SpillFile:
    file = SpillFile()
    view, at = memoryview(data), 0
    while at < len(view):
        at += os.pwrite(file.fd, view[at:], at)
    return file


def _died(chunk: Chunk, death: Death, host: str) -> Lost:
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
