"""Handles workers' messages besides results: readiness, needs, prints, farewells.

Owner of the state: the coordinator, under its lock; what was printed is passed on without it, in the thread that waits.
"""

from __future__ import annotations

import pickle
import struct
from contextlib import suppress

from orchestrator.engine.protocol.main_definitions import AnswersWorkers, Definitions
from orchestrator.engine.protocol.prints import Prints
from orchestrator.engine.protocol.spilled import SpillFile
from orchestrator.engine.protocol.status import Farewell
from orchestrator.engine.recovery.item_errors import rebuild
from orchestrator.errors import InternalError, OrchestratorError, WorkerStartError
from orchestrator.local.transport.lane import Lane
from workers.transport import payload
from workers.transport.wire import Frame, Kind


class WorkerMessages:
    """Handles every frame that is not a result."""

    def __init__(self, definitions: AnswersWorkers | None = None) -> None:
        """Take what answers workers' questions about `__main__`.

        None: that is this process's own.
        """
        self.definitions = Definitions() if definitions is None else definitions
        self.cpu_seconds = 0.0
        """CPU time of the workers that have left."""
        self.peak_rss_bytes = 0
        """Sum of the peaks of the workers that have left; a page that several share is counted once."""
        self.prints = Prints()
        self._farewells: list[tuple[int, int, bool, bytes]] = []  # id, pid, whether it went well, pickled
        self._unfinished: dict[tuple[int, int, str], str] = {}
        """The unfinished lines that workers have printed, by pid, worker id and stream."""

    def take_in(self, lane: Lane, frame: Frame) -> OrchestratorError | None:
        """Handle a frame other than READY, and return why the pool can't continue, if it says so.

        What is put into the lane in answer is to be flushed by the caller.
        """
        kind, flags, buffers, _, _, body = frame
        if kind == Kind.RELEASE:
            for (offset,) in struct.iter_unpack("<Q", body):
                lane.inputs.release(offset)
        elif kind == Kind.NEED:
            answer = self.definitions.answer(lane.names, pickle.loads(body))
            lane.put_object(Kind.DEFINE, payload.encode(answer), 0, 0)
        elif kind == Kind.SPILL:
            lane.put_object(Kind.FILE, payload.encode(_file_for(lane)), 0, 0)
        elif kind == Kind.OUTPUT:
            self._keep_print(lane, *pickle.loads(body))
        elif kind == Kind.GOODBYE:
            seconds, rss, farewell = payload.decode(flags, buffers, body, lane.outputs)
            if farewell is not None:
                self._farewells.append((lane.worker_id, lane.pid, *farewell))
            self.cpu_seconds += seconds
            self.peak_rss_bytes += rss
        elif kind == Kind.BROKEN:
            where = f"worker {lane.worker_id} (pid {lane.pid})"
            error = WorkerStartError(f"the initializer failed in {where}; see the cause")
            error.__cause__ = rebuild(payload.decode(flags, buffers, body, lane.outputs))
            return error
        else:
            raise InternalError(f"worker {lane.worker_id} sent a frame of unknown kind {kind}")
        return None

    def _keep_print(self, lane: Lane, stream: str, text: str, ended: bool) -> None:
        line = (lane.pid, lane.worker_id, stream)
        if ended:  # with all that was told about the line before
            self._unfinished.pop(line, None)
            self.prints.add(lane.worker_id, stream, text)
        else:
            self._unfinished[line] = self._unfinished.get(line, "") + text

    def farewells(self) -> list[Farewell]:
        """Return the results of the finalizers of workers that left.

        Called without the lock, as it unpickles.
        """
        return [_farewell(*each) for each in list(self._farewells)]

    def end_lines(self) -> None:
        """Pass on all that is left, also unfinished lines of workers.

        Called without the lock.
        """
        unfinished, self._unfinished = self._unfinished, {}
        for (_, worker_id, stream), text in unfinished.items():
            self.prints.add(worker_id, stream, text + "\n")
        with suppress(Exception):  # the pool is ended whatever becomes of its prints
            self.prints.pass_on()


def _farewell(worker: int, pid: int, went_well: bool, pickled: bytes) -> Farewell:
    try:
        loaded = pickle.loads(pickled)
    except Exception as error:
        return Farewell(worker, pid, error=error)
    return Farewell(worker, pid, loaded) if went_well else Farewell(worker, pid, error=rebuild(loaded))


def _file_for(lane: Lane) -> tuple[str, str]:
    """Make a file for the results of the worker's chunk.

    Returns its path, or why there is none.
    """
    try:
        lane.spill = SpillFile()
    except OSError as error:
        return "", error.strerror or str(error)
    return lane.spill.path, ""
