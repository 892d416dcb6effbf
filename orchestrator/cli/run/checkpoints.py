"""The fingerprint of a run, and the checkpoints that it writes and resumes from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.cli.flags.failures import describe_retries
from orchestrator.cli.run.plan import RunPlan, make_plan
from orchestrator.cli.session.exit_codes import print_error
from orchestrator.cli.session.resume import look_into
from orchestrator.errors import ConfigError
from orchestrator.sources.inputs import of_inputs
from workers.pickling import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.cli.run.options import RunSettings
    from orchestrator.graph.checkpoints import Checkpoints, MayChange


def open_checkpoints(settings: RunSettings) -> tuple[RunPlan, Checkpoints]:
    """Return the plan, and the checkpoints that its run writes and resumes from.

    Raises:
        ConfigError: the folder can't be used, it holds a run that did not finish and `--resume` was not given, or an
            input or the output can't be resumed.
        ResumeMismatchError: it holds another run.
        NothingToResumeError: that run was finished.
    """
    folder = settings.resuming.folder
    assert folder is not None  # noqa: S101 - for the type checker
    plan = make_plan(settings)
    if plan.to_stdout:
        raise ConfigError("--checkpoint needs -o FILE: standard output can't be rolled back on resume")
    known_by = _fingerprint(plan)
    may_change = _may_change(settings)
    look_into(
        folder,
        known_by,
        resume=settings.resuming.resume,
        may_change=may_change,
        failed=lambda state: state[-1]["sinks"][0]["tally"]["failed"],
    )
    from orchestrator.checkpoint.fingerprint import of_libraries  # noqa: PLC0415 - only for runs that can be resumed
    from orchestrator.graph.checkpoints import Checkpoints  # noqa: PLC0415

    kept = Checkpoints(
        folder,
        known_by,
        settings.resuming.every_s,
        plan={"block_bytes": plan.block_bytes},
        libraries=of_libraries([load.load(settings.target)]),
        may_change=may_change,
    )
    if kept.note is not None:
        print_error(kept.note)
    if kept.resumes and kept.plan["block_bytes"] != plan.block_bytes:
        # The same cuts as before, whatever the number of workers is now.
        plan = make_plan(replace(settings, block_bytes=kept.plan["block_bytes"]))
    return plan, kept


def _may_change(settings: RunSettings) -> MayChange:
    """Return a test for options that may differ, as they change nothing that was written already."""

    def may_change(label: str, old: Mapping[str, str], _new: Mapping[str, str]) -> bool:
        if label in {"--dead-letter", "--joblog"}:
            return old.get(label) == "None"
        if label == "--errors":  # nothing was left out or replaced until now
            return old.get(label) == "strict" and old.get("--on-error") == "raise"
        if label == "the function":
            return settings.resuming.accepts_function
        return label in {"--on-error", "--retries", "--timeout"}

    return may_change


def _fingerprint(plan: RunPlan) -> dict[str, str]:
    from orchestrator.checkpoint.fingerprint import of_function  # noqa: PLC0415 - as above

    settings, failing = plan.settings, plan.settings.failing
    options = settings.shaping() | {
        "--output-format": plan.runner.output_format,
        "--on-error": failing.on_error,
        "--retries": describe_retries(failing.retries),
        "--timeout": failing.timeout_s,
        "--dead-letter": failing.dead_letter,
        "--retry-dead": failing.retry_dead,
    }
    function = of_function(load.load(settings.target))
    known = {"the function": f"{settings.target} {function}"}
    return known | {name: str(value) for name, value in options.items()} | of_inputs(plan.inputs)
