"""Parses the options of `job` into frozen settings."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.cli.flags.engine import add_engine
from orchestrator.cli.flags.parsing import Parser, add_jobs, add_showing, add_telling
from orchestrator.cli.flags.resuming import ResumeSettings, add_resuming, resume_settings
from orchestrator.pool.size.sizing import Sizing, parse_sizing

if TYPE_CHECKING:
    from collections.abc import Sequence

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

tables: TABLES; their keys are the parameters of Stream's methods, and those of
[pool] the parameters of Pool

a sink's format and compression follow its name (.jsonl, .csv, else lines; .gz …) or format = "lines";
"-" is standard output

"${NAME}" in a text is that environment variable, "$$" a dollar; include = "other.toml" takes in the tables of another
file, relative to the one that names it

None is a value in a job file, as in Stream.map and Pool.map: it goes to the next step and is written as null;
a step with drop_none = true drops it, as `run` does

a step that runs in workers also takes: OPTIONS

exit codes: 0 success, 1 finished with failures or stopped by one, 2 a mistake in the file or an option (nothing was
started), 4 --resume doesn't match the saved run, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP
"""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """The settings of `job`."""

    file: str
    overrides: tuple[str, ...]
    sizing: Sizing | None
    """None: as `pool.workers` says."""
    engine: str | None
    """None: as `pool.engine` says."""
    check: bool
    graph: str | None
    dry_run: bool
    report: str | None
    show: str | None
    quiet: bool
    resuming: ResumeSettings


class _JobParser(Parser):
    """Names the tables and options in its help.

    The schema is loaded only for that.
    """

    def format_help(self) -> str:
        """Return the help."""
        from orchestrator.jobfile.tables.schema import OPTIONS, TOP  # noqa: PLC0415

        tables, options = (", ".join(names) for names in (TOP, OPTIONS))
        return super().format_help().replace("TABLES", tables).replace("OPTIONS", options)


def job_parser() -> argparse.ArgumentParser:
    """Return the parser of `job`."""
    parser = _JobParser(
        prog="orchestrator job",
        usage="orchestrator job FILE.toml [--check] [--set KEY.PATH=VALUE]... [options]",
        description="Runs the graph that a job file describes: sources, steps, routes, windows, joins, sinks.\n"
        "Functions are found beside the file; input and output paths are relative to the current folder.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="the job file")
    add("--check", action="store_true", help="only check the file; reports every mistake with its line (imports the "
        "functions' modules)")
    add(
        "--set",
        metavar="KEY.PATH=VALUE",
        dest="overrides",
        action="append",
        default=[],
        help="override a value of the file: --set pool.workers=4 (repeatable)",
    )
    add_jobs(parser)
    add_engine(parser, None, "default: as the file's [pool] says")
    add("--graph", choices=("mermaid", "dot"), help="print the graph for Mermaid or Graphviz and exit "
        "(imports the functions' modules)")
    add("--dry-run", action="store_true", help="describe the run without starting it (imports the functions' "
        "modules)")
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
    return JobSettings(
        file=args.file,
        overrides=tuple(args.overrides),
        sizing=None if args.jobs is None else parse_sizing(args.jobs),
        engine=args.engine,
        check=args.check,
        graph=args.graph,
        dry_run=args.dry_run,
        report=args.report,
        show=args.show,
        quiet=args.quiet,
        resuming=resume_settings(args),
    )
