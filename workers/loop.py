"""The worker's loop: receive a frame, do what it says, send the answer.

    receive -> decode -> function(item)… -> encode -> send          (one chunk)

Runs in the worker process, in its main thread, which owns all state here.
"""

from __future__ import annotations

import pickle
import resource
import struct
import sys
import time
from time import perf_counter
from typing import Any

from workers import context, payload
from workers.errors import ExceptionRecord, add_note, capture, text_of
from workers.lane import WorkerLane
from workers.mirror import MainMirror, forget
from workers.output import ForwardedStream
from workers.runner import CallRunner, CallSpec, Failures
from workers.wire import MAX_NUMBER, Flag, Frame, Kind, pack

_FLUSH_S = 0.001
"""Results wait at most this long for company before they are written."""


class UnpicklableResultError(TypeError):
    """The function's result can't be sent back; the text says why."""


class ChunkLoop:
    """Serves one lane until it is told to stop."""

    def __init__(self, lane: WorkerLane, mirror: MainMirror, abandoned_calls: memoryview) -> None:
        self._lane = lane
        self._mirror = mirror
        self._abandoned_calls = abandoned_calls  # written by the coordinator only: slot number % slots holds number
        self._slots = len(abandoned_calls)
        self._calls: dict[int, CallRunner | ExceptionRecord] = {}
        self._plain = (sys.stdout, sys.stderr)
        self._forwarded = (ForwardedStream(lane, "stdout", 1), ForwardedStream(lane, "stderr", 2))
        self._flushed_at = perf_counter()

    def serve(self) -> None:
        """Run until STOP arrives or the coordinator is gone."""
        receive = self._lane.receive
        while True:
            frame = receive()
            kind = frame[0]
            if kind == Kind.CHUNK:
                self._chunk(frame)
            elif kind == Kind.RELEASE:
                for (offset,) in struct.iter_unpack("<Q", frame[5]):
                    self._lane.outputs.release(offset)
            elif kind == Kind.FUNCTION:
                self._function(frame)
            elif kind == Kind.FORGET:
                self._calls.pop(frame[3], None)
            elif kind == Kind.UNDEFINE:
                forget(self._mirror, pickle.loads(frame[5]))
            elif kind == Kind.STOP:
                self._goodbye()
                return

    def _function(self, frame: Frame) -> None:
        try:
            spec: CallSpec = payload.decode(frame[1], frame[2], frame[5], self._lane.inputs)
            self._calls[frame[3]] = CallRunner(spec)
            if spec.forward_output:
                sys.stdout, sys.stderr = self._forwarded
            else:
                sys.stdout, sys.stderr = self._plain
        except BaseException as error:
            add_note(error, "the function could not be loaded in the worker")
            self._calls[frame[3]] = capture(error)

    def _chunk(self, frame: Frame) -> None:
        _, flags, buffers, number, ident, body = frame
        call = self._calls[number]
        if self._is_abandoned(number):
            payload.discard(buffers, body, self._lane.inputs)
            self._lane.send([pack(Kind.RESULT, ident=ident, flags=Flag.ABANDONED)])
            return
        if isinstance(call, ExceptionRecord):
            payload.discard(buffers, body, self._lane.inputs)
            self._refuse(ident, call)
            return
        try:
            attempt, items = payload.decode(flags, buffers, body, self._lane.inputs)
        except BaseException as error:
            add_note(error, "the item could not be unpickled in the worker")
            self._refuse(ident, capture(error))
            return
        if context._current is not None:  # noqa: SLF001 - the loop owns the context
            context._current.attempt = attempt  # noqa: SLF001
        started = perf_counter()
        results, failures = call.run(items, lambda: self._is_abandoned(number))
        ended = perf_counter()
        del items
        self._answer(ident, int((ended - started) * 1e6), results, failures)
        if ended - self._flushed_at > _FLUSH_S:
            self._lane.flush()
            self._flushed_at = ended

    def _is_abandoned(self, number: int) -> bool:
        return bool(self._abandoned_calls[number % self._slots] == number)

    def _refuse(self, ident: int, record: ExceptionRecord) -> None:
        parts = payload.frame(Kind.REFUSED, payload.encode(record), self._lane.outputs, 0, ident)
        self._lane.send(parts)

    def _answer(self, ident: int, microseconds: int, results: list[Any], failures: Failures) -> None:
        try:
            encoded = payload.encode((results, failures) if failures else results)
        except BaseException as error:
            failures = self._blame(results, failures, error)
            results = [r for r in results if r is not _UNSENDABLE]
            encoded = payload.encode((results, failures))
        flags = Flag.FAILED if failures else 0
        number = min(microseconds, MAX_NUMBER)
        self._lane.send(payload.frame(Kind.RESULT, encoded, self._lane.outputs, number, ident, flags))

    def _blame(self, results: list[Any], failures: Failures, whole: BaseException) -> Failures:
        """Mark each result that can't be pickled; return the failures with theirs, by position."""
        merged = dict(failures)
        position = 0
        for i, result in enumerate(results):
            while position in merged:
                position += 1
            try:
                payload.encode(result)
            except BaseException as error:
                results[i] = _UNSENDABLE
                name = type(result).__name__
                said = UnpicklableResultError(f"the result ({name}) can't be pickled: {text_of(error)}")
                said.__cause__ = error
                merged[position] = capture(said)
            position += 1
        if len(merged) == len(failures):  # each alone can be sent: the fault is in none of them
            raise whole
        return sorted(merged.items())

    def _goodbye(self) -> None:
        for stream in self._forwarded:
            stream.finish()
        used = resource.getrusage(resource.RUSAGE_SELF)
        figures = (time.process_time(), used.ru_maxrss * 1024)
        self._lane.send([pack(Kind.GOODBYE, pickle.dumps(figures))])
        self._lane.flush()


_UNSENDABLE: Any = object()
