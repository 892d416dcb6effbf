"""The `run` command: plan, start the workers, write what comes back, sum up.

    files --source--> chunks --pool--> results --sink--> output
                                          `--> console, tally, job log          one graph of two nodes (see `graph/`)

Runs in the coordinator. Whatever ends the run, the workers end with it, and nothing unfinished has the final
name.
"""

from __future__ import annotations

import os
import signal
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.cli.logs.report_file import ReportFile, pool_part
from orchestrator.cli.run.checkpoints import open_checkpoints
from orchestrator.cli.run.chunk_logs import ChunkLogs
from orchestrator.cli.run.dead_letters import Letters
from orchestrator.cli.run.failure_report import headline, report
from orchestrator.cli.run.halt import HaltedError, Halting
from orchestrator.cli.run.plan import RunPlan, describe, describe_chunk, make_plan, open_sink
from orchestrator.cli.run.result_sink import RecordingSink
from orchestrator.cli.session.console import Console, open_progress
from orchestrator.cli.session.exit_codes import (
    EXIT_FAILURES,
    EXIT_HALTED,
    EXIT_MISMATCH,
    EXIT_SIGINT,
    EXIT_SIGTERM,
    complain,
    show,
    tell,
)
from orchestrator.cli.session.pausing import Asked
from orchestrator.cli.session.resume import NothingToResumeError, resume_command
from orchestrator.cli.session.signals import Terminated, signals
from orchestrator.cli.session.steering import Steering
from orchestrator.cli.session.summary import Tally
from orchestrator.engine.protocol.counts import SHOWN_FAILURES
from orchestrator.errors import (
    ConfigError,
    OrchestratorError,
    PausedError,
    ResumeMismatchError,
)
from orchestrator.settings import MapOptions
from orchestrator.sinks.disk.in_place import ReaderGoneError
from orchestrator.sinks.disk.output_file import mode_beside
from orchestrator.sinks.disk.stdout import discard_stdout
from workers.pickling import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.cli.run.options import RunSettings
    from orchestrator.engine.protocol.events import Lost
    from orchestrator.engine.stage import Stage
    from orchestrator.graph.checkpoints import Checkpoints
    from orchestrator.graph.runner import Runner
    from orchestrator.sinks import Sink


def run(settings: RunSettings) -> int:
    """Do what the settings say and return the exit code.

    Raises:
        ConfigError: a mistake that was found before a worker started.
    """
    try:
        with signals(), Steering(settings.sizing, describe=describe_chunk) as steering:
            if settings.dry_run:
                show(describe(make_plan(settings)))
                return 0
            if settings.checkpoint is None:
                return _go(Run(make_plan(settings), steering), settings.report, [settings.output])
            plan, checkpoints = open_checkpoints(settings)
            with closing(checkpoints):
                return _go(Run(plan, steering, checkpoints), settings.report, [settings.output])
    except Terminated:
        return EXIT_SIGTERM
    except ResumeMismatchError as error:
        complain(str(error))
        return EXIT_MISMATCH
    except NothingToResumeError as done:
        complain(str(done))
        return EXIT_FAILURES if done.failed else 0


def _go(one: Run, report: str | None, outputs: Sequence[str]) -> int:
    with ReportFile(report, "run", outputs) as file:
        code = one.go()
        file.write(code, finished=one.finished, **one.told())
        return code


