"""The logs of a run over records: a line or a slice for each attempt at a chunk.

A chunk that had ended, but waited for its turn when the run was stopped, has none: nothing of it was written.
Runs in the coordinator's thread.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from orchestrator.cli.logs.attempts import AttemptLogs, how_lost, of_chunk, of_failed, of_killed
from orchestrator.cli.logs.joblog import Joblog
from orchestrator.cli.logs.trace import Trace
from orchestrator.cli.session.result_sink import Observer
from orchestrator.errors import ItemTimeoutError, WorkerDiedError
from workers.records.blocks import RecordError

if TYPE_CHECKING:
    from orchestrator.cli.logs.attempts import AttemptLog
    from orchestrator.cli.run.options import RunSettings
    from orchestrator.engine.protocol.events import Lost
    from workers.records.blocks import BlockResult


class ChunkLogs(Observer["BlockResult"]):
    """The job log and the trace, where asked for."""

    saved_as = "joblog"

    def __init__(self, settings: RunSettings, *, goes_on: bool, mode: int) -> None:
        """Open the logs.

        Args:
            settings: of the run.
            goes_on: the job log continues with that of an earlier run.
            mode: of files that are made.

        Raises:
            ConfigError: one can't be written to.
        """
        self._target = settings.target
        logs: list[AttemptLog] = []
        self._joblog = None if settings.joblog is None else Joblog(settings.joblog, resumes=goes_on, mode=mode)
        if self._joblog is not None:
            logs.append(self._joblog)
        if settings.trace is not None:
            logs.append(Trace(settings.trace, f"orchestrator run {settings.target}", mode))
        self._logs = AttemptLogs(logs)
        self._any = bool(logs)
        self.close = self._logs.close

    def observe(self, result: BlockResult) -> None:
        """Record a chunk that was written.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        if self._any:
            self._logs.write(of_chunk(self._target, result))

    def lost(self, event: Lost) -> None:
        """Record a chunk that was lost with a worker.

        It runs again, or is given up.
        """
        exitval, number = how_lost(event)
        chunk = event.chunk.items[0]
        self._logs.write(of_killed(self._target, chunk, event.held_s, event.worker, exitval=exitval, signal=number))

    def killed(self, coordinator: Any) -> None:
        """Record the chunks of workers that are about to be killed."""
        if self._any:
            for chunk, worker, run_s in coordinator.at_work():
                killed = of_killed(self._target, chunk.items[0], run_s, worker, exitval=0, signal=signal.SIGKILL.value)
                self._logs.write(killed)

    def stopped_at(self, error: BaseException) -> None:
        """Record the chunk that the run stopped at, if that is why it did."""
        noted = isinstance(error, WorkerDiedError | ItemTimeoutError)  # by `lost`
        if isinstance(error.__cause__, RecordError) and not noted:
            self._logs.write(of_failed(self._target, error.__cause__))

    def snapshot(self) -> dict[str, Any] | None:
        """Make the job log durable, and return its size and how to recognize it."""
        return None if self._joblog is None else self._joblog.snapshot()

    def restore(self, state: dict[str, Any] | None) -> None:
        """Continue the job log behind its former content.

        A trace always covers one run.
        """
        if self._joblog is not None and state is not None:
            self._joblog.restore(state)
