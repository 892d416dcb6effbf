"""The `run` command: plans, starts the workers, writes the results, and sums up.

    files --source--> chunks --pool--> results --sink--> output
                                          `--> console, tally, job log          one graph of two nodes (see `graph/`)

Runs in the coordinator. Whatever ends the run, the workers end with it, and nothing unfinished has the final
name.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.cli.run.checkpoints import open_checkpoints
from orchestrator.cli.run.chunk_logs import ChunkLogs
from orchestrator.cli.run.dead_letters import Letters
from orchestrator.cli.run.failure_report import headline, report
from orchestrator.cli.run.halt import Halting
from orchestrator.cli.run.plan import RunPlan, describe, describe_chunk, make_plan, open_sink, pool_options
from orchestrator.cli.run.tally import RecordTally
from orchestrator.cli.run.written_output import UnreadableFiles, WrittenOutput
from orchestrator.cli.session.console import Console, open_progress
from orchestrator.cli.session.exit_codes import EXIT_FAILURES, EXIT_HALTED, print_error, show, tell
from orchestrator.cli.session.report_file import pool_part
from orchestrator.cli.session.result_sink import ResultSink, ShownProgress
from orchestrator.cli.session.resume import resume_command
from orchestrator.cli.session.run import HaltedError, run_command
from orchestrator.cli.session.summary import tell_failures
from orchestrator.errors import OrchestratorError, PausedError
from orchestrator.pool.internals import internals_of
from orchestrator.sinks.disk.output_file import mode_beside

if TYPE_CHECKING:
    from orchestrator.cli.run.options import RunSettings
    from orchestrator.cli.session.result_sink import Observer
    from orchestrator.cli.session.signals import Signals
    from orchestrator.cli.session.steering import Steering
    from orchestrator.graph.checkpoints import Checkpoints
    from orchestrator.graph.runner import Runner
    from orchestrator.sinks import Sink
    from workers.records.blocks import BlockResult


def run(settings: RunSettings) -> int:
    """Do what the settings say and return the exit code.

    Raises:
        ConfigError: a mistake that was found before a worker started.
    """

    def make(signals: Signals, steering: Steering) -> RecordRun | None:
        steering.describe = describe_chunk
        if settings.dry_run:
            show(describe(make_plan(settings)))
            return None
        if settings.resuming.folder is None:
            return RecordRun(make_plan(settings), signals, steering)
        plan, checkpoints = open_checkpoints(settings)
        return RecordRun(plan, signals, steering, checkpoints)

    return run_command("run", settings.sizing, settings.report, make)


class RecordRun:
    """One run of a plan."""

    def __init__(
        self, plan: RunPlan, signals: Signals, steering: Steering, checkpoints: Checkpoints | None = None
    ) -> None:
        """Take the plan.

        Nothing is opened before `run`.
        """
        self.outputs = [plan.settings.output]
        self._plan = plan
        self._signals = signals
        self._steering = steering
        self._checkpoints = checkpoints
        self._tally = RecordTally()
        self._halting = Halting(plan.settings.failing.halt, resumable=checkpoints is not None)
        self._logs: ChunkLogs | None = None
        self._letters: Letters | None = None
        self._sink: Sink | None = None
        self._console: Console | None = None
        self._pool: Any = None

    def report(self, _said: str | None) -> dict[str, Any]:
        """Return the report's part about this run, when it has ended."""
        tally, settings, record_format = self._tally, self._plan.settings, self._plan.runner.record_format
        return {
            "output": None if self._plan.to_stdout else settings.output,
            "records": {
                "in": tally.records_in,
                "out": tally.records_out,
                "dropped": tally.dropped,
                "failed": tally.failed,
            },
            "pool": pool_part(settings.workers, None if self._pool is None else self._pool.stats()),
            "failures": [headline(failure, record_format) for failure in tally.first_failures],
        }

    def run(self) -> int:
        """Send every chunk through the pool, write the results, and make the output final."""
        result_sink = self._open_outputs()
        self._pool = _start_pool(self._plan)
        engine = self._graph(result_sink)
        self._halting.engine = engine
        if self._checkpoints is not None:
            self._signals.listen(partial(engine.pause, self._plan.settings.resuming.grace_s))
        try:
            engine.run()
        except PausedError:
            if self._halting.reached and self._signals.asked is None:
                raise HaltedError(self._halting.reason) from None
            raise
        self._pool.close()
        self._close_outputs()
        if self._halting.reached:
            return EXIT_HALTED
        return EXIT_FAILURES if self._tally.failed else 0

    def _open_outputs(self) -> ResultSink[BlockResult, BlockResult]:
        """Open all outputs, and return what takes results there."""
        plan, settings = self._plan, self._plan.settings
        resumes = self._checkpoints is not None and self._checkpoints.has_state
        self._logs = ChunkLogs(settings, goes_on=resumes, mode=mode_beside([settings.output]))
        self._letters = _open_letters(plan)
        if self._letters and self._checkpoints is not None and not resumes:
            self._letters.empty()  # what a run that was killed before its first checkpoint has written
        sink = self._sink = open_sink(plan)
        console = self._console = _open_console(plan)
        observers: list[Observer[BlockResult]] = [
            WrittenOutput(sink),
            self._tally,
            ShownProgress(console, _files if plan.counts_files else _input_bytes),
            self._logs,
        ]
        if self._letters is not None:
            observers.append(self._letters)
        return ResultSink(UnreadableFiles().once, [*observers, self._halting])

    def _close_outputs(self) -> None:
        for output in (self._console, self._logs, self._letters):
            if output is not None:
                output.close()

    def _graph(self, result_sink: ResultSink[BlockResult, BlockResult]) -> Runner:
        from orchestrator.cli.run.graph import graph_of  # noqa: PLC0415 - with the pool

        assert self._console is not None and self._logs is not None  # noqa: S101, PT018 - for the type checker
        self._console.show_prints_of(self._pool)
        self._steering.pool, self._steering.counts = self._pool, self._tally.so_far
        return graph_of(self._plan, self._pool, result_sink, self._checkpoints, self._logs.lost)

    def drop(self, stop: BaseException) -> None:
        """Stop everything at once and leave nothing behind."""
        if self._sink is not None:
            self._sink.abort()
        if self._letters is not None:
            stays = self._checkpoints is not None or self._plan.to_folder or self._is_in_place
            with suppress(OrchestratorError):
                (self._letters.close if stays else self._letters.remove)()
        if self._pool is not None:
            with suppress(OrchestratorError):  # their disk may be what ended the run
                if self._logs is not None:
                    self._logs.killed(internals_of(self._pool).engine)
                    self._logs.stopped_at(stop)
            with suppress(OrchestratorError):
                self._pool.terminate()
        self._plan.source.close()
        if self._console is not None:
            self._console.close()

    def close(self) -> None:
        """Close the checkpoints."""
        if self._checkpoints is not None:
            self._checkpoints.close()

    def why(self, error: OrchestratorError) -> str:
        """Return the record that failed, and how, or the error."""
        return report(error, self._plan.runner.record_format) + "\norchestrator: stopped"

    @property
    def _is_in_place(self) -> bool:
        return self._plan.to_stdout if self._sink is None else self._sink.in_place

    def left(self, _stop: BaseException) -> str:
        """Say what there is of the output.

        Of standard output nothing is known.
        """
        if self._sink is not None and self._sink.is_final:
            return f"; {self._plan.settings.output} is complete"
        if self._checkpoints is not None:
            return f"; to resume:\n  {resume_command()}"
        if self._is_in_place:
            return ""
        if self._plan.to_folder:
            return f"; the finished files are in {self._plan.settings.output}"
        return f"; nothing was written to {self._plan.settings.output}"

    def _something_left(self) -> str:
        """Say what there is of the output of a run that stopped early and gracefully."""
        if self._is_in_place:
            return ""
        name = self._plan.settings.output
        if self._plan.to_folder:
            return f"; the finished files are in {name}"
        return f"; {name} has the output so far"

    def sum_up(self) -> None:
        """Print the counts, and the first failures if there were any."""
        tally, settings = self._tally, self._plan.settings
        tell_failures([headline(each, self._plan.runner.record_format) for each in tally.first_failures], tally.failed)
        if self._halting.reached:
            print_error(self._halting.reason + self._something_left())
        elif tally.failed:
            print_error(f"finished with failures: {tally.failed:,} of {tally.records_in:,} records were skipped")
        if not settings.quiet:
            tell(tally.summary(self._pool.stats()))


def _files(result: BlockResult) -> int:
    return result.records_in


def _input_bytes(result: BlockResult) -> int:
    return result.origin.size_bytes


def _open_console(plan: RunPlan) -> Console:
    settings, counts_files = plan.settings, plan.counts_files
    known = plan.source.total_bytes is not None
    total = (len(plan.inputs) if counts_files else plan.source.total_bytes) if known else None
    unit = "files" if counts_files else "B"
    progress = open_progress(settings.show, total, unit=unit, scale=not counts_files, workers=settings.workers)
    return Console(progress, data_on_stdout=plan.to_stdout)


def _start_pool(plan: RunPlan) -> Any:
    """Start the workers.

    The pool is imported only now, so that a mistake is told without waiting for it.
    """
    from orchestrator.pool.pool import Pool  # noqa: PLC0415

    return Pool(**pool_options(plan))


def _open_letters(plan: RunPlan) -> Letters | None:
    failing = plan.settings.failing
    if failing.dead_letter is None:
        return None
    again = failing.retry_dead is not None
    mode = mode_beside([plan.settings.output])
    return Letters(failing.dead_letter, plan.settings.target, plan.runner.record_format, again=again, mode=mode)
