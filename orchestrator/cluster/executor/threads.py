"""Runs chunks in threads of this process, for executors that have nothing else.

Owner of the state: one engine, under `_lock`.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import Any

from orchestrator.cluster.node.messages import Call, Outcome, Work
from orchestrator.engine.protocol.in_process import OpenCall
from workers.errors.capture import capture, keeping_exceptions
from workers.functions.calls import begin, runner_of
from workers.process.context import WorkerContext, entered_by_thread


class ThreadRunner:
    """The functions of the open calls, each as often as threads run it at once."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._lock = threading.Lock()
        self._free: dict[int, list[OpenCall]] = {}
        self._oldest = 0
        self._ids = deque(range(slots))

    def end_calls(self, oldest: int) -> None:
        """Forget the functions of calls before this one, and stop between two items what runs for them."""
        with self._lock:
            self._oldest = max(self._oldest, oldest)
            for number in [number for number in self._free if number < self._oldest]:
                del self._free[number]

    def run(self, call: Call, work: Work) -> Outcome:
        """Run a chunk in this thread, and return what became of it."""
        with self._lock:
            if call.number < self._oldest:
                return Outcome("returned", "", os.getpid())
            free = self._free.setdefault(call.number, [])
            opened = free.pop() if free else OpenCall(deque(), call.function, call.name)
            worker_id = self._ids.popleft() if self._ids else self._slots
        try:
            with entered_by_thread(WorkerContext(worker_id, self._slots)):
                return self._outcome(opened, call, work)
        finally:
            with self._lock:
                if worker_id < self._slots:
                    self._ids.append(worker_id)
                if call.number in self._free:
                    self._free[call.number].append(opened)

    def _outcome(self, opened: OpenCall, call: Call, work: Work) -> Outcome:
        message: Any = work.body
        try:
            with keeping_exceptions():
                runner = opened.runner = opened.runner or runner_of(opened.spec, opened.ask_file)
        except BaseException as error:
            with keeping_exceptions():
                return Outcome("refused", "", os.getpid(), body=capture(error))
        begin(runner, message)
        started = time.perf_counter()
        with keeping_exceptions():
            done = runner.run(list(message[1]), lambda: call.number < self._oldest)
        run_s = time.perf_counter() - started
        answer, flags = opened.answer(done)
        return Outcome(
            "finished", "", os.getpid(), run_s=run_s, flags=flags, body=answer, spill=opened.take_file()
        )
