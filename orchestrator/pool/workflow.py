"""Workflows: named steps that are composed once and run by `pool.map`, `stream.through` and job files.

    clean = (
        Workflow("clean")
        .step("parse", json.loads)
        .step("validate", validate, when=needs_it)
        .branch("kind", {"call": Workflow().step("rate", rate), "text": None}, by=kind)
        .filter("good", lambda item: item["score"] > 0.5)
        .barrier()
        .step("format", to_line)
    )

A workflow never changes: each method returns a longer one, so it may be shared, and nested in others. It compiles into
`stages`: the steps between two barriers are one `Steps`, which runs as one function in the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import ConfigError
from workers.errors.describe import describe, type_name
from workers.functions.steps import Step, StepKind, Steps


@dataclass(frozen=True, slots=True)
class BetweenStages:
    """A barrier between two steps, with its hook if it has one."""

    each_worker: Callable[[], Any] | None = None
    then: Callable[[list[Any]], object] | None = None


Part = Step | BetweenStages


@dataclass(frozen=True, slots=True)
class Workflow:
    """Named steps in order.

    The functions are called with one item, in the workers.
    """

    name: str | None = None
    """Told in the errors of its items, "in step 'parse' of workflow 'clean'"."""
    parts: tuple[Part, ...] = ()
    """The steps so far; made by the methods."""

    def __post_init__(self) -> None:
        if self.name is not None and not (isinstance(self.name, str) and self.name):
            given = describe(self.name)
            raise ConfigError(f"a workflow's name must be a string, not {given}: Workflow('clean').step('parse', fn)")

    def step(
        self, name: str, run: Callable[[Any], Any] | Workflow, when: Callable[[Any], Any] | None = None
    ) -> Workflow:
        """Add a step that replaces an item by `run(item)`.

        Args:
            name: unique in this workflow.
            run: a function, or another workflow, whose steps are then called "name/its step".
            when: an item for which this is false passes unchanged.

        Raises:
            ConfigError: the name is taken or no name, `run` or `when` can't be called, the other workflow is empty.
        """
        if not isinstance(run, Workflow):
            return self._with(self._plain(name, "map", run, when))
        self._check(name, when)
        inner = _placed(_parts(run, f"step {describe(name)}"), name, run.name)
        if when is None:
            return self._with(*inner)
        return self._with(Step(name, "chain", None, when, ((None, _one_stage(inner, f"step {describe(name)}")),)))

    def filter(
        self, name: str, keep: Callable[[Any], Any], when: Callable[[Any], Any] | None = None
    ) -> Workflow:
        """Add a step that drops the items for which `keep` is false.

        The other arguments are those of `step`.
        """
        return self._with(self._plain(name, "filter", keep, when))

    def flat_map(
        self, name: str, spread: Callable[[Any], Any], when: Callable[[Any], Any] | None = None
    ) -> Workflow:
        """Add a step that replaces an item by the items of an iterable.

        The other arguments are those of `step`.
        """
        return self._with(self._plain(name, "flat_map", spread, when))

    def branch(
        self,
        name: str,
        branches: Mapping[Hashable, Workflow | Callable[[Any], Any] | None],
        by: Callable[[Any], Hashable],
        default: Workflow | Callable[[Any], Any] | None = None,
        *,
        others_pass: bool = False,
    ) -> Workflow:
        """Add a step that sends each item through the branch of its label, keeping their order.

        Args:
            name: unique in this workflow; a branch's steps are called "name/label/its step".
            branches: label -> a workflow without barriers, a function, or None: such items pass unchanged.
            by: gives an item's label.
            default: where items with other labels go; without it they fail with `UnknownLabelError`.
            others_pass: items with other labels pass unchanged.

        Raises:
            ConfigError: as `step`; there is no branch; a branch has a barrier.
        """
        self._check(name, by)
        if not isinstance(branches, Mapping) or not branches:
            raise ConfigError(
                f"branch {describe(name)} needs workflows by label: "
                f".branch({describe(name)}, {{'a': Workflow().step('x', fn)}}, by=fn)"
            )
        chains = tuple((label, _branch(name, str(label), inner)) for label, inner in branches.items())
        other = _branch(name, "default", default) if default is not None or others_pass else None
        return self._with(Step(name, "branch", by, None, chains, other))

    def barrier(
        self, each_worker: Callable[[], Any] | None = None, *, then: Callable[[list[Any]], object] | None = None
    ) -> Workflow:
        """Hold all items until every one has passed the steps so far.

        Args:
            each_worker: called once in every worker in between; see `Stream.barrier`.
            then: called in the coordinator with its results by worker id.

        Raises:
            ConfigError: there is no step before it, or a hook can't be called.
        """
        check_hook("barrier", each_worker, then)
        if not self.parts:
            raise ConfigError("a barrier goes between two steps; add a step before it")
        last = self.parts[-1]
        if isinstance(last, Step):
            return self._with(BetweenStages(each_worker, then))
        if each_worker is None:
            return self
        if last.each_worker is not None:
            raise ConfigError(f"{self._called()} has two barriers with hooks in a row; call both hooks in one function")
        return replace(self, parts=(*self.parts[:-1], BetweenStages(each_worker, then)))

    @property
    def barriers(self) -> tuple[BetweenStages, ...]:
        """The barriers between each two of `stages`."""
        return tuple(part for part in self.parts if isinstance(part, BetweenStages))

    @property
    def stages(self) -> tuple[Steps, ...]:
        """The chains of steps that run, with a barrier between each two.

        Raises:
            ConfigError: there is no step, or none behind a barrier.
        """
        parts = _parts(self, self._called())
        if isinstance(parts[-1], BetweenStages):
            raise ConfigError(f"{self._called()} ends with a barrier; add the step that waits for it")
        stages: list[list[Step]] = [[]]
        for part in parts:
            if isinstance(part, BetweenStages):
                stages.append([])
            else:
                stages[-1].append(part if self.name is None else _renamed(part, "", self.name))
        return tuple(Steps(tuple(steps)) for steps in stages)

    # ---- inside -----------------------------------------------------------------------------------------------

    def _with(self, *parts: Part) -> Workflow:
        return replace(self, parts=(*self.parts, *parts))

    def _plain(self, name: str, kind: StepKind, function: Any, when: Any) -> Step:
        self._check(name, function, when)
        if function is None:
            raise ConfigError(f"step {describe(name)} has no function: .step({describe(name)}, fn)")
        return Step(name, kind, function, when)

    def _check(self, name: Any, *functions: Any) -> None:
        if not isinstance(name, str) or not name or "/" in name:
            raise ConfigError(f"a step's name must be a string without '/', not {describe(name)}: .step('parse', fn)")
        if any(isinstance(part, Step) and part.name.partition("/")[0] == name for part in self.parts):
            raise ConfigError(f"{self._called()} already has a step {describe(name)}; give this one another name")
        for function in functions:
            if function is not None and not callable(function):
                raise ConfigError(f"step {describe(name)} of {self._called()}: {describe(function)} can't be called")

    def _called(self) -> str:
        return "the workflow" if self.name is None else f"workflow {describe(self.name)}"


def check_hook(what: str, each_worker: Any, then: Any) -> None:
    """Refuse invalid hooks of a barrier.

    Raises:
        ConfigError: one can't be called, or there are no results to be given to `then`.
    """
    for hook in (each_worker, then):
        if hook is not None and not callable(hook):
            raise ConfigError(f"{what} needs functions, not {type_name(type(hook))}: .{what}(each_worker=fn, then=use)")
    if then is not None and each_worker is None:
        raise ConfigError(f"{what}: `then` takes the results of `each_worker`, which is missing")


def _parts(workflow: Workflow, place: str) -> tuple[Part, ...]:
    if not workflow.parts:
        raise ConfigError(f"{place} has no steps; add one: Workflow().step('parse', fn)")
    return workflow.parts


def _branch(step: str, label: str, inner: Workflow | Callable[[Any], Any] | None) -> tuple[Step, ...]:
    """Return the chain of one branch."""
    place = f"branch {describe(label)} of step {describe(step)}"
    if inner is None:
        return ()
    if isinstance(inner, Workflow):
        return _one_stage(_placed(_parts(inner, place), f"{step}/{label}", inner.name), place)
    if not callable(inner):
        raise ConfigError(f"{place} is neither a workflow nor a function, but {describe(inner)}")
    return (Step(f"{step}/{label}", "map", inner),)


def _one_stage(parts: tuple[Part, ...], place: str) -> tuple[Step, ...]:
    steps = tuple(part for part in parts if isinstance(part, Step))
    if len(steps) < len(parts):
        raise ConfigError(f"{place} has a barrier: only some items get there, so it can't wait for all")
    return steps


def _placed(parts: tuple[Part, ...], prefix: str, workflow: str | None) -> tuple[Part, ...]:
    """Return the parts of a nested workflow, called by their path."""
    return tuple(_renamed(part, f"{prefix}/", workflow) if isinstance(part, Step) else part for part in parts)


def _renamed(step: Step, prefix: str, workflow: str | None) -> Step:
    """Return a step, and those inside it, with a longer name and, if given, the name of its workflow."""
    return replace(
        step,
        name=prefix + step.name,
        workflow=workflow if workflow is not None else step.workflow,
        branches=tuple((label, tuple(_renamed(s, prefix, workflow) for s in chain)) for label, chain in step.branches),
        default=None if step.default is None else tuple(_renamed(s, prefix, workflow) for s in step.default),
    )
