"""The flags that several commands have, and a parser that reports a mistake in one line."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any, NoReturn

from orchestrator.cli.session.exit_codes import EXIT_USAGE, print_error
from workers.errors.nearest import nearest

_FORCE = "--resume=force"
_ARGUMENT = "\0"
"""Begins what is not an option though it may look like one; no argument of a process has this character."""
_OTHERS = dict.fromkeys(("workers", "processes", "procs", "max-procs", "n-jobs", "parallel"), "--jobs") | {
    "out": "--output",
    "silent": "--quiet",
    "progress-bar": "--bar",
}
"""Other programs' names of our options."""


class Parser(argparse.ArgumentParser):
    """Parses arguments, and says a mistake in one line.

    What stands behind `--` are arguments, whatever they begin with.
    """

    intermixed = True
    """Whether options may stand behind the first argument."""

    def parse_args(  # type: ignore[override]  # of its overloads we use the plain one
        self, args: Sequence[str] | None = None, namespace: None = None
    ) -> argparse.Namespace:
        """Parse the arguments, and suggest the nearest option for an unknown one."""
        return self._refuse_unknown(*self.parse_known_args(self._marked(args), namespace))

    def parse_intermixed_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: None = None
    ) -> argparse.Namespace:
        """Parse options and positional arguments in any order.

        Unknown options are refused as in `parse_args`.
        """
        return self._refuse_unknown(*self.parse_known_intermixed_args(self._marked(args), namespace))

    def _marked(self, args: Sequence[str] | None) -> list[str]:
        """Mark what stands behind `--`, which argparse forgets in intermixed parsing.

        Refuses `-output`, too.

        `--resume=force` stands for `--resume --accept function`, as `--resume` itself takes no value.
        """
        words = list(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        options = words[:end]
        own = options if self.intermixed else list(takewhile(lambda word: word.startswith("-"), options))
        for word in own:
            name = f"-{word.partition('=')[0]}"
            if word[:1] == "-" != word[1:2] and len(word) > 2 and name in self._option_string_actions:
                self.error(f"unknown option {name[1:]}; did you mean {name}?")
        if "--accept" in self._option_string_actions and _FORCE in options:
            at = options.index(_FORCE)
            options[at : at + 1] = ["--resume", "--accept=function"]
        return options + [_ARGUMENT + word for word in words[end + 1 :]]

    def _refuse_unknown(self, found: argparse.Namespace, unknown: list[str]) -> argparse.Namespace:
        option = next((word.partition("=")[0] for word in unknown if word.startswith("-")), None)
        if option is not None:
            self.error(f"unknown option {option}{did_you_mean(option, self._option_string_actions)}")
        if unknown:
            self.error(f"unexpected argument {unknown[0]!r}")
        for name, value in vars(found).items():
            setattr(found, name, [_plain(each) for each in value] if isinstance(value, list) else _plain(value))
        return found

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value that is not one of the choices, and suggest the nearest."""
        if action.choices is not None and value not in action.choices:
            hint = nearest(value, map(str, action.choices))
            said = f"; did you mean {hint}?" if hint else ""
            choices = ", ".join(map(str, action.choices))
            raise argparse.ArgumentError(action, f"invalid choice: {value!r} (choose from {choices}){said}")

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the arguments, and exit."""
        print_error(f"{_in_our_words(message.replace(_ARGUMENT, ''))} (see `{self.prog} --help`)")
        raise SystemExit(EXIT_USAGE)


def _plain(value: Any) -> Any:
    return value.removeprefix(_ARGUMENT) if isinstance(value, str) else value


def _in_our_words(message: str) -> str:
    """Reword argparse's messages on abbreviations and superfluous values."""
    if found := re.fullmatch(r"ambiguous option: (\S+?)(?:=.*)? could match (.*)", message, re.DOTALL):
        *others, last = found[2].split(", ")
        return f"unknown option {found[1]}; did you mean {', '.join(others)} or {last}?"
    if found := re.fullmatch(r"argument (\S+): ignored explicit argument (.*)", message, re.DOTALL):
        return f"{found[1].rpartition('/')[2]} takes no value, and was given {found[2]}"
    return message


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return a hint at the option or command that was probably meant, or ""."""
    words = list(words)
    bare = word.lstrip("-").casefold()
    near = _OTHERS.get(bare) if len(bare) > 1 else None
    if near not in words:
        near = nearest(word, (each for each in words if len(each) != 2 or len(bare) == 1))
    return f"; did you mean {near}?" if near else ""


def main_parser() -> argparse.ArgumentParser:
    """Return the parser of the bare command, which knows the commands' names and --version."""
    parser = Parser(
        prog="orchestrator",
        description="Transforms files, record by record, in many processes at once: in order, in bounded memory.",
        epilog="Each command has its own help: orchestrator run --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
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
    """Add the flags of the order in which results are written."""
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
    """Add the flags of logs, traces and reports."""
    if trace:
        group.add_argument(
            "--trace",
            metavar="FILE",
            help="write a timeline for ui.perfetto.dev or chrome://tracing: a track per worker, with what ran when, "
            "retries, timeouts and deaths",
        )
    group.add_argument("--report", metavar="FILE", help="write a JSON summary when the run ends")


def add_showing(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the display during a run."""
    group = parser.add_argument_group("display (all on stderr)")
    show = group.add_mutually_exclusive_group()
    for flag, style, words in (
        ("--bar", "bar", "a progress bar with rate and remaining time"),
        ("--eta", "eta", "the remaining time, in one line"),
        ("--progress", "workers", "a progress bar, and a line per worker"),
    ):
        show.add_argument(flag, dest="show", action="store_const", const=style, help=words)
    group.add_argument("-q", "--quiet", action="store_true", help="print no summary at the end")
