"""The workflows of a job file: [[workflow.NAME.step]] tables, in order."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.jobfile.diagnostics import Diagnostics
from orchestrator.jobfile.tables.schema import WORKFLOW, WORKFLOW_STEP
from orchestrator.jobfile.toml_lines import Path
from orchestrator.jobfile.values import Values
from orchestrator.pool.workflow import Workflow

_ACTIONS = ("map", "filter", "flat_map", "through", "branches", "barrier")
_GOES_WITH = {"when": ("map", "filter", "flat_map", "through"), "by": ("branches",), "default": ("branches",),
              "others_pass": ("branches",), "each_worker": ("barrier",), "then": ("barrier",)}  # fmt: skip


def read_workflows(tables: Any, values: Values, diagnostics: Diagnostics) -> dict[str, Workflow | None]:
    """Return the workflows by name, None for one with mistakes, which are reported."""
    if not isinstance(tables, dict):
        diagnostics.add(("workflow",), "[workflow] needs a name: [[workflow.some_name.step]]")
        return {}
    return _Reader(tables, values, diagnostics).read()


class _Reader:
    """Builds workflows, nested ones first.

    Owns those that are done and those begun.
    """

    def __init__(self, tables: dict[str, Any], values: Values, diagnostics: Diagnostics) -> None:
        self._tables = tables
        self._values = values
        self._diagnostics = diagnostics
        self._done: dict[str, Workflow | None] = {}
        self._begun: list[str] = []

    def read(self) -> dict[str, Workflow | None]:
        for name in self._tables:
            self._named(name, ("workflow", name))
        return self._done

    def _named(self, name: str, place: Path) -> Workflow | None:
        """Return a workflow, building it if needed."""
        if name in self._done:
            return self._done[name]
        if name not in self._tables:
            self._diagnostics.unknown(place, name, "there is no workflow", self._tables)
            return None
        if name in self._begun:
            circle = " -> ".join([*self._begun[self._begun.index(name) :], name])
            self._diagnostics.add(place, f"these workflows contain each other: {circle}")
            return None
        self._begun.append(name)
        self._done[name] = self._built(name)
        self._begun.pop()
        return self._done[name]

    def _built(self, name: str) -> Workflow | None:
        path: Path = ("workflow", name)
        before = len(self._diagnostics)
        table = self._values.table(self._tables[name], WORKFLOW, path, f"[workflow.{name}]")
        workflow = Workflow(name)
        for number, step in enumerate(table.get("step", ())):
            place = (*path, "step", number)
            try:
                workflow = self._with(workflow, step, place)
            except ConfigError as wrong:
                self._diagnostics.add(place, str(wrong))
        if len(self._diagnostics) > before or "step" not in table:
            return None
        try:
            _ = workflow.stages
        except ConfigError as wrong:
            self._diagnostics.add(path, str(wrong))
            return None
        return workflow

    def _with(self, workflow: Workflow, table: Any, path: Path) -> Workflow:
        """Return the workflow with one more step.

        A step with a mistake is reported and left out.
        """
        diagnostics = self._diagnostics
        before = len(diagnostics)
        values = self._values.table(table, WORKFLOW_STEP, path, "a step of a workflow")
        given = [key for key in _ACTIONS if key in table]
        if len(given) != 1:
            has = " and ".join(given) or "nothing to do"
            diagnostics.add(path, f"a step has {has}; give it one of {', '.join(_ACTIONS)}")
        elif given != ["barrier"] and "name" not in table:
            diagnostics.add(path, "the step lacks 'name': a string")
        for key, others in _GOES_WITH.items():
            if key in table and len(given) == 1 and given[0] not in others:
                diagnostics.add((*path, key), f"{key!r} goes with {' or '.join(others)}, not with {given[0]!r}")
        inner = self._inner(values, path)
        if len(diagnostics) > before:
            return workflow
        return _extended(workflow, given[0], values, inner)

    def _inner(self, values: dict[str, Any], path: Path) -> dict[str, Workflow | None]:
        """Return the workflows that a step refers to, by key or by label."""
        found: dict[str, Workflow | None] = {}
        for key in ("through", "default"):
            if key in values:
                found[key] = self._named(values[key], (*path, key))
        for label, name in values.get("branches", {}).items():
            found[f"={label}"] = self._named(name, (*path, "branches", label)) if name else None
        if "branches" in values and "by" not in values:
            self._diagnostics.add(path, "the step lacks 'by': a function that gives an item's label")
        return found


def _extended(workflow: Workflow, action: str, values: dict[str, Any], inner: dict[str, Any]) -> Workflow:
    if action == "barrier":
        return workflow.barrier(values.get("each_worker"), then=values.get("then"))
    name, when = values["name"], values.get("when")
    if action == "map":
        return workflow.step(name, values["map"], when)
    if action == "filter":
        return workflow.filter(name, values["filter"], when)
    if action == "flat_map":
        return workflow.flat_map(name, values["flat_map"], when)
    if action == "through":
        return workflow.step(name, inner["through"], when)
    branches = {label: inner[f"={label}"] for label in values["branches"]}
    passes = values.get("others_pass", False)
    return workflow.branch(name, branches, values["by"], inner.get("default"), others_pass=passes)
