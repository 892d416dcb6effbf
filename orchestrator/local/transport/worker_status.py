"""The status of each worker: which chunk it runs and for how long.

Taken in the coordinator, under its lock.

A worker says itself what it is at only in calls with a timeout (`workers.transport.watch`). Of all others the
coordinator knows what they hold, and when something last went either way: a lane whose chunks are long holds one, so
that is when it began; where chunks are short it does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns
from typing import Any

from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.status import Traffic, WorkerInfo, WorkerStatus, describe_chunk, rss_bytes
from orchestrator.local.transport.lane import Lane, LaneState
from workers.transport import watch


def worker_status(
    lane: Lane, held: list[Chunk], describe: Callable[[Any], str | None], name_of: Callable[[Any], str]
) -> WorkerStatus:
    """Return what a worker runs.

    Args:
        lane: its lane.
        held: what it holds, in the order of sending.
        describe: gives an item in words, None if it has none.
        name_of: gives the name of a call.
    """
    state = "leaving" if not lane.active and lane.state is LaneState.READY else lane.state.value
    since_ns, runs = lane.moved_ns, ""
    if held:
        chunk, position = held[0], None
        reading = watch.read_slot(lane.slot)
        watched = next((each for each in held if each.ident == reading.ident), None)
        if watched is not None:
            chunk, position, since_ns = watched, reading.position, reading.since_ns
        runs = describe_chunk(chunk, position, describe, name_of(chunk.call))
    for_s = max(0.0, (monotonic_ns() - since_ns) / 1e9)
    return WorkerStatus(lane.worker_id, lane.pid, state, rss_bytes(lane.pid), len(held), runs, for_s)


def worker_info(lane: Lane) -> WorkerInfo:
    """Return the worker of a lane at this moment."""
    state = lane.state.value
    return WorkerInfo(lane.worker_id, lane.pid, state, rss_bytes(lane.pid), lane.chunks_done, lane.items_done)


def traffic(lane: Lane) -> Traffic:
    """Return the traffic of a lane."""
    return Traffic(lane.sent_bytes, lane.received_bytes, lane.inputs.reserved_bytes)
