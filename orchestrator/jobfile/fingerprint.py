"""The fingerprint of a job: the meaning of its file, and the source of its functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.checkpoint.fingerprint import of_function
from orchestrator.jobfile.model import Job, NamedFunction
from orchestrator.streams.plan import keeps_the_output
from workers.functions.steps import Step


def of_job(job: Job) -> dict[str, str]:
    """Return the fingerprint as short texts by label, without the pool's settings."""
    known = {f"[{node.kind}.{node.name}]": _text(node.values) for node in job.nodes.values()}
    for name, workflow in job.workflows.items():
        known[f"[workflow.{name}]"] = " | ".join(_steps(steps.steps) for steps in workflow.stages)
    functions = {function.target: function for function in functions_of(job)}
    return known | {f"the function {target}": of_function(functions[target].function) for target in sorted(functions)}


def _text(values: dict[str, Any]) -> str:
    kept = sorted((key, value) for key, value in values.items() if not keeps_the_output(key, value))
    return ", ".join(f"{key} = {_value(value)}" for key, value in kept)


def _value(value: Any) -> str:
    if isinstance(value, NamedFunction):
        return value.target
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)


def _steps(steps: tuple[Step, ...]) -> str:
    return ", ".join(map(_step, steps))


def _step(step: Step) -> str:
    function = f" {_value(step.function)}" if step.function is not None else ""
    when = f" when {_value(step.when)}" if step.when is not None else ""
    inner = "; ".join(f"{label}: {_steps(chain)}" for label, chain in (*step.branches, ("else", step.default or ())))
    return f"{step.name}: {step.kind}{function}{when}" + (f" ({inner})" if step.branches else "")


def functions_of(job: Job) -> Iterator[NamedFunction]:
    """Yield every function that a job names."""
    for node in job.nodes.values():
        yield from _named(node.values)
    for workflow in job.workflows.values():
        for steps in workflow.stages:
            yield from _named_in(steps.steps)


def _named(value: Any) -> Iterator[NamedFunction]:
    if isinstance(value, NamedFunction):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _named(inner)


def _named_in(steps: tuple[Step, ...]) -> Iterator[NamedFunction]:
    for step in steps:
        yield from _named([step.function, step.when])
        for _, chain in (*step.branches, ("", step.default or ())):
            yield from _named_in(chain)
