"""One run of `exec`.

    rows --feed--> commands --pool--> how they ended --result_sink--> tally, job log, tried again?, halt?, output
             ^                                           |
             +-------------- tried again ----------------+             one graph of two nodes (see `graph/`)

Runs in the coordinator; the workers start the commands (`workers/commands/runner.py`). Results come as commands end,
and only the output is put in order: so a failure is seen, and acted on, when it happens.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from orchestrator.cli.exec.arguments.rows import Rows
from orchestrator.cli.exec.dead_letters import DeadCommands
from orchestrator.cli.exec.ended_commands import EndedCommands
from orchestrator.cli.exec.feed import CommandFeed, OverdueError, Pace, nameless_file
from orchestrator.cli.exec.output import GroupedOutput, to_stderr
from orchestrator.cli.exec.results import kept, open_results
from orchestrator.cli.exec.stopping import GivenUpStdout, Stopping
from orchestrator.cli.exec.tally import CommandTally, gnu_exit_code, said
from orchestrator.cli.flags.halt import HaltCount
from orchestrator.cli.logs.attempts import AttemptLogs
from orchestrator.cli.logs.joblog import Joblog
from orchestrator.cli.logs.trace import Trace
from orchestrator.cli.session.console import Console, open_progress
from orchestrator.cli.session.exit_codes import EXIT_FAILURES, EXIT_HALTED, print_error, tell
from orchestrator.cli.session.report_file import pool_part
from orchestrator.cli.session.result_sink import ResultSink, ShownProgress
from orchestrator.cli.session.run import StoppedError
from orchestrator.cli.session.summary import tell_failures
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.pool.internals import internals_of
from orchestrator.settings import MapOptions
from orchestrator.sinks.compressed import named_output
from orchestrator.sinks.disk.output_file import mode_beside
from orchestrator.sinks.given import GivenSink
from workers.commands import runner
from workers.commands.template import CommandTemplate, TemplateError

if TYPE_CHECKING:
    from orchestrator.cli.exec.blocks.cutting import Blocks
    from orchestrator.cli.exec.feed import Settled
    from orchestrator.cli.exec.options.settings import ExecSettings
    from orchestrator.cli.exec.output import ByteSink
    from orchestrator.cli.logs.attempts import AttemptLog
    from orchestrator.cli.session.result_sink import Observer
    from orchestrator.cli.session.signals import Signals
    from orchestrator.cli.session.steering import Steering
    from orchestrator.engine.recovery.item_errors import Failure
    from orchestrator.graph.runner import Runner
    from workers.commands.placeholders import PlainTemplate

    _CommandSink = ResultSink[runner.CommandResult | Failure, Settled]

_LEFT_TO_WORKERS_S = 2 * runner.GRACE_S + 5.0
"""How long after its timeout a command's worker, which should have killed it, is killed."""


