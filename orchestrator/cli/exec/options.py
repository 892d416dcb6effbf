"""Parses the options of `exec` into frozen settings."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.cli.exec.arguments import MARKERS
from orchestrator.cli.flags.failures import add_sparing, nice_of, threads_of
from orchestrator.cli.flags.halt import Halt, parse_halt
from orchestrator.cli.flags.numbers import seconds
from orchestrator.cli.flags.parsing import Parser, add_jobs, add_order, add_showing, add_telling
from orchestrator.errors import ConfigError
from orchestrator.pool.size.sizing import Sizing, parse_sizing
from orchestrator.settings import parse_size
from orchestrator.sinks.disk.output_file import is_standard_output

if TYPE_CHECKING:
    from collections.abc import Sequence

_USAGE = """orchestrator exec [options] COMMAND [INPUT...]
       orchestrator exec [options] COMMAND ::: ARGUMENT... [:::+ ARGUMENT...] [:::: FILE...]"""
_EXAMPLES = """\
placeholders in COMMAND (without one, the argument is appended):
  {}  the argument     {.}  without extension     {/}  without folder     {//}  its folder     {/.}  both
  {1} {2} {-1} {1/.}   of the first, second, last group of arguments
  {#}  number of the command, from 1              {%}  slot that it runs in, from 1 to the number of workers
  Arguments are passed literally, inside quotes too: exec 'echo "{}"' is right. The shell never runs their contents.
  Placeholders are refused where the shell would evaluate them again: in backticks, ${…}, arithmetic, here-documents
  and the code of eval, trap, ssh and sh -c. Write sh -c 'cat "$1"' sh {}, or set a variable first: x={}; cat <<END …

examples:
  Compress, with all CPUs:
    orchestrator exec 'gzip -k {}' logs/*.txt --bar

  Every combination; then two lists in step:
    orchestrator exec 'convert {1} -resize {2} {1.}-{2}.png' ::: *.png ::: 100 200
    orchestrator exec mv {1} {2} ::: a b :::+ c d

  Arguments from a file, from standard input:
    orchestrator exec 'curl -sO {}' :::: urls.txt
    find . -name '*.mp3' -print0 | orchestrator exec -0 'mp3gain -q {}'

  Commands that are arguments themselves:
    orchestrator exec ::: 'make docs' 'make test'

  Stop once a tenth have failed; log what ran; later run what failed or did not run:
    orchestrator exec --halt soon,fail=10% --joblog log 'fetch {}' :::: urls.txt
    orchestrator exec --joblog log --resume-failed 'fetch {}' :::: urls.txt
  (Our options stand before ::: or ::::, as with GNU parallel: all that follows is arguments.)

Commands run by /bin/sh -c, with /dev/null as their input. What one writes is passed on when it has ended (and all
before it, unless --unordered), stdout to stdout, stderr to stderr, never mixed. On Ctrl-C, --halt now or --timeout, a
running command gets SIGTERM, then SIGKILL a second later, with all it started. What a command leaves in the background
ends with the run. A command whose worker dies runs again. `kill -USR1 PID` prints what is running.

exit codes: 0 success, 1 finished with failures (GNU parallel gives their number), 2 a mistake in the command (nothing
was started), 3 stopped by --halt, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP
"""


@dataclass(frozen=True, slots=True)
class ExecSettings:
    """The settings of `exec`."""

    command: str | None
    """None: the arguments are commands themselves."""
    words: tuple[str, ...]
    """The arguments, with their markers if there are any."""
    null: bool
    output: str
    sizing: Sizing
    ordered: bool
    tag: bool
    timeout_s: float | None
    retries: int
    retry_delay_s: float
    halt: Halt
    memfree_bytes: int | None
    nice: int | None
    threads: int | None
    """Of BLAS, OpenMP and the like, in a command; None: no limit."""
    joblog: str | None
    trace: str | None
    report: str | None
    resume: bool
    resume_failed: bool
    show: str | None
    quiet: bool
    dry_run: bool


def exec_parser() -> Parser:
    """Return the parser of `exec`, for all but the arguments behind a marker."""
    parser = Parser(
        prog="orchestrator exec",
        usage=_USAGE,
        description="Runs a command for every argument, several at once, as GNU parallel does.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("command", metavar="COMMAND", nargs="?", help="a shell command line; its placeholders are listed below")
    add("inputs", metavar="INPUT", nargs="*", help="the arguments (default: the lines of standard input)")
    add("-o", "--output", metavar="OUT", default="-", help="write the commands' standard output to this file; "
        "it is compressed if its name ends in .gz .bz2 .xz .zst")
    add("-0", "--null", action="store_true", help="arguments in files and on standard input end with NUL")
    add_jobs(parser)
    add("--engine", help=argparse.SUPPRESS)
    add_order(parser.add_argument_group("order of the output"))
    _add_failing(parser)
    add_sparing(parser.add_argument_group("limits").add_argument)
    _add_logging(parser)
    add("--tag", action="store_true", help="begin each line of output with the arguments and a tab")
    add_showing(parser)
    return parser


def _add_failing(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("failures").add_argument
    add("--timeout", metavar="S", help="kill a command that runs longer, with all it started, and count it as failed")
    add(
        "--retries",
        metavar="N",
        default="0",
        help="retry a failed command up to N times (GNU parallel's N counts the first run too)",
    )
    add("--retry-delay", metavar="S", default="0", help="seconds before the first retry, doubled for each one after")
    add(
        "--halt",
        metavar="WHEN",
        default="never",
        help="stop early: soon,fail=1 starts no more commands after the first failure; now,fail=1 also kills those "
        "that run; also fail=N%%, success=…, done=…; percentages are of all commands (default: never)",
    )


def _add_logging(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("logs and dry run")
    add = group.add_argument
    add("--joblog", metavar="FILE", help="write a line for each attempt at a command, in GNU parallel's columns")
    add("--resume", action="store_true", help="skip commands that --joblog FILE lists")
    add("--resume-failed", action="store_true", help="like --resume, but rerun the commands that failed")
    add_telling(group)
    add("--dry-run", action="store_true", help="print the commands without running or importing anything")


def parse_exec(argv: Sequence[str]) -> ExecSettings:
    """Return the settings that the arguments of `exec` mean.

    Raises:
        ConfigError: a value that can't be.
        SystemExit: argparse has told the user what is wrong, or shown the help.
    """
    marker = next((at for at, word in enumerate(argv) if word in MARKERS), len(argv))
    args = _parsed(argv[:marker], spelled_out=marker < len(argv))
    if args.engine not in {None, "local"}:
        raise ConfigError("--engine is for run and job: exec runs commands, which are processes of their own")
    if (args.resume or args.resume_failed) and not args.joblog:
        raise ConfigError("--resume and --resume-failed need --joblog FILE, the log of the run to resume")
    return ExecSettings(
        command=args.command,
        words=(*args.inputs, *argv[marker:]),
        null=args.null,
        output="-" if is_standard_output(args.output) else args.output,
        sizing=parse_sizing(args.jobs if args.jobs is not None else "100%"),
        ordered=args.ordered,
        tag=args.tag,
        timeout_s=_timeout(args.timeout),
        retries=_retries(args.retries),
        retry_delay_s=seconds("--retry-delay", args.retry_delay),
        halt=parse_halt(args.halt),
        memfree_bytes=None if args.memfree is None else parse_size(args.memfree),
        nice=nice_of(args),
        threads=threads_of(args),
        joblog=args.joblog,
        trace=args.trace,
        report=args.report,
        resume=args.resume,
        resume_failed=args.resume_failed,
        show=args.show,
        quiet=args.quiet,
        dry_run=args.dry_run,
    )


def _parsed(argv: Sequence[str], *, spelled_out: bool) -> argparse.Namespace:
    """Parse what stands before the first marker.

    `spelled_out`: there is one, so words may be the command's own.

    As with GNU parallel the command is then all words from the first that is no option on. A first word with a blank in
    it is a whole command line: our own options may stand behind it too.
    """
    parser = exec_parser()
    if not spelled_out:
        return parser.parse_intermixed_args(argv)
    parser.intermixed = False
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to say "and the rest as it is"
        if action.dest == "inputs":
            action.nargs = argparse.REMAINDER
    args = parser.parse_args(argv)
    if args.command is None:
        return args
    if any(blank in args.command for blank in " \t\n"):
        own = list(argv[: len(argv) - len(args.inputs)]) + args.inputs
        args = exec_parser().parse_intermixed_args(own)
        if args.inputs:
            raise ConfigError(f"unexpected {args.inputs[0]!r} between the command and :::; put arguments after :::")
    else:
        args.command, args.inputs = " ".join([args.command, *args.inputs]), []
    return args


def _timeout(text: str | None) -> float | None:
    if text is None:
        return None
    found = seconds("--timeout", text)
    if not found:
        raise ConfigError("--timeout must be more than 0 seconds")
    return found


def _retries(text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"--retries must be a whole number of at least 0, not {text!r}")
    return int(text)
