"""Resumes a stopped run of any command: reads its folder, and tells the command that resumes."""

from __future__ import annotations

import sys
from shlex import join
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.graph.checkpoints import MayChange


class NothingToResumeError(Exception):
    """The run that is to be resumed had ended.

    That is a failure only if it was one then (`failed` records).
    """

    def __init__(self, folder: str, failed: int, of_what: str = "records") -> None:
        left_out = f"; {failed:,} {of_what} had failed" if failed else ""
        super().__init__(f"nothing to resume: the run in {folder} is complete{left_out}")
        self.failed = failed


def look_into(
    folder: str,
    known_by: Mapping[str, Any],
    *,
    resume: bool,
    failed: Callable[[Any], int],
    may_change: MayChange,
    of_what: str = "records",
) -> None:
    """Check whether a run may use the folder, as far as that is known before it begins.

    Args:
        folder: of `--checkpoint`.
        known_by: what the run is known by.
        resume: whether `--resume` was given.
        may_change: says what may differ from the run that is resumed.
        failed: gives the number of failures that a finished run's last state reports.
        of_what: what failed.

    Raises:
        ConfigError: it can't be used, or it holds a run that did not finish and that is not to be resumed.
        ResumeMismatchError: the run that is to be resumed had ended, and was another one.
        NothingToResumeError: the run that is to be resumed had ended.
    """
    from orchestrator.checkpoint.journal import Journal  # noqa: PLC0415
    from orchestrator.graph.checkpoints import refuse_another  # noqa: PLC0415 - only for runs that can be resumed

    journal = Journal(folder)
    head, complete, state = journal.head, journal.complete, journal.state
    journal.close()
    if head is not None and complete and resume:
        refuse_another(head["fingerprint"], known_by, folder, may_change)
        raise NothingToResumeError(folder, failed(state), of_what)
    if head is not None and not complete and not resume:
        raise ConfigError(
            f"{folder} holds an unfinished run; add --resume to continue it, or remove {folder} to start over"
        )


def resume_command() -> str:
    """Return the command that resumes this run, as it would be typed."""
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    options = [word for word in words[:end] if word not in {"--resume", "--resume=force", "--accept=function"}]
    if "--accept" in options:
        del options[options.index("--accept") : options.index("--accept") + 2]  # it has been accepted
    return join(["orchestrator", *options, "--resume", *words[end:]])