class CommandRun:
    """One run of `exec`."""

    def __init__(  # noqa: PLR0917 - what runs, and what steers it
        self,
        settings: ExecSettings,
        template: CommandTemplate,
        rows: Rows | Blocks,
        done: dict[int, str],
        signals: Signals,
        steering: Steering,
    ) -> None:
        """Take the plan, and the seqs that an earlier run has done.

        Nothing is opened before `run`.
        """
        self.outputs = [settings.output.path]
        self._done = done
        self._signals = signals
        self._steering = steering
        self._settings = settings
        self._sizing = settings.pace.sizing
        self._tag = _plain(settings, settings.output.tag)
        self._workdir = _plain(settings, settings.pace.workdir)
        self._template = template
        self._rows = rows
        self._tally = CommandTally(keeps_times=settings.failures.timeout_share is not None)
        self._halt = HaltCount(settings.failures.halt, rows.total)
        blocks = settings.command.blocks
        self._feed = CommandFeed(
            rows,
            retries=0 if blocks is not None and blocks.deals else settings.failures.retries,  # what is dealt is gone
            retry_delay_s=settings.failures.retry_delay_s,
            done=done,
            slots=lambda: self._pool.size,
            has_room=lambda: self._output is None or self._output.has_room,
            pace=Pace(settings.pace, settings.command.shell),
            timeout_s=self._timeout_s,
            begun=self._begun,
            folder=settings.output.tmpdir,
        )
        self._stopping = Stopping(self._feed, self._halt, signals)
        self._output: GroupedOutput | None = None
        self._sink: ByteSink | None = None
        self._results: Observer[Settled] | None = None
        self._letters: Observer[Settled] | None = None
        self._lock: IO[bytes] | None = None
        self._console: Console | None = None
        self._logs = AttemptLogs([])
        self._ended: EndedCommands | None = None
        self._pool: Any = None

    def report(self, _said: str | None) -> dict[str, Any]:
        """Return the report's part about this run, when it has ended."""
        tally = self._tally
        stats = None if self._pool is None else self._pool.stats()
        return {
            "output": None if self._settings.output.to_stdout else self._settings.output.path,
            "commands": {
                "succeeded": tally.succeeded,
                "failed": tally.failed,
                "ended": tally.ended,
                "tried_again": tally.retries,
            },
            "pool": pool_part(max(1, self._sizing.workers), stats, tally.cpu_s),
            "failures": [said(each) for each in tally.first_failures],
        }

    # ---- the run --------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Run all commands, or as many as --halt allows, as `Run.run` says."""
        output, ended, result_sink = self._open_outputs()
        self._pool = self._stopping.pool = self._start_pool()
        self._steering.pool, self._steering.describe = self._pool, self._line_of
        self._steering.counts = self._tally.so_far
        engine = self._graph(result_sink, ended)
        self._stopping.hear_signals()
        try:
            engine.run()
        except OverdueError:
            self._pool.terminate()
            ended.give_up()
        except TemplateError as error:  # of an expression in a tag, or in words that are filled
            raise OrchestratorError(str(error)) from None
        self._stopping.end()
        self._pool.close()
        self._close_outputs(output)
        if self._settings.gnu:
            return gnu_exit_code(self._tally, self._halt, self._stopping.reached_with)
        if self._halt.reached:
            return 0 if self._halt.halt.why == "success" else EXIT_HALTED
        return EXIT_FAILURES if self._tally.failed else 0

    def _open_outputs(self) -> tuple[GroupedOutput, EndedCommands, _CommandSink]:
        """Open all outputs, and return what takes results there, last step first."""
        settings, done = self._settings, self._done
        self._logs = _open_logs(settings)
        if settings.failures.dead_letter is not None:
            self._letters = DeadCommands(settings.failures.dead_letter, mode_beside([settings.output.path]))
        if settings.output.results is not None:
            self._results = open_results(settings.output.results, settings.command.places)
        self._sink = _open_sink(settings.output.path, self._stopping)
        total = None if self._rows.total is None else max(0, self._rows.total - len(done))
        self._sizing = settings.pace.sizing.at_most(total)
        workers = max(1, self._sizing.workers)
        progress = open_progress(settings.logs.show, total, unit="commands", scale=False, workers=workers)
        console = self._console = Console(progress, data_on_stdout=settings.output.to_stdout)
        output = self._output = GroupedOutput(
            self._sink,
            console,
            ordered=settings.output.ordered,
            to_stdout=settings.output.to_stdout,
            done=done,
            tag=None if self._tag is None else self._tag_of,
            head=_line_of_result if settings.output.shows else None,
            kept=(lambda file: kept(file, settings.output.tmpdir)) if settings.output.files else None,
        )
        ended = self._ended = EndedCommands(
            self._feed, self._tally, self._logs, self._line_of, each_try=not settings.gnu
        )
        writes = output if self._results is None else self._results
        letters = [] if self._letters is None else [self._letters]
        observers = [self._tally, ShownProgress(console, _one), *letters, writes, self._stopping]
        return output, ended, ResultSink(ended.settle, observers)

    def _close_outputs(self, output: GroupedOutput) -> None:
        """Make the output final, as all that began has ended."""
        if self._signals.asked is not None:
            output.drop()
            raise StoppedError("asked to stop")
        self._tally.failed += self._feed.given_up
        output.flush()  # where the run was halted, outputs may wait for those of commands that were not begun
        for observer in (self._results, self._letters):
            if observer is not None:
                observer.finish()
        for each in (self._console, self._sink, self._feed, self._logs, self._lock):
            if each is not None:
                each.close()

    def _start_pool(self) -> Any:
        """Start the workers.

        The pool is imported only now, so that a mistake is told without waiting for it.
        """
        from orchestrator.pool.pool import Pool  # noqa: PLC0415

        settings = self._settings
        return Pool(
            workers=self._sizing,
            initializer=runner.prepare,
            initargs=(settings.pace.nice or 0,),
            memfree=settings.pace.memfree_bytes,
            threads_per_worker=settings.pace.threads or 0,
        )

    def _graph(self, result_sink: _CommandSink, ended: EndedCommands) -> Runner:
        from orchestrator.graph.runner import Runner  # noqa: PLC0415 - with the pool
        from orchestrator.graph.sinks import SinkNode  # noqa: PLC0415
        from orchestrator.graph.source_stage import FeedNode  # noqa: PLC0415

        settings = self._settings
        timeout_s = settings.failures.timeout_s
        if settings.output.mode == "lines":
            self._lock = nameless_file(settings.output.tmpdir)
        command_runner = runner.CommandRunner(
            self._template,
            os.getpid(),
            as_file=settings.command.blocks is not None and settings.command.blocks.as_file,
            mode=settings.output.mode,
            tag=self._tag,
            lock_fd=-1 if self._lock is None else self._lock.fileno(),
            workdir=self._workdir,
            start_folder="" if self._workdir is None else os.path.realpath("."),
            tmpdir=settings.output.tmpdir,
        )
        options = MapOptions(
            ordered=False,
            chunk=1,
            on_error="return",
            look_ahead=False,
            timeout_s=None if timeout_s is None else timeout_s + _LEFT_TO_WORKERS_S,
        )

        def open_stage() -> Any:
            stage = internals_of(self._pool).open_stage(command_runner, options)
            stage.tell_lost(ended.lost)
            return stage

        node = FeedNode("", self._feed, open_stage)
        written = SinkNode("", GivenSink(result_sink))
        node.outlets[0].to(written)
        return Runner([node, written], internals_of(self._pool).engine)

    def drop(self, _stop: BaseException) -> None:
        """Stop everything at once and leave nothing behind."""
        self._stopping.end()
        if self._pool is not None:
            with suppress(OrchestratorError):
                self._pool.terminate()
        if self._ended is not None:
            with suppress(OrchestratorError):  # the log's disk may be what ended the run
                self._ended.give_up()
        for observer in (self._results, self._letters):
            if observer is not None:
                observer.abort()
        if self._lock is not None:
            self._lock.close()
        if self._sink is not None:
            self._sink.abort()
        self._feed.close()
        if self._console is not None:
            self._console.close()
        with suppress(OrchestratorError):
            self._logs.close()

    def close(self) -> None:
        """Do nothing, as nothing was opened before `run`."""

    def _timeout_s(self) -> float | None:
        share = self._settings.failures.timeout_share
        return self._settings.failures.timeout_s if share is None else self._tally.share_of_median(share)

    def _begun(self, command: runner.Command) -> None:
        """Tell the line of a command that begins, where it is told then."""
        output = self._settings.output
        if output.traces or (output.shows and output.mode != "group"):
            line = os.fsencode(self._line_of(command) + "\n")
            if output.traces:
                to_stderr(line)
            else:
                os.write(1, line)

    def _tag_of(self, result: runner.CommandResult, command: runner.Command) -> bytes:
        tag = self._tag
        numbers = result.seq + 1, result.worker + 1
        return b"" if tag is None else os.fsencode(tag.render(command.arguments, *numbers)) + b"\t"

    # ---- telling ----------------------------------------------------------------------------------------------------

    def _line_of(self, command: runner.Command) -> str:
        try:
            return self._template.render(command.arguments, command.seq + 1, None)
        except TemplateError:  # the worker says so
            return ""

    @staticmethod
    def why(error: OrchestratorError) -> str:
        """Return the error's text."""
        return str(error)

    def left(self, stop: BaseException) -> str:
        """Say how many commands a signal ended, and what there is of the output."""
        by_signal = isinstance(stop, StoppedError) or not isinstance(stop, OrchestratorError)
        ended = self._killed() if by_signal else ""
        if self._sink is not None and self._sink.is_final:
            return f"{ended}; {self._settings.output.path} is complete"
        in_place = self._settings.output.to_stdout or (self._sink is not None and self._sink.in_place)
        return ended if in_place else f"{ended}; nothing was written to {self._settings.output.path}"

    def _killed(self) -> str:
        """Return how many were killed, as a part of a sentence."""
        ended = self._tally.ended
        return f"; {ended:,} running {'command was' if ended == 1 else 'commands were'} killed" if ended else ""

    def sum_up(self) -> None:
        """Print the counts, and the first failures if there were any."""
        tally = self._tally
        tell_failures([said(each) for each in tally.first_failures], tally.failed)
        if not self._settings.logs.quiet:
            tell(tally.summary(self._pool.stats()))
        if self._halt.reached:
            kept = "" if self._settings.output.to_stdout else f"; {self._settings.output.path} has the output so far"
            print_error(f"stopped by {self._halt.reason('commands')}{self._killed()}{kept}")
        elif tally.failed:
            print_error(f"finished with failures: {tally.failed:,} of {tally.done:,} commands failed")


def _plain(settings: ExecSettings, text: str | None) -> PlainTemplate | None:
    return None if text is None else settings.command.places.plain(text)


def _line_of_result(result: runner.CommandResult) -> bytes:
    return os.fsencode(result.line) + b"\n"


def _one(_settled: Settled) -> int:
    return 1


def _open_logs(settings: ExecSettings) -> AttemptLogs:
    logs: list[AttemptLog] = []
    mode = mode_beside([settings.output.path])
    if settings.logs.joblog is not None:
        logs.append(Joblog(settings.logs.joblog, resumes=settings.logs.resumes, mode=mode))
    if settings.logs.trace is not None:
        logs.append(Trace(settings.logs.trace, f"orchestrator exec {settings.command.line or ''}", mode))
    return AttemptLogs(logs)


def _open_sink(output: str, stopping: Stopping) -> ByteSink:
    if output == "-":
        return GivenUpStdout(stopping)
    try:
        file = named_output(output)
        file.open()
    except OrchestratorError as error:
        raise ConfigError(str(error)) from None
    return file
