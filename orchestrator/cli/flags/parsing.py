"""The flags that several commands have, and a parser that says a mistake in one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from orchestrator.cli.session.exit_codes import EXIT_USAGE, complain

_FORCE = "--resume=force"


class Parser(argparse.ArgumentParser):
    """Says a mistake in one line; for all commands."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; for an option that does not exist, say which one may have been meant."""
        return self._refuse_unknown(*self.parse_known_args(args, namespace))

    def parse_intermixed_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse options and positional arguments in any order; unknown options as in `parse_args`."""
        return self._refuse_unknown(*self.parse_known_intermixed_args(args, namespace))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; `--resume=force` stands for `--resume --accept function`, as `--resume` itself takes no value."""
        words = list(sys.argv[1:] if args is None else args)
        if "--accept" in self._option_string_actions and _FORCE in words:
            at = words.index(_FORCE)
            words[at : at + 1] = ["--resume", "--accept=function"]
        return super().parse_known_args(words, namespace)

    def _refuse_unknown(self, found: argparse.Namespace, unknown: list[str]) -> argparse.Namespace:
        option = next((word.partition("=")[0] for word in unknown if word.startswith("-")), None)
        if option is not None:
            self.error(f"unknown option {option}{did_you_mean(option, self._option_string_actions)}")
        if unknown:
            self.error(f"unexpected argument {unknown[0]!r}")
        return found

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong with the arguments, and leave."""
        complain(f"{message} (see `{self.prog} --help`)")
        raise SystemExit(EXIT_USAGE)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return a hint at the word that was probably meant, or ""."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for a mistake

    near = get_close_matches(word, list(words), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def main_parser() -> argparse.ArgumentParser:
    """Return the parser of the bare command, which knows the commands' names and --version."""
    parser = Parser(
        prog="orchestrator",
        description="Transforms files, record by record, in many processes at once: in order, in bounded memory.",
        epilog="Each command has its own help: orchestrator run --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    commands.add_parser("run", help="call a Python function for every record of files", add_help=False)
    commands.add_parser("exec", help="run a shell command for every argument, as GNU parallel does", add_help=False)
    commands.add_parser("job", help="run the graph that a TOML file describes", add_help=False)
    return parser


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Add the flag that says how many workers there are."""
    parser.add_argument(
        "-j",
        "--jobs",
        metavar="N",
        help="worker processes: 4, 50%% of the CPUs, or the CPUs +1 or -1 (default: one per CPU); or a file that "
        "holds one of these, reread during the run (at once on SIGHUP), where 0 pauses; or auto, auto:8, auto:2-8: "
        "as many as the machine has room for (default range: 1 to the number of CPUs)",
    )


def add_order(group: argparse._ArgumentGroup) -> None:
    """Add the flags that say in which order results are written."""
    order = group.add_mutually_exclusive_group()
    order.add_argument(
        "-k",
        "--keep-order",
        dest="ordered",
        action="store_true",
        default=True,
        help="write results in the order of the input (default)",
    )
    order.add_argument("--unordered", dest="ordered", action="store_false", help="write results when they are ready")


def add_telling(group: argparse._ActionsContainer, *, trace: bool = True) -> None:
    """Add the flags that have a run tell of itself to other programs."""
    if trace:
        group.add_argument(
            "--trace",
            metavar="FILE",
            help="write a timeline for ui.perfetto.dev or chrome://tracing: a track per worker, with what ran when, "
            "retries, timeouts and deaths",
        )
    group.add_argument("--report", metavar="FILE", help="write a JSON summary when the run ends")


def add_resuming(parser: argparse.ArgumentParser) -> None:
    """Add the flags of runs that can be resumed."""
    add = parser.add_argument_group("checkpoint and resume").add_argument
    add(
        "--checkpoint",
        metavar="DIR",
        help="save the run's progress in DIR, so that it can be resumed, even after kill -9 or a power cut; "
        "the output is then byte-identical to that of an undisturbed run",
    )
    add(
        "--resume",
        action="store_true",
        help="continue the run saved in --checkpoint DIR, if there is one. Refused with exit code 4 if the inputs, "
        "the function (or your own code that it uses) or an option that shapes the output has changed. DIR is read as "
        "data, except for a job's items of custom classes: they are pickled, and unpickling can run code, so they are "
        "loaded only if nobody but you can write to DIR",
    )
    add(
        "--accept",
        choices=["function"],
        metavar="function",
        help="with --resume: accept a changed function; continue with it from where the run stopped and keep what the "
        "old one has written. --resume=force is the same",
    )
    add("--checkpoint-every", metavar="S", default="2", help="minimum seconds between checkpoints (default: 2)")
    add(
        "--grace",
        metavar="S",
        default="10",
        help="with --checkpoint: seconds to let running work finish after Ctrl-C or SIGTERM (default: 10); "
        "a second signal stops the run at once",
    )


def add_showing(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what is shown while it runs."""
    group = parser.add_argument_group("display (all on stderr)")
    show = group.add_mutually_exclusive_group()
    for flag, style, words in (
        ("--bar", "bar", "a progress bar with rate and remaining time"),
        ("--eta", "eta", "the remaining time, in one line"),
        ("--progress", "workers", "a progress bar, and a line per worker"),
    ):
        show.add_argument(flag, dest="show", action="store_const", const=style, help=words)
    group.add_argument("-q", "--quiet", action="store_true", help="print no summary at the end")