class Run:
    """One run of a plan."""

    def __init__(self, plan: RunPlan, steering: Steering, checkpoints: Checkpoints | None = None) -> None:
        """Take the plan; nothing is opened before `go`."""
        self._plan = plan
        self._steering = steering
        self._checkpoints = checkpoints
        self._asked = Asked()
        self._tally = Tally()
        self._halting = Halting(plan.settings.failing.halt, resumable=checkpoints is not None)
        self._logs: ChunkLogs | None = None
        self._letters: Letters | None = None
        self._sink: Sink | None = None
        self._console: Console | None = None
        self._pool: Any = None
        self.finished = False
        """Whether all that was to be read was."""

    def go(self) -> int:
        """Run to the end, whatever end that is, and return the exit code.

        Raises:
            ConfigError: the outputs can't be written to; no worker was started.
        """
        try:
            code = self._transform()
        except ConfigError:
            self._drop()
            raise
        except (OrchestratorError, KeyboardInterrupt, Terminated) as stop:
            self._drop()
            return self._tell(stop)
        except BaseException:
            self._drop()
            raise
        self.finished = True
        self._sum_up()
        return code

    def told(self) -> dict[str, Any]:
        """Return what the report tells of it, when it has ended."""
        tally, settings = self._tally, self._plan.settings
        return {
            "output": None if self._plan.to_stdout else settings.output,
            "records": {
                "in": tally.records_in,
                "out": tally.records_out,
                "dropped": tally.dropped,
                "failed": tally.failed,
            },
            "pool": pool_part(settings.workers, None if self._pool is None else self._pool.stats()),
            "failures": [headline(failure, settings.record_format) for failure in tally.first_failures],
        }

    def _tell(self, stop: BaseException) -> int:
        """Say why the run ended before its end, and return the exit code."""
        match stop:
            case ReaderGoneError():
                if self._plan.to_stdout:
                    discard_stdout()
                code = 0
            case HaltedError() | PausedError() if self._halting.reached and self._asked.signal is None:
                complain(self._halting.reason + self._nothing_left())
                code = EXIT_HALTED
            case PausedError():
                complain(f"stopped by {self._asked.stopped_by.name}" + self._nothing_left())
                code = 128 + self._asked.stopped_by
            case KeyboardInterrupt():
                complain("interrupted" + self._nothing_left())
                code = EXIT_SIGINT
            case Terminated():
                complain("ended by SIGTERM" + self._nothing_left())
                code = EXIT_SIGTERM
            case _:
                assert isinstance(stop, OrchestratorError)  # noqa: S101 - for the type checker
                self._say_why(stop)
                code = EXIT_FAILURES
        return code

    def _transform(self) -> int:
        """Send every chunk through the pool, write the results, make the output final."""
        plan, settings, tally = self._plan, self._plan.settings, self._tally
        goes_on = self._checkpoints is not None and self._checkpoints.has_state
        logs = self._logs = ChunkLogs(settings, goes_on=goes_on, mode=mode_beside([settings.output]))
        self._letters = _open_letters(plan)
        if self._letters and self._checkpoints is not None and not self._checkpoints.has_state:
            self._letters.empty()  # what a run that was killed before its first checkpoint has written
        self._sink = open_sink(plan)
        console = self._console = _open_console(plan)
        self._pool = _start_pool(plan)
        self._pool.on_output = console.printed
        self._steering.pool, self._steering.counts = self._pool, tally.so_far
        recording = RecordingSink(
            self._sink, tally, console, logs, self._letters,
            counts_records=plan.counts_files, halting=self._halting,
        )  # fmt: skip
        engine = _graph(plan, self._pool, recording, self._checkpoints, logs.lost)
        self._halting.engine = engine
        if self._checkpoints is not None:
            self._asked.listen(engine, settings.grace_s)
        engine.run()
        self._pool.close()
        console.close()
        logs.close()
        if self._letters:
            self._letters.close()
        if self._halting.reached:
            return EXIT_HALTED
        return EXIT_FAILURES if self._tally.failed else 0

    def _drop(self) -> None:
        """End everything at once and leave nothing behind. A second Ctrl-C is not waited for."""
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):  # not in the main thread
                signal.signal(number, lambda number, _frame: os._exit(128 + number))
        if self._sink is not None:
            self._sink.abort()
        if self._letters is not None:
            stays = self._checkpoints is not None or self._plan.to_folder or self._is_in_place
            with suppress(OrchestratorError):
                (self._letters.close if stays else self._letters.remove)()
        if self._pool is not None:
            with suppress(OrchestratorError):  # their disk may be what ended the run
                if self._logs is not None:
                    self._logs.killed(self._pool.coordinator)
            with suppress(OrchestratorError):
                self._pool.terminate()
        self._plan.source.close()
        if self._console is not None:
            self._console.close()

    def _say_why(self, error: OrchestratorError) -> None:
        complain(report(error, self._plan.settings.record_format) + self._nothing_left("\norchestrator: stopped"))
        with suppress(OrchestratorError):
            if self._logs is not None:
                self._logs.stopped_at(error)

    @property
    def _is_in_place(self) -> bool:
        return self._plan.to_stdout if self._sink is None else self._sink.in_place

    def _nothing_left(self, lead: str = "") -> str:
        """Say what there is of the output; nothing can be said of standard output."""
        if getattr(self._sink, "is_final", False):
            return f"{lead}; {self._plan.settings.output} is whole"
        if self._checkpoints is not None:
            return f"{lead}; to go on where it was:\n  {resume_command()}"
        if self._is_in_place:
            return lead
        if self._plan.to_folder:
            return f"{lead}; the files that were whole are in {self._plan.settings.output}"
        return f"{lead}; nothing was written to {self._plan.settings.output}"

    def _something_left(self) -> str:
        """Say what there is of the output of a run that came to an early end in good order."""
        if self._is_in_place:
            return ""
        name = self._plan.settings.output
        if self._plan.to_folder:
            return f"; the files that were whole are in {name}"
        return f"; {name} has what was written until then"

    def _sum_up(self) -> None:
        """Tell the counts, and the first failures if there were any."""
        tally, settings = self._tally, self._plan.settings
        for failure in tally.first_failures:
            complain(headline(failure, settings.record_format))
        if tally.failed > SHOWN_FAILURES:
            complain(f"… and {tally.failed - SHOWN_FAILURES:,} more failed")
        if self._halting.reached:
            complain(self._halting.reason + self._something_left())
        elif tally.failed:
            complain(f"finished with failures: {tally.failed:,} of {tally.records_in:,} records were left out")
        if not settings.quiet:
            tell(tally.summary(self._pool.stats()))


