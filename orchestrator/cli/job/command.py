"""The `job` command: reads a job file, and reports its mistakes, draws it or runs it.

Runs in the coordinator. Nothing is started or opened before the file is found good.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.cli.session.console import Console
from orchestrator.cli.session.exit_codes import EXIT_FAILURES, EXIT_USAGE, print_error, show, tell
from orchestrator.cli.session.resume import look_into, resume_command
from orchestrator.cli.session.run import run_command
from orchestrator.cli.session.summary import describe_deaths, tell_failures
from orchestrator.engine.recovery.item_errors import describe_failure, headline
from orchestrator.errors import ItemError, OrchestratorError
from orchestrator.jobfile.builder import build
from orchestrator.jobfile.diagnostics import JobFileError
from orchestrator.jobfile.diagram import draw
from orchestrator.jobfile.loader import read_job
from orchestrator.pool.size.sizing import sizing_of
from orchestrator.sinks.disk.output_file import is_standard_output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.cli.flags.resuming import ResumeSettings
    from orchestrator.cli.job.options import JobSettings
    from orchestrator.cli.session.signals import Signals
    from orchestrator.cli.session.steering import Steering
    from orchestrator.graph.checkpoints import Checkpoints
    from orchestrator.graph.runner import Runner
    from orchestrator.jobfile.model import Job
    from orchestrator.streams.plan import Plan
    from orchestrator.streams.report import Report


def run_job(settings: JobSettings) -> int:
    """Do what the settings say and return the exit code.

    Raises:
        ConfigError: a mistake that no line of the file is to blame for.
    """
    try:
        job = read_job(settings.file, settings.overrides)
    except JobFileError as mistakes:
        for line in str(mistakes).splitlines():
            print_error(line)
        return EXIT_USAGE
    if settings.graph is not None:
        show(draw(job, settings.graph))
    elif not settings.check:
        sizing = settings.sizing or sizing_of(job.pool.get("workers"))
        return run_command("job", sizing, settings.report, partial(_made, job, settings))
    elif not settings.quiet:
        print_error(f"{settings.file} is valid: {len(job.nodes)} nodes, {len(job.workflows)} workflows")
    return 0


def _made(job: Job, settings: JobSettings, signals: Signals, steering: Steering) -> JobRun | None:
    """Build the graph, and describe it or return its run."""
    import orchestrator  # noqa: PLC0415 - a file with mistakes does not wait for the engine
    from orchestrator.streams.running import plan_of  # noqa: PLC0415

    plan = plan_of(*build(job, orchestrator.Stream))
    if settings.dry_run:
        show(f"{plan.explain()}\n")
        return None
    folder = settings.resuming.folder
    checkpoints = None if folder is None else _checkpoints(job, plan, settings.resuming, folder)
    return JobRun(job, plan, settings, signals, steering, checkpoints)


def _checkpoints(job: Job, plan: Plan, settings: ResumeSettings, folder: str) -> Checkpoints:
    """Return the checkpoints that the run writes, and resumes from."""
    from orchestrator.checkpoint.fingerprint import of_libraries  # noqa: PLC0415 - only for runs that can be resumed
    from orchestrator.graph.checkpoints import Checkpoints, is_function  # noqa: PLC0415
    from orchestrator.jobfile.fingerprint import functions_of, of_job  # noqa: PLC0415

    known_by = of_job(job) | plan.fingerprint_of_sources()
    functions = [each.function for each in functions_of(job)]

    def may_change(label: str, _old: Mapping[str, str], _new: Mapping[str, str]) -> bool:
        return settings.accepts_function and is_function(label)

    look_into(folder, known_by, resume=settings.resume, may_change=may_change, failed=_failed, of_what="items")
    kept = Checkpoints(
        folder, known_by, settings.every_s, libraries=of_libraries(functions), may_change=may_change
    )
    if kept.note is not None:
        print_error(kept.note)
    return kept


def _failed(state: list[dict[str, Any]]) -> int:
    """Return how many items had failed, by the nodes' last state."""
    owned = [node["own"] for node in state if node is not None]
    return sum(own["counts"].failures for own in owned if isinstance(own, dict) and "counts" in own)


class JobRun:
    """One run of a job's graph, on a pool of its own."""

    def __init__(  # noqa: PLR0917 - what runs, and what steers it
        self,
        job: Job,
        plan: Plan,
        settings: JobSettings,
        signals: Signals,
        steering: Steering,
        checkpoints: Checkpoints | None,
    ) -> None:
        """Take the plan.

        Nothing is opened before `run`.
        """
        self.outputs = job.written
        self._job = job
        self._plan = plan
        self._settings = settings
        self._signals = signals
        self._steering = steering
        self._checkpoints = checkpoints
        self._pool: Any = None
        self._report: Report | None = None

    def run(self) -> int:
        """Run the graph, as `Run.run` says."""
        import orchestrator  # noqa: PLC0415 - with the engine
        from orchestrator.streams.running import run_plan  # noqa: PLC0415

        bars = self._settings.show is not None
        engine = {} if self._settings.engine is None else {"engine": self._settings.engine}
        pool = self._pool = orchestrator.Pool(**{**self._job.pool, **engine, "workers": self._steering.sizing})
        self._steering.pool = pool
        if not bars:  # else what is printed comes between them
            Console(None, data_on_stdout=any(map(is_standard_output, self.outputs))).show_prints_of(pool)
        self._report = run_plan(self._plan, pool, progress=bars, kept=self._checkpoints, starting=self._listen)
        pool.close()
        return EXIT_FAILURES if self._report.failed else 0

    def _listen(self, engine: Runner) -> None:
        if self._checkpoints is not None:
            self._signals.listen(partial(engine.pause, self._settings.resuming.grace_s))

    def drop(self, _stop: BaseException) -> None:
        """End the workers at once.

        The graph has aborted its sinks.
        """
        if self._pool is not None:
            with suppress(OrchestratorError):
                self._pool.terminate()

    def close(self) -> None:
        """Close the checkpoints."""
        if self._checkpoints is not None:
            self._checkpoints.close()

    @staticmethod
    def why(error: OrchestratorError) -> str:
        """Return the failure that ended the run: its line, and the traceback of the user's own frames."""
        said = str(error)
        if isinstance(error, ItemError):
            trace = describe_failure(error)[2].rstrip()
            said = headline(error) + (f"\n{trace}" if trace else "")
        return f"{said}\norchestrator: stopped"

    def left(self, _stop: BaseException) -> str:
        """Print how to resume, if that is possible."""
        return "" if self._checkpoints is None else f"; to resume:\n  {resume_command()}"

    def report(self, said: str | None) -> dict[str, Any]:
        """Return the report's part about this run, when it has ended."""
        report = self._report
        if report is None:
            return {"failures": [said.partition("\n")[0]] if said else []}
        return {
            "items": {"in": report.items_in, "out": report.items_out, "failed": report.failed},
            "nodes": {name: asdict(node) for name, node in report.nodes.items()},
            "grown": {name: asdict(edge) for name, edge in report.grown.items()},
            "failures": list(report.first_failures),
        }

    def sum_up(self) -> None:
        """Print the counts, and the first failures if there were any."""
        report = self._report
        assert report is not None  # noqa: S101 - for the type checker
        tell_failures(report.first_failures, report.failed)
        if report.failed:
            print_error(f"finished with failures: {report.failed:,} items were skipped")
        if not self._settings.quiet:
            tell(f"{report}\n{describe_deaths(self._pool.stats())}")
