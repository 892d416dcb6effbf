"""What the user wrote behind `run`, as frozen settings; mistakes that need no look at the disk are found here."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.cli.flags.failures import (
    FailureSettings,
    LimitSettings,
    add_failing,
    failure_settings,
    limit_settings,
)
from orchestrator.cli.flags.numbers import seconds
from orchestrator.cli.flags.parsing import Parser, add_jobs, add_order, add_resuming, add_showing, add_telling
from orchestrator.errors import ConfigError
from orchestrator.pool.size.sizing import Sizing, parse_sizing
from orchestrator.settings import START_METHODS, StartMethod, parse_limit, parse_size
from orchestrator.sinks.disk.output_file import is_standard_output
from workers.records.formats import FORMATS
from workers.records.output import OUTPUT_FORMATS

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXAMPLES = """\
examples:
  Upper-case a text with all CPUs; the order of the lines is kept. `upper` is in text.py, in this folder:
    orchestrator run text:upper book.txt -o upper.txt

  The function gets each line of JSON as a dict and returns a dict, or None to drop it; here with a bar:
    orchestrator run clean.py:clean 'logs/*.jsonl.gz' --format jsonl -o clean.jsonl.gz --bar

  In a pipe, with a function of Python's own library, results as soon as they are there:
    tail -f access.log | orchestrator run html:escape - --unordered | grep 404

  A row of a CSV file is a dict too, and the columns of the first result make the new header:
    orchestrator run prices.py:convert prices.csv --format csv -o euros.csv -j 50%

  Several records from one: the function returns (or yields) an iterable:
    orchestrator run words.py:split book.txt --flat -o words.txt

  Whole files, one call each, one output file for each in the folder out/; go on after failures, and list
  them:
    orchestrator run images.py:describe photos/*.jpg --format files -o out/ --on-error skip

  Go on after failures and keep what failed; later, run only that again:
    orchestrator run clean.py:clean a.jsonl --format jsonl -o b.jsonl --timeout 10 --dead-letter dead.jsonl
    orchestrator run clean.py:clean --retry-dead dead.jsonl --format jsonl -o more.jsonl

while it runs: `kill -USR1 PID` prints what each worker is at

exit codes: 0 all well, 1 finished with failures or stopped at one, 2 a mistake in the command (nothing was
started), 3 stopped by --halt, 4 --resume of a run that was another, 130 Ctrl-C, 143 SIGTERM
"""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What `run` was asked for."""

    target: str
    inputs: tuple[str, ...]
    output: str
    sizing: Sizing
    record_format: str
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
    errors: str
    show: str | None
    """"bar", "eta" or "workers"; None: no progress."""
    quiet: bool
    joblog: str | None
    trace: str | None
    report: str | None
    dry_run: bool
    start_method: StartMethod
    checkpoint: str | None
    """The folder; None: the run can't be resumed."""
    checkpoint_every_s: float
    resume: bool
    accepts_function: bool
    """Whether a run is gone on with although its function has changed."""
    grace_s: float
    """What runs may finish for so long after the first Ctrl-C or SIGTERM."""

    @property
    def workers(self) -> int:
        """How many there are to begin with; 1 if none, as what comes later is not known."""
        return max(1, self.sizing.workers)


def run_parser() -> argparse.ArgumentParser:
    """Return the parser of `run`."""
    parser = Parser(
        prog="orchestrator run",
        usage="orchestrator run TARGET INPUT... [-o OUT] [options]",
        description="Calls a Python function with every record of the inputs, in many processes, and writes what it\n"
        "returns: text as a line, anything else as JSON, or as OUT's name says. None drops the\n"
        "record here; in a job file, and in Stream.map and Pool.map, None is a value, and is written as null\n"
        "unless drop_none = true (drop_none=True).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("target", metavar="TARGET", help="module:function, found from this folder, or path/file.py:function")
    add(
        "inputs",
        metavar="INPUT",
        nargs="*",
        help="files, pipes, patterns ('logs/*.gz'), or - for standard input; .gz .bz2 .xz .zst are decompressed",
    )
    add(
        "-o",
        "--output",
        metavar="OUT",
        default="-",
        help="a file (compressed if its name says so), a folder for one "
        "output an input file (it is there already, or ends in /), or - for standard output (default)",
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
        choices=FORMATS,
        default="lines",
        help="lines: text without its line end (default); jsonl: what "
        "the JSON of each line means; csv: a dict a row; blocks: raw bytes; files: the path itself",
    )
    add(
        "--output-format",
        choices=OUTPUT_FORMATS,
        help="lines: text and bytes as they are, anything else as JSON; jsonl: one JSON value a line, text too; csv: "
        "dicts and lists as rows (default: as the name of the output says, .csv or .jsonl; else csv if rows of CSV are "
        "read, and lines if not)",
    )
    add("--flat", action="store_true", help="the function returns an iterable of records instead of one")
    add(
        "-0",
        "--null",
        action="store_true",
        help="with --format files: names on standard input end with NUL, as find -print0 writes them",
    )
    add(
        "--errors",
        choices=("strict", "replace"),
        default="strict",
        help="bytes that are not UTF-8: a failure (default), or replaced by U+FFFD",
    )
    add(
        "--block",
        metavar="SIZE",
        help="how much of a file goes to a worker at a time: 64K, 1M … (default: by the "
        "size of the input); with --format blocks, the size of a record",
    )
    add(
        "--chunk",
        metavar="N",
        default="auto",
        help="records that go to a worker at a time; about N, as their size is "
        "estimated from the first 64 KiB; with --format files exactly N (default: 1)",
    )
    add(
        "--max-record",
        metavar="SIZE",
        default="256M",
        help="a record with more bytes is not read, and fails (default: 256M; 0: no limit)",
    )
    add("--buffer", metavar="SIZE", help="bytes in flight at most, waiting results too (default: 256M)")
    add_order(group)
    add(
        "--start-method",
        choices=START_METHODS,
        default="forkserver",
        help="how workers are started (default: forkserver)",
    )


def _add_logging(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what runs")
    group.add_argument(
        "--joblog", metavar="FILE", help="write a line for each try at a chunk, in GNU parallel's columns, as it ends"
    )
    add_telling(group)
    group.add_argument("--dry-run", action="store_true", help="say what would run, and start nothing; imports the "
        "module of the function, which is looked up")


def parse_run(argv: Sequence[str]) -> RunSettings:
    """Return the settings that the arguments of `run` mean.

    Raises:
        ConfigError: a value that can't be.
        SystemExit: argparse has told the user what is wrong, or shown the help.
    """
    args = run_parser().parse_intermixed_args(argv)
    failing = failure_settings(args)
    if args.null and args.format != "files":
        raise ConfigError("-0 is about names of files on standard input; it needs --format files")
    if args.chunk != "auto" and args.format == "blocks":
        raise ConfigError("--chunk counts records; with --format blocks the size of a record is given by --block")
    if args.accept and not args.resume:
        raise ConfigError("--accept goes with --resume: it says what may differ from the run that is gone on with")
    if args.resume and not args.checkpoint:
        raise ConfigError("--resume needs --checkpoint DIR, the folder of the run to go on with")
    if args.chunk != "auto" and args.block and args.format != "files":
        raise ConfigError("--chunk and --block both say how much goes to a worker at a time; give one of them")
    return RunSettings(
        target=args.target,
        inputs=tuple(args.inputs) if failing.retry_dead is None else (failing.retry_dead,),
        output="-" if is_standard_output(args.output) else args.output,
        sizing=parse_sizing(args.jobs if args.jobs is not None else "100%"),
        record_format=args.format,
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
        errors=args.errors,
        show=args.show,
        quiet=args.quiet,
        joblog=args.joblog,
        trace=args.trace,
        report=args.report,
        dry_run=args.dry_run,
        start_method=args.start_method,
        checkpoint=args.checkpoint,
        checkpoint_every_s=seconds("--checkpoint-every", args.checkpoint_every),
        resume=args.resume,
        accepts_function=args.accept == "function",
        grace_s=seconds("--grace", args.grace),
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--chunk {text!r} is no number of records; write auto or a whole number of at least 1")
    return int(text)