def _open_console(plan: RunPlan) -> Console:
    settings, counts_files = plan.settings, plan.counts_files
    known = plan.source.total_bytes is not None
    total = (len(plan.inputs) if counts_files else plan.source.total_bytes) if known else None
    unit = "files" if counts_files else "B"
    progress = open_progress(settings.show, total, unit=unit, scale=not counts_files, workers=settings.workers)
    return Console(progress, data_on_stdout=plan.to_stdout)


def _start_pool(plan: RunPlan) -> Any:
    """Start the workers; the pool is imported only now, so that a mistake is told without waiting for it."""
    from orchestrator.pool.pool import Pool  # noqa: PLC0415

    settings = plan.settings
    options: dict[str, Any] = {}
    if settings.buffer_bytes is not None:
        options["buffer_bytes"] = settings.buffer_bytes
    if plan.blocks_per_worker is not None:
        options["items_per_worker"] = plan.blocks_per_worker
    if settings.limits.nice is not None:
        options |= {"initializer": os.nice, "initargs": (settings.limits.nice,)}
    options["memory_limit"] = settings.limits.memory_bytes
    options["memfree"] = settings.limits.memfree_bytes
    options["threads_per_worker"] = settings.limits.threads
    if settings.limits.finish is not None:
        options["finalizer"] = partial(load.call, settings.limits.finish, os.getcwd())  # noqa: PTH109
    return Pool(workers=settings.sizing, start_method=settings.start_method, **options)


def _open_letters(plan: RunPlan) -> Letters | None:
    failing = plan.settings.failing
    if failing.dead_letter is None:
        return None
    again = failing.retry_dead is not None
    mode = mode_beside([plan.settings.output])
    return Letters(failing.dead_letter, plan.settings.target, plan.settings.record_format, again=again, mode=mode)


def _graph(
    plan: RunPlan,
    pool: Any,
    sink: RecordingSink,
    checkpoints: Checkpoints | None,
    on_lost: Callable[[Lost], None],
) -> Runner:
    from orchestrator.cli.run.block_outcomes import BlockOutcomes  # noqa: PLC0415 - with the pool
    from orchestrator.graph.runner import Runner  # noqa: PLC0415 - with the pool
    from orchestrator.graph.sinks import SinkNode  # noqa: PLC0415
    from orchestrator.graph.source_stage import FeedNode  # noqa: PLC0415
    from orchestrator.sources.block_splitting import Divider  # noqa: PLC0415

    failing = plan.settings.failing
    options = MapOptions(
        ordered=plan.settings.ordered,
        chunk=1,
        retries=failing.retries,
        retry_delay_s=failing.retry_delay_s,
        timeout_s=failing.timeout_s,
    )
    skip = failing.on_error == "skip"
    divider = Divider(
        plan.runner.record_format, plan.runner.errors, skip=skip, outcomes=BlockOutcomes(plan.runner)
    )

    def open_stage() -> Stage:
        stage: Stage = pool.open_stage(plan.runner, options, divider=divider)
        stage.on_lost = on_lost
        return stage

    feed = FeedNode("", plan.source, open_stage)
    written = SinkNode("", sink)
    feed.outlets[0].to(written)
    return Runner([feed, written], pool.coordinator, checkpoints=checkpoints)
