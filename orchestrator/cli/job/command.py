"""The `job` command: read a job file, tell all its mistakes, or draw it, or run it.

Runs in the coordinator. Nothing is started or opened before the file is found good.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.cli.flags.numbers import seconds
from orchestrator.cli.flags.parsing import Parser, add_jobs, add_resuming, add_showing, add_telling
from orchestrator.cli.logs.report_file import ReportFile
from orchestrator.cli.session.console import Console
from orchestrator.cli.session.exit_codes import (
    EXIT_FAILURES,
    EXIT_MISMATCH,
    EXIT_SIGINT,
    EXIT_SIGTERM,
    EXIT_USAGE,
    complain,
    show,
    tell,
)
from orchestrator.cli.session.pausing import Asked
from orchestrator.cli.session.resume import NothingToResumeError, look_into, resume_command
from orchestrator.cli.session.signals import Terminated, signals
from orchestrator.cli.session.steering import Steering
from orchestrator.engine.recovery.item_errors import headline, told
from orchestrator.errors import ConfigError, ItemError, OrchestratorError, PausedError, ResumeMismatchError
from orchestrator.jobfile.builder import build
from orchestrator.jobfile.diagnostics import JobFileError
from orchestrator.jobfile.diagram import FORMATS, draw
from orchestrator.jobfile.loader import read_job
from orchestrator.pool.size.sizing import Sizing, parse_sizing
from orchestrator.sinks.disk.output_file import is_standard_output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.graph.checkpoints import Checkpoints
    from orchestrator.jobfile.model import Job
    from orchestrator.streams.plan import Plan
    from orchestrator.streams.report import Report

_EXAMPLE = """\
example, words.toml, with its functions in words.py beside it:

    [source.lines]
    read = ["logs/*.jsonl.gz"]
    format = "jsonl"

    [step.clean]
    from = "lines"
    map = "words.py:clean"
    retries = 2

    [route.kind]
    from = "clean"
    to = { errors = "words.py:is_error" }

    [sink.errors]
    from = "kind.errors"
    write = "errors.jsonl"

    [sink.others]
    from = "kind.rest"
    write = "others.jsonl"

tables: source, step, workflow, route, tee, window, join, merge, in_step, demultiplex, barrier, sink, and [pool]

what is written is lines, JSON lines (.jsonl) or CSV (.csv), compressed or not, as its name says, or by
format = "lines"; "-" is standard output

None is a value in a job file and in Stream.map and Pool.map: it goes on to the next step, and is written as null;
a step with drop_none = true drops it, as run does

a step that runs in workers also takes: ordered, chunk, timeout, retries, retry_delay, on_error, dead_letters, drop_none

exit codes: 0 all well, 1 finished with failures or stopped at one, 2 a mistake in the file (nothing was
started), 4 --resume of another run, 130 Ctrl-C, 143 SIGTERM
"""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What `job` was asked for."""

    file: str
    overrides: tuple[str, ...]
    sizing: Sizing | None
    """None: as `pool.workers` says."""
    check: bool
    graph: str | None
    dry_run: bool
    report: str | None
    show: str | None
    quiet: bool
    checkpoint: str | None
    checkpoint_every_s: float
    resume: bool
    accepts_function: bool
    """Whether a run is gone on with although its function has changed."""
    grace_s: float


