"""The worker's loop: receive a frame, do what it says, send the answer.

    receive -> decode -> function(item)… -> encode -> send          (one chunk)

Runs in the worker process, in its main thread, which owns all state here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from time import perf_counter
from typing import Any

from workers.errors.capture import ExceptionRecord, add_note, capture
from workers.functions.calls import Runner, begin, runner_of
from workers.functions.fused import FusedResults
from workers.functions.fused_reading import ReadResults
from workers.functions.runner import CallRunner, CallSpec, Failures
from workers.pickling import main_module
from workers.process import leaving
from workers.process.peak_memory import peak_bytes
from workers.sync import shared_object
from workers.transport import forks, payload
from workers.transport.lane import SIGNAL, WorkerLane
from workers.transport.stdio import ForwardedStream
from workers.transport.unsendable import unsendable
from workers.transport.watch import Watch
from workers.transport.wire import MAX_NUMBER, Flag, Frame, Kind, pack

_FLUSH_S = 0.001
"""Results wait at most this long for company before they are written."""
_QUICK_S = 0.0001
"""Only those of chunks that run shorter wait: the next chunk may run for long, and nothing is written meanwhile."""


class ChunkLoop:
    """Serves one lane until it is told to stop."""

    def __init__(
        self,
        lane: WorkerLane,
        abandoned_calls: memoryview,
        watch: Watch,
        finalizer: Callable[[], object] | None = None,
    ) -> None:
        self._lane = lane
        self._abandoned_calls = abandoned_calls  # written by the coordinator only: slot number % slots holds number
        self._slots = len(abandoned_calls)
        self._watch = watch
        self._finalizer = finalizer
        self._calls: dict[int, Runner | ExceptionRecord] = {}
        self._plain = (sys.stdout, sys.stderr)
        self._forwarded = (ForwardedStream(lane, "stdout", 1), ForwardedStream(lane, "stderr", 2))
        self._flushed_at = perf_counter()
        self._pid = os.getpid()
        self._running: tuple[int, CallRunner] | None = None
        """The chunk that runs, if some of its items may be given back, and its call."""
        signal.signal(SIGNAL, self._give_back)
        signal.siginterrupt(SIGNAL, False)

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
            elif kind == Kind.REBIND:
                main_module.rebind(payload.decode(frame[1], frame[2], frame[5], self._lane.inputs))
            elif kind == Kind.UNSHARE:
                shared_object.forget(frame[5])
            elif kind == Kind.STOP:
                self._goodbye()
                return

    def _give_back(self, _signal: int, _frame: object) -> None:
        """Write finished results, and give back the unbegun items of this chunk, as another worker is idle."""
        with contextlib.suppress(OSError):  # the coordinator is gone
            self._lane.flush_within(self._split)

    def _split(self) -> bytes:
        if self._running is None:
            return b""
        ident, call = self._running
        begun = call.give_back()
        return b"" if begun is None else pack(Kind.SPLIT, number=begun, ident=ident)

    def _function(self, frame: Frame) -> None:
        self._watch.loading(frame[3])
        try:
            spec: CallSpec = payload.decode(frame[1], frame[2], frame[5], self._lane.inputs)
            self._calls[frame[3]] = runner_of(spec, self._lane.file)
            if spec.forward_output:
                sys.stdout, sys.stderr = self._forwarded
            else:
                sys.stdout, sys.stderr = self._plain
        except BaseException as error:
            add_note(error, "can't load the function in the worker")
            self._calls[frame[3]] = capture(error)
        self._watch.loaded()

    def _chunk(self, frame: Frame) -> None:
        ident = frame[4]
        if self._watch.takes(ident):
            self._run(frame)
        else:
            payload.discard(frame[2], frame[5], self._lane.inputs)
            self._lane.send([pack(Kind.RETURNED, ident=ident)])
        self._watch.answered(ident)

    def _run(self, frame: Frame) -> None:
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
        watch = self._watch if call.spec.watched or flags & Flag.WATCHED else None
        if watch is not None:
            watch.begin(ident)
        try:
            message = payload.decode(flags, buffers, body, self._lane.inputs)
            items = message[1]
        except BaseException as error:
            add_note(error, "can't unpickle the item in the worker")
            if watch is not None:
                watch.end()
            self._refuse(ident, capture(error))
            return
        begin(call, message)
        del message
        started = perf_counter()
        if isinstance(call, CallRunner):
            self._running = ident, call
        done = call.run(items, lambda: self._is_abandoned(number), None if watch is None else watch.item)
        self._running = None
        ended = perf_counter()
        self._after_functions(ident, forwards=call.spec.forward_output)
        if watch is not None:
            watch.encoding()
        del items
        microseconds = min(int((ended - started) * 1e6), MAX_NUMBER)
        if isinstance(done, tuple):
            self._answer(ident, microseconds, *done, drop_none=call.spec.drop_none)
        else:
            self._answer_fused(ident, microseconds, done, stop=call.spec.stop_at_failure)
        if watch is not None:
            watch.end()
        self._write_if_due(started, ended, prompt=call.spec.prompt)

    def _write_if_due(self, started: float, ended: float, *, prompt: bool) -> None:
        if prompt or ended - started > _QUICK_S or ended - self._flushed_at > _FLUSH_S:
            self._lane.flush()
            self._flushed_at = ended

    def _after_functions(self, ident: int, *, forwards: bool) -> None:
        """Exit in a forked child, and send prints before the results."""
        if os.getpid() != self._pid:
            forks.leave(self._pid, say=not self._watch.forked(ident))
        if forwards:
            for stream in self._forwarded:
                stream.tell_rest()

    def _is_abandoned(self, number: int) -> bool:
        """Tell whether nobody waits for the call any more, or this is a forked child."""
        return bool(self._abandoned_calls[number % self._slots] == number) or os.getpid() != self._pid

    def _refuse(self, ident: int, record: ExceptionRecord) -> None:
        parts = payload.frame(Kind.REFUSED, payload.encode(record), self._lane.outputs, 0, ident)
        self._lane.send(parts)

    def _answer(
        self, ident: int, microseconds: int, results: list[Any], failures: Failures, *, drop_none: bool
    ) -> None:
        """Send the results.

        With failures, all of them, as their positions tell whose they are.
        """
        try:
            if failures:
                encoded = payload.encode((results, failures))
            else:
                kept = [result for result in results if result is not None] if drop_none else results
                encoded = payload.encode(kept)
        except BaseException as error:
            results, failures = _without_unsendable(results, failures, error, grouped=False)
            encoded = payload.encode((results, failures))
        self._send_result(ident, microseconds, encoded, Flag.FAILED if failures else 0)

    def _answer_fused(self, ident: int, microseconds: int, done: FusedResults | ReadResults, *, stop: bool) -> None:
        """Send a flat list of results, or those of each item if one failed or spilled, with the tally of the steps."""
        failures: Any = done.failures
        spilled = Flag.SPILLED if done.spilled else 0
        try:
            grouped = failures or spilled
            encoded = payload.encode((done.by_item(stop=stop) if grouped else done.flat(), failures, done.tally))
        except BaseException as error:
            if isinstance(done, ReadResults):
                done.refuse(lambda group: unsendable(group, grouped=True))
                groups, failures = done.by_item(stop=stop), done.failures
            else:
                groups, failures = _without_unsendable(done.by_item(stop=stop), failures, error, grouped=True)
            encoded = payload.encode((groups, failures, done.tally))
        self._send_result(ident, microseconds, encoded, spilled | (Flag.FAILED if failures else 0))

    def _send_result(self, ident: int, microseconds: int, encoded: payload.Encoded, flags: int) -> None:
        if self._watch.has_forked(ident):
            flags |= Flag.FORKED
        self._lane.send(payload.frame(Kind.RESULT, encoded, self._lane.outputs, microseconds, ident, flags))

    def _goodbye(self) -> None:
        farewell = leaving.farewell(self._finalizer)
        for stream in self._forwarded:
            stream.finish()
        sys.stdout, sys.stderr = self._plain
        goodbye = (time.process_time(), peak_bytes(), farewell)
        self._lane.send(payload.frame(Kind.GOODBYE, payload.encode(goodbye), self._lane.outputs, 0, 0))
        self._lane.flush()


def _without_unsendable(
    results: list[Any], failures: Failures, whole: BaseException, *, grouped: bool
) -> tuple[list[Any], Failures]:
    """Return the results that can be pickled, and all failures, with the results that can't be.

    Args:
        results: of the items that did not fail, in their order; with `grouped`, each is a list of results.
        failures: by position in the chunk.
        whole: what pickling them all together raised; raised again if each alone can be pickled.
        grouped: see `results`.
    """
    merged = dict(failures)
    sendable = []
    position = 0
    for result in results:
        while position in merged:
            position += 1
        failed = unsendable(result, grouped=grouped)
        if failed is None:
            sendable.append(result)
        else:
            merged[position] = capture(failed)
        position += 1
    if len(merged) == len(failures):
        raise whole
    return sendable, sorted(merged.items())
