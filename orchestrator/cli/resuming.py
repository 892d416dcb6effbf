"""What a run of the command is known by, so that `--resume` goes on only with the same one."""

from __future__ import annotations

import sys
from dataclasses import replace
from shlex import join
from typing import TYPE_CHECKING, Any

from orchestrator.cli.failing import retries_told
from orchestrator.cli.plan import RunPlan, make_plan
from orchestrator.errors import ConfigError
from orchestrator.sources.files import of_inputs
from workers import handler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.cli.options import RunSettings
    from orchestrator.graph.checkpoints import Checkpoints


class NothingToResumeError(Exception):
    """The run that is to be resumed had come to its end: not a failure now, if it was none then (`failed` records)."""

    def __init__(self, folder: str, failed: int, of_what: str = "records") -> None:
        left_out = f"; {failed:,} {of_what} had failed" if failed else ""
        super().__init__(f"nothing to resume: the run in {folder} came to its end{left_out}")
        self.failed = failed


def open_checkpoints(settings: RunSettings) -> tuple[RunPlan, Checkpoints]:
    """Return the plan, and the checkpoints that its run writes and goes on from.

    Raises:
        ConfigError: the folder can't be used, it holds a run that did not finish and `--resume` was not given, or an
            input or the output can't be gone on with.
        ResumeMismatchError: it holds another run.
        NothingToResumeError: that run was finished.
    """
    folder = settings.checkpoint
    assert folder is not None  # noqa: S101 - for the type checker
    plan = make_plan(settings)
    if plan.to_stdout:
        raise ConfigError("--checkpoint needs -o FILE: what went to standard output can't be taken back on resume")
    known_by = _fingerprint(plan)
    look_into(folder, known_by, resume=settings.resume, failed=lambda state: state[-1]["sinks"][0]["tally"]["failed"])
    from orchestrator.graph.checkpoints import Checkpoints  # noqa: PLC0415 - only for runs that can be resumed

    kept = Checkpoints(folder, known_by, settings.checkpoint_every_s, plan={"block_bytes": plan.block_bytes})
    if kept.resumes and kept.plan["block_bytes"] != plan.block_bytes:
        # The same cuts as before, whatever the number of workers is now.
        plan = make_plan(replace(settings, block_bytes=kept.plan["block_bytes"]))
    return plan, kept


def look_into(
    folder: str,
    known_by: Mapping[str, Any],
    *,
    resume: bool,
    failed: Callable[[Any], int],
    of_what: str = "records",
) -> None:
    """Tell whether a run may use the folder, as far as that is seen before it begins.

    Args:
        folder: of `--checkpoint`.
        known_by: what the run is known by.
        resume: whether `--resume` was given.
        failed: gives the number of failures that a finished run's last state tells of.
        of_what: what failed.

    Raises:
        ConfigError: it can't be used, or it holds a run that did not finish and that is not to be resumed.
        ResumeMismatchError: the run that is to be resumed had come to its end, and was another one.
        NothingToResumeError: the run that is to be resumed had come to its end.
    """
    from orchestrator.graph.checkpoints import refuse_another  # noqa: PLC0415 - only for runs that can be resumed
    from orchestrator.journal import Journal  # noqa: PLC0415

    journal = Journal(folder)
    head, complete, state = journal.head, journal.complete, journal.state
    journal.close()
    if head is not None and complete and resume:
        refuse_another(head["fingerprint"], known_by, folder)
        raise NothingToResumeError(folder, failed(state), of_what)
    if head is not None and not complete and not resume:
        raise ConfigError(
            f"{folder} holds a run that did not come to its end; add --resume to go on with it, or remove {folder} to "
            "start from the beginning"
        )


def resume_command() -> str:
    """Return what goes on with this run, as it would be typed."""
    words = sys.argv[1:]
    return join(["python", "-m", "orchestrator", *words] + ([] if "--resume" in words else ["--resume"]))


def _fingerprint(plan: RunPlan) -> dict[str, str]:
    from orchestrator.fingerprint import of_function  # noqa: PLC0415 - as above

    settings, runner = plan.settings, plan.runner
    options = {
        "--format": settings.record_format,
        "--output-format": runner.output_format,
        "--flat": settings.flat,
        "--errors": settings.errors,
        "--on-error": settings.failing.on_error,
        "--retries": retries_told(settings.failing.retries),
        "--timeout": settings.failing.timeout_s,
        "--dead-letter": settings.failing.dead_letter,
        "--retry-dead": settings.failing.retry_dead,
        "--block": settings.block_bytes,
        "--chunk": settings.chunk_records,
        "the order of the output": "as the input" if settings.ordered else "as ready",
        "the output": settings.output,
        "--joblog": settings.joblog,
    }
    function = of_function(handler.load(settings.target))
    known = {"the function": f"{settings.target} {function}"}
    return known | {name: str(value) for name, value in options.items()} | of_inputs(plan.inputs)