def job_parser() -> argparse.ArgumentParser:
    """Return the parser of `job`."""
    parser = Parser(
        prog="orchestrator job",
        usage="orchestrator job FILE.toml [--check] [--set KEY.PATH=VALUE]... [options]",
        description="Runs the graph that a job file describes: sources, steps, routes, windows, joins, sinks.\n"
        "Functions are looked for beside the file; inputs and outputs in the current folder.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="the job file")
    add("--check", action="store_true", help="only look for mistakes; all are told, each with its line; imports the "
        "modules of the functions, which are looked up")
    add(
        "--set",
        metavar="KEY.PATH=VALUE",
        dest="overrides",
        action="append",
        default=[],
        help="put a value into the file's place: --set pool.workers=4 (repeatable)",
    )
    add_jobs(parser)
    add("--graph", choices=FORMATS, help="print the graph as text for Mermaid or Graphviz, and start "
        "nothing; imports the modules of the functions, too")
    add("--dry-run", action="store_true", help="say what would run, and start nothing; imports the modules of the "
        "functions, too")
    add_telling(parser, trace=False)
    add_resuming(parser)
    add_showing(parser)
    return parser


def parse_job(argv: Sequence[str]) -> JobSettings:
    """Return the settings that the arguments of `job` mean.

    Raises:
        ConfigError: a value that can't be.
        SystemExit: argparse has told the user what is wrong, or shown the help.
    """
    args = job_parser().parse_args(argv)
    if args.accept and not args.resume:
        raise ConfigError("--accept goes with --resume: it says what may differ from the run that is gone on with")
    if args.resume and not args.checkpoint:
        raise ConfigError("--resume needs --checkpoint DIR, the folder of the run to go on with")
    return JobSettings(
        file=args.file,
        overrides=tuple(args.overrides),
        sizing=None if args.jobs is None else parse_sizing(args.jobs),
        check=args.check,
        graph=args.graph,
        dry_run=args.dry_run,
        report=args.report,
        show=args.show,
        quiet=args.quiet,
        checkpoint=args.checkpoint,
        checkpoint_every_s=seconds("--checkpoint-every", args.checkpoint_every),
        resume=args.resume,
        accepts_function=args.accept == "function",
        grace_s=seconds("--grace", args.grace),
    )


def run_job(settings: JobSettings) -> int:
    """Do what the settings say and return the exit code.

    Raises:
        ConfigError: a mistake that no line of the file is to blame for.
    """
    try:
        job = read_job(settings.file, settings.overrides)
    except JobFileError as mistakes:
        for line in str(mistakes).splitlines():
            complain(line)
        return EXIT_USAGE
    if settings.graph is not None:
        show(draw(job, settings.graph))
    elif not settings.check:
        return _run(job, settings)
    elif not settings.quiet:
        complain(f"{settings.file} is good: {len(job.nodes)} nodes, {len(job.workflows)} workflows")
    return 0


def _run(job: Job, settings: JobSettings) -> int:
    """Run the job, whatever end that takes."""
    asked = Asked()
    with ReportFile(None if settings.dry_run else settings.report, "job", job.written) as file:
        try:
            sizing = settings.sizing or _sizing_of(job)
            with signals(), Steering(sizing) as steering:
                return _go(job, settings, asked, steering, file)
        except ConfigError:
            raise
        except (OrchestratorError, NothingToResumeError, KeyboardInterrupt, Terminated) as end:
            said, code = _told(end, asked)
            begun = not isinstance(end, ResumeMismatchError | NothingToResumeError)
            resumable = begun and settings.checkpoint is not None
            complain(said + (f"; to go on where it was:\n  {resume_command()}" if resumable else ""))
            if begun:
                file.write(code, finished=False, failures=[said.partition("\n")[0]])
            return code


def _told(end: BaseException, asked: Asked) -> tuple[str, int]:
    """Return what is said of an end before the end, and the exit code."""
    match end:
        case ResumeMismatchError():
            told = str(end), EXIT_MISMATCH
        case NothingToResumeError():
            told = str(end), EXIT_FAILURES if end.failed else 0
        case PausedError():
            told = f"stopped by {asked.stopped_by.name}", 128 + asked.stopped_by
        case KeyboardInterrupt():
            told = "interrupted", EXIT_SIGINT
        case Terminated():
            told = "ended by SIGTERM", EXIT_SIGTERM
        case ItemError():
            told = f"{_failure(end)}\norchestrator: stopped", EXIT_FAILURES
        case _:
            told = f"{end}\norchestrator: stopped", EXIT_FAILURES
    return told


def _failure(error: ItemError) -> str:
    """Return what is told of the failure that ended the run: its line, and the traceback of the user's own frames."""
    trace = told(error)[2].rstrip()
    return headline(error) + (f"\n{trace}" if trace else "")


def _sizing_of(job: Job) -> Sizing:
    """Return what the file says of the number of workers.

    Raises:
        ConfigError: it names a file that isn't there, or isn't good.
    """
    return parse_sizing(job.pool.get("workers", "100%"))


def _go(job: Job, settings: JobSettings, asked: Asked, steering: Steering, file: ReportFile) -> int:
    """Build the graph and run it, or tell what would run."""
    import orchestrator  # noqa: PLC0415 - a file with mistakes does not wait for the engine
    from orchestrator.streams.running import plan_of  # noqa: PLC0415

    plan = plan_of(*build(job, orchestrator.Stream))
    if settings.dry_run:
        show(f"{plan.explain()}\n")
        return 0
    if settings.checkpoint is None:
        return _sum_up(_report(job, plan, settings, steering), settings, file)
    with closing(_checkpoints(job, plan, settings, settings.checkpoint)) as kept:
        return _sum_up(_report(job, plan, settings, steering, kept=kept, asked=asked), settings, file)


def _checkpoints(job: Job, plan: Plan, settings: JobSettings, folder: str) -> Checkpoints:
    """Return the checkpoints that the run writes, and goes on from."""
    from orchestrator.checkpoint.fingerprint import of_libraries  # noqa: PLC0415 - only for runs that can be resumed
    from orchestrator.graph.checkpoints import Checkpoints, is_function  # noqa: PLC0415
    from orchestrator.jobfile.fingerprint import functions_of, of_job  # noqa: PLC0415

    known_by = of_job(job) | plan.fingerprint_of_sources()
    functions = [each.function for each in functions_of(job)]

    def may_change(label: str, _old: Mapping[str, str], _new: Mapping[str, str]) -> bool:
        return settings.accepts_function and is_function(label)

    look_into(folder, known_by, resume=settings.resume, may_change=may_change, failed=_failed, of_what="items")
    kept = Checkpoints(
        folder, known_by, settings.checkpoint_every_s, libraries=of_libraries(functions), may_change=may_change
    )
    if kept.note is not None:
        complain(kept.note)
    return kept


def _failed(state: list[dict[str, Any]]) -> int:
    """Return how many items had failed, by the nodes' last state."""
    owned = [node["own"] for node in state if node is not None]
    return sum(own["counts"].failures for own in owned if isinstance(own, dict) and "counts" in own)


def _report(
    job: Job,
    plan: Plan,
    settings: JobSettings,
    steering: Steering,
    *,
    kept: Checkpoints | None = None,
    asked: Asked | None = None,
) -> Report:
    """Run the graph on a pool of its own."""
    import orchestrator  # noqa: PLC0415 - with the engine
    from orchestrator.streams.running import run_plan  # noqa: PLC0415

    def starting(engine: Any) -> None:
        if asked is not None:
            asked.listen(engine, settings.grace_s)

    with orchestrator.Pool(**{**job.pool, "workers": steering.sizing}) as pool:
        steering.pool = pool
        if settings.show is None:  # else they come between the bars
            pool.on_output = Console(None, data_on_stdout=any(map(is_standard_output, job.written))).printed
        return run_plan(plan, pool, progress=settings.show is not None, kept=kept, starting=starting)


def _sum_up(report: Report, settings: JobSettings, file: ReportFile) -> int:
    """Tell the counts; return the exit code."""
    code = EXIT_FAILURES if report.failed else 0
    items = {"in": report.items_in, "out": report.items_out, "failed": report.failed}
    nodes = {name: asdict(node) for name, node in report.nodes.items()}
    grown = {name: asdict(edge) for name, edge in report.grown.items()}
    failures = list(report.first_failures)
    file.write(code, finished=True, items=items, nodes=nodes, grown=grown, failures=failures)
    if report.failed:
        for line in report.first_failures:
            complain(line)
        if report.failed > len(report.first_failures):
            complain(f"… and {report.failed - len(report.first_failures):,} more failed")
        complain(f"finished with failures: {report.failed:,} items were left out")
    if not settings.quiet:
        tell(f"{report}\n")
    return code
