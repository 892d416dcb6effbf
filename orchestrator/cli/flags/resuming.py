"""The flags of runs that can be resumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.cli.flags.numbers import seconds
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    import argparse


@dataclass(frozen=True, slots=True)
class ResumeSettings:
    """The settings of saving and resuming a run."""

    folder: str | None
    """The folder it is saved in; None: it can't be resumed."""
    every_s: float
    resume: bool
    accepts_function: bool
    """Whether a saved run is continued although its function has changed."""
    grace_s: float
    """How long running work may take to finish after the first Ctrl-C or SIGTERM."""


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


def resume_settings(args: argparse.Namespace) -> ResumeSettings:
    """Return what the arguments mean.

    Raises:
        ConfigError: a value that can't be, or two that don't go together.
    """
    if args.accept and not args.resume:
        raise ConfigError("--accept needs --resume: it says what may differ from the saved run")
    if args.resume and not args.checkpoint:
        raise ConfigError("--resume needs --checkpoint DIR, the folder of the saved run")
    return ResumeSettings(
        folder=args.checkpoint,
        every_s=seconds("--checkpoint-every", args.checkpoint_every),
        resume=args.resume,
        accepts_function=args.accept == "function",
        grace_s=seconds("--grace", args.grace),
    )
