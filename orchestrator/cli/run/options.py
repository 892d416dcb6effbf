"""Parses the options of `run` into frozen settings.

Mistakes that need no look at the disk are found here.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from orchestrator.cli.flags.engine import add_engine, engine_of
from orchestrator.cli.flags.failures import (
    FailureSettings,
    LimitSettings,
    add_failing,
    failure_settings,
    limit_settings,
)
from orchestrator.cli.flags.parsing import Parser, add_jobs, add_order, add_showing, add_telling
from orchestrator.cli.flags.resuming import ResumeSettings, add_resuming, resume_settings
from orchestrator.errors import ConfigError
from orchestrator.pool.size.sizing import Sizing, sizing_of
from orchestrator.record_formats import readable
from orchestrator.settings import START_METHODS, StartMethod, parse_limit, parse_size
from orchestrator.sinks.disk.output_file import is_standard_output
from workers.errors.describe import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXAMPLES = """\
examples:
  Upper-case a text on all CPUs, with the lines in order. `upper` is in text.py in this folder:
    orchestrator run text:upper book.txt -o upper.txt

  The function gets each line of JSON as a dict and returns a dict, or None to drop it; with a progress bar:
    orchestrator run clean.py:clean 'logs/*.jsonl.gz' --format jsonl -o clean.jsonl.gz --bar

  In a pipe, with a function of the standard library, results as soon as they are ready:
    tail -f access.log | orchestrator run html:escape - --unordered | grep 404

  A row of a CSV file is a dict too, and the columns of the first result make the new header:
    orchestrator run prices.py:convert prices.csv --format csv -o euros.csv -j 50%

  Several records from one; the function returns (or yields) an iterable:
    orchestrator run words.py:split book.txt --flat -o words.txt

  Whole files, one call and one output file in out/ for each; skip failures and list them at the end:
    orchestrator run images.py:describe photos/*.jpg --format files -o out/ --on-error skip

  Skip failures but keep the records that failed; later, rerun only those:
    orchestrator run clean.py:clean a.jsonl --format jsonl -o b.jsonl --timeout 10 --dead-letter dead.jsonl
    orchestrator run clean.py:clean --retry-dead dead.jsonl --format jsonl -o more.jsonl

during the run, `kill -USR1 PID` prints what each worker is doing

exit codes: 0 success, 1 finished with failures or stopped by one, 2 a mistake in the command (nothing was
started), 3 stopped by --halt, 4 --resume doesn't match the saved run, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP
"""
_SHAPES_NOTHING = {
    *("storage_options", "sizing", "null", "max_record_bytes", "buffer_bytes", "limits", "start_method", "engine"),
    *("show", "quiet", "trace", "report", "dry_run", "resuming"),
}
"""Settings that a resumed run may change, as the output is the same: every other one is compared."""
_COMPARED_APART = {"target", "inputs", "failing"}
READING = ("encoding", "errors", "delimiter", "quote", "header", "columns", "as_")
"""Flags that are options of the format."""
_LABELS = {
    "record_format": "--format",
    "reading": "how records are read",
    "block_bytes": "--block",
    "chunk_records": "--chunk",
    "ordered": "the order of the output",
    "output": "the output",
}
"""Setting -> what it is called if it differs, where that is not its flag."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The settings of `run`."""

    target: str
    inputs: tuple[str, ...]
    output: str
    sizing: Sizing
    record_format: str | None
    """None: by the names of the files, else lines."""
    storage_options: dict[str, str]
    """Of the file systems behind URLs."""
    reading: dict[str, Any]
    """The options of the format that were given."""
    output_format: str | None
    """None: by the names of the files."""
    block_bytes: int | None
    """None: by the size of the input."""
    null: bool
    """Names on standard input end with NUL."""
    max_record_bytes: int
    """0: no limit."""
    chunk_records: int | None
    """None: whatever a block holds."""
    buffer_bytes: int | None
    ordered: bool
    failing: FailureSettings
    limits: LimitSettings
    flat: bool
    show: str | None
    """"bar", "eta" or "workers"; None: no progress."""
    quiet: bool
    joblog: str | None
    trace: str | None
    report: str | None
    dry_run: bool
    start_method: StartMethod
    engine: str
    resuming: ResumeSettings

    @property
    def workers(self) -> int:
        """The number of workers at first.

        1 if none, as what comes later is not known.
        """
        return max(1, self.sizing.workers)

    def shaping(self) -> dict[str, object]:
        """Return what shapes the output, by what it is called: a resumed run must have the same."""
        names = [each.name for each in fields(self) if each.name not in _SHAPES_NOTHING | _COMPARED_APART]
        found = {_LABELS.get(name, f"--{name.replace('_', '-')}"): getattr(self, name) for name in names}
        return found | {"the order of the output": "as the input" if self.ordered else "as ready"}


def run_parser() -> argparse.ArgumentParser:
    """Return the parser of `run`."""
    parser = Parser(
        prog="orchestrator run",
        usage="orchestrator run TARGET INPUT... [-o OUT] [options]",
        description="Calls a Python function for every record of the inputs, in many processes, and writes its\n"
        "results: text as lines, anything else as JSON, or as OUT's name says. None drops the record here;\n"
        "in a job file, Stream.map and Pool.map, None is a value, written as null unless drop_none = true\n"
        "(drop_none=True).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("target", metavar="TARGET", help="module:function, searched from the current folder, or path/file.py:function")
    add(
        "inputs",
        metavar="INPUT",
        nargs="*",
        help="files, URLs (s3://, https:// …), pipes, patterns ('logs/*.gz'), or - for standard input; .gz .bz2 .xz "
        ".zst are decompressed",
    )
    add(
        "-o",
        "--output",
        metavar="OUT",
        default="-",
        help="a file (compressed if its name says so), a folder for one "
        "output per input file (existing, or ending in /), or - for standard output (default)",
    )
    add_jobs(parser)
    _add_reading(parser)
    add_failing(parser)
    _add_logging(parser)
    add_resuming(parser)
    add_showing(parser)
    return parser


def _add_reading(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("records")
    add = group.add_argument
    add(
        "--format",
        metavar="NAME",
        help="; ".join(f"{name}: {each.told}" for name, each in readable().items()),
    )
    add(
        "--output-format",
        metavar="NAME",
        help="lines: text and bytes as they are, anything else as JSON; jsonl: one JSON value per line, text too; csv: "
        "dicts and lists as rows; parquet, arrow: dicts and tables as rows of a table (default: what the output's "
        "suffix says, as .csv or .jsonl; else csv if the input is CSV, otherwise lines)",
    )
    add("--flat", action="store_true", help="the function returns an iterable of records instead of one record")
    add(
        "-0",
        "--null",
        action="store_true",
        help="with --format files: names on standard input end with NUL, as from find -print0",
    )
    add(
        "--errors",
        choices=("strict", "replace"),
        help="bytes that are not of the encoding: fail (strict, the default), or become U+FFFD (replace)",
    )
    add("--encoding", metavar="NAME", help="of text: latin-1, utf-16 or any other that Python knows (default: utf-8)")
    add(
        "--delimiter",
        metavar="CHAR",
        help="of CSV: one character, \\t for a tab, or auto: as the beginning of each file tells (default: a comma; a "
        "tab in files .tsv)",
    )
    add("--quote", metavar="CHAR", help='of CSV: the quotation mark, or none: fields are never quoted (default: ")')
    add("--columns", metavar="A,B", help="of Parquet and Arrow: the columns that are read (default: all)")
    add(
        "--as",
        dest="as_",
        choices=("dicts", "table", "pandas", "polars"),
        help="of Parquet and Arrow: what the function gets: a dict for each row (default), or all rows of a range as a "
        "pyarrow.Table or a DataFrame",
    )
    add(
        "--storage-option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="of fsspec's file system for inputs and outputs that are URLs, such as endpoint_url=…; may be repeated",
    )
    header = group.add_mutually_exclusive_group()
    header.add_argument("--header", metavar="A,B,C", help="of CSV: the names of the columns; the first row is a record")
    header.add_argument(
        "--no-header",
        dest="header",
        action="store_const",
        const=False,
        help="of CSV: the first row is a record, and a record is a list",
    )
    add(
        "--block",
        metavar="SIZE",
        help="size of the pieces in which files are dealt to workers: 64K, 1M … (default: by the "
        "input's size); with --format blocks, the size of a record",
    )
    add(
        "--chunk",
        metavar="N",
        default="auto",
        help="records sent to a worker at a time: about N, as their size is "
        "estimated from the first 64 KiB; with --format files exactly N (default: 1)",
    )
    add(
        "--max-record",
        metavar="SIZE",
        default="256M",
        help="a larger record fails unread (default: 256M; 0: no limit)",
    )
    add("--buffer", metavar="SIZE", help="maximum bytes in flight, waiting results included (default: 256M)")
    add_order(group)
    add(
        "--start-method",
        choices=START_METHODS,
        default="forkserver",
        help="how workers are started (default: forkserver)",
    )
    add_engine(group, "local", "default: local")


def _add_logging(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("logs and dry run")
    group.add_argument(
        "--joblog", metavar="FILE", help="write a line for each attempt at a chunk, in GNU parallel's columns"
    )
    add_telling(group)
    group.add_argument("--dry-run", action="store_true", help="describe the run without starting it (imports the "
        "function's module)")


def parse_run(argv: Sequence[str]) -> RunSettings:
    """Return the settings that the arguments of `run` mean.

    Raises:
        ConfigError: a value that can't be.
        SystemExit: argparse has told the user what is wrong, or shown the help.
    """
    args = run_parser().parse_intermixed_args(argv)
    failing = failure_settings(args)
    if args.null and args.format != "files":
        raise ConfigError("-0 applies to file names on standard input; it needs --format files")
    if args.chunk != "auto" and args.format == "blocks":
        raise ConfigError("--chunk counts records; with --format blocks, set the size of a record with --block")
    if args.chunk != "auto" and args.block and args.format != "files":
        raise ConfigError("--chunk and --block both set how much goes to a worker at a time; give only one of them")
    return RunSettings(
        target=args.target,
        inputs=tuple(args.inputs) if failing.retry_dead is None else (failing.retry_dead,),
        output="-" if is_standard_output(args.output) else args.output,
        sizing=sizing_of(args.jobs),
        record_format=args.format,
        storage_options=_storage_options(args.storage_option),
        reading=_reading_options(args),
        output_format=args.output_format,
        block_bytes=parse_size(args.block) if args.block and args.block != "auto" else None,
        null=args.null,
        max_record_bytes=parse_limit(args.max_record),
        chunk_records=_count(args.chunk) if args.chunk != "auto" else None,
        buffer_bytes=parse_size(args.buffer) if args.buffer else None,
        ordered=args.ordered,
        failing=failing,
        limits=limit_settings(args),
        flat=args.flat,
        show=args.show,
        quiet=args.quiet,
        joblog=args.joblog,
        trace=args.trace,
        report=args.report,
        dry_run=args.dry_run,
        start_method=args.start_method,
        engine=engine_of(args),
        resuming=resume_settings(args),
    )


def _reading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the format that stand in the command."""
    given = {name: getattr(args, name) for name in READING}
    return {name: value for name, value in given.items() if value is not None}


def _storage_options(given: Sequence[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    for each, (name, mark, _) in zip(given, pairs, strict=True):
        if not name or not mark:
            raise ConfigError(f"--storage-option takes NAME=VALUE, not {describe(each)}")
    return {name: value for name, _, value in pairs}


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--chunk must be auto or a whole number of at least 1, not {describe(text)}")
    return int(text)
