"""The `job` command: read a job file, tell all its mistakes, or draw it, or run it.

Runs in the coordinator. Nothing is started or opened before the file is found good.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.cli.options import Parser, add_showing
from orchestrator.cli.outcome import EXIT_FAILURES, EXIT_SIGINT, EXIT_SIGTERM, EXIT_USAGE, complain
from orchestrator.cli.run import Terminated, signals
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.job.building import build
from orchestrator.job.drawing import FORMATS, draw
from orchestrator.job.mistakes import JobFileError
from orchestrator.job.reading import read_job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.job.model import Job

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

exit codes: 0 all well, 1 finished with failures or stopped at one, 2 a mistake in the file (nothing was
started), 130 Ctrl-C, 143 SIGTERM
"""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What `job` was asked for."""

    file: str
    overrides: tuple[str, ...]
    check: bool
    graph: str | None
    dry_run: bool
    show: str | None
    quiet: bool


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
    add("--check", action="store_true", help="only look for mistakes; all are told, each with its line")
    add(
        "--set",
        metavar="KEY.PATH=VALUE",
        dest="overrides",
        action="append",
        default=[],
        help="put a value into the file's place: --set pool.workers=4 (repeatable)",
    )
    add("--graph", choices=FORMATS, help="print the graph as text for Mermaid or Graphviz, and start nothing")
    add("--dry-run", action="store_true", help="say what would run, and start nothing")
    add_showing(parser)
    return parser


def parse_job(argv: Sequence[str]) -> JobSettings:
    """Return the settings that the arguments of `job` mean.

    Raises:
        SystemExit: argparse has told the user what is wrong, or shown the help.
    """
    args = job_parser().parse_args(argv)
    return JobSettings(
        file=args.file,
        overrides=tuple(args.overrides),
        check=args.check,
        graph=args.graph,
        dry_run=args.dry_run,
        show=args.show,
        quiet=args.quiet,
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
        sys.stdout.write(draw(job, settings.graph))
    elif not settings.check:
        return _run(job, settings)
    elif not settings.quiet:
        complain(f"{settings.file} is good: {len(job.nodes)} nodes, {len(job.workflows)} workflows")
    return 0


def _run(job: Job, settings: JobSettings) -> int:
    """Run the job, whatever end that takes."""
    try:
        with signals():
            return _go(job, settings)
    except ConfigError:
        raise
    except OrchestratorError as error:
        complain(str(error))
        return EXIT_FAILURES
    except KeyboardInterrupt:
        complain("interrupted")
        return EXIT_SIGINT
    except Terminated:
        complain("ended by SIGTERM")
        return EXIT_SIGTERM


def _go(job: Job, settings: JobSettings) -> int:
    """Build the graph and run it, or tell what would run."""
    import orchestrator  # noqa: PLC0415 - a file with mistakes does not wait for the engine
    from orchestrator.streams.running import explain  # noqa: PLC0415

    terminals = build(job, orchestrator.Stream)
    if settings.dry_run:
        sys.stdout.write(f"{explain(*terminals)}\n")
        return 0
    with orchestrator.Pool(**job.pool) as pool:
        report = orchestrator.run(*terminals, pool=pool, progress=settings.show is not None)
    failed = report.failed
    if failed:
        complain(f"finished with failures: {failed:,} items were left out")
    if not settings.quiet:
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{report}\n")
    return EXIT_FAILURES if failed else 0
