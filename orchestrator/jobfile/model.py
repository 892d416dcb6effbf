"""A checked job, its functions loaded, its nodes in the order of building."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestrator.jobfile.tables.schema import INPUTS
from orchestrator.pool.workflow import Workflow
from workers.pickling import load

OTHERS = "others"
"""The output of a demultiplexer for the keys that it does not name."""


class Ref(NamedTuple):
    """One output of a node."""

    node: str
    output: str | None
    """None for a node that has only one."""

    def __str__(self) -> str:
        return self.node if self.output is None else f"{self.node}.{self.output}"


class NamedFunction:
    """A function of the job file, which a worker loads by its name.

    Called here, it is the function.
    """

    __slots__ = ("folder", "function", "target")

    def __init__(self, target: str, folder: str) -> None:
        """Load the function.

        Raises:
            HandlerError: it is not available.
        """
        self.target = target
        self.folder = folder
        self.function: Callable[..., Any] = load.load(target, folder)

    def __call__(self, *args: Any) -> Any:
        """Call the function."""
        return self.function(*args)

    def __reduce__(self) -> Any:
        """Arrive in a worker as the function itself."""
        return load.load, (self.target, self.folder)

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The function itself, for readers of its source."""
        return self.function

    @property
    def __name__(self) -> str:
        return self.target.rpartition(":")[2]


@dataclass(frozen=True, slots=True)
class JobNode:
    """One table of the graph."""

    kind: str
    name: str
    values: dict[str, Any]
    """What stands in the table; functions are `NamedFunction`s, references to streams `Ref`s."""
    line: int
    file: str
    """Where it stands: the job file, or one that it includes."""

    @property
    def key(self) -> str:
        """Its name among all nodes.

        A sink may have the name of the stream that it writes.
        """
        return f"sink.{self.name}" if self.kind == "sink" else self.name

    @property
    def inputs(self) -> tuple[Ref, ...]:
        """The outputs that it reads, in order."""
        found: list[Ref] = []
        for key in INPUTS[self.kind]:
            value = self.values.get(key, ())
            found += [value] if isinstance(value, Ref) else value
        return tuple(found)

    def read_instead(self, names: Collection[Ref], output: Ref) -> None:
        """Read an output wherever one of its names stands."""
        for key in INPUTS[self.kind]:
            value = self.values.get(key)
            if isinstance(value, list):
                self.values[key] = [output if each in names else each for each in value]
            elif value in names:
                self.values[key] = output

    @property
    def outputs(self) -> tuple[str | None, ...]:
        """The names of the node's outputs.

        One None where there is only one.
        """
        if self.kind == "sink" or (self.kind == "demultiplex" and "to" in self.values):
            return ()
        late = self.values.get("late")
        if isinstance(late, Ref):
            return (None, late.output)
        if self.kind == "route":
            return (*self.values.get("to", ()), self.values.get("default", "rest"))
        if self.kind == "demultiplex":
            others = (OTHERS,) if self.values.get("unknown") == "default" else ()
            return (*map(str, self.values.get("keys", ())), *others)
        if self.kind == "broadcast":
            return tuple(map(str, range(self.values.get("n", 0))))
        return (None,)


@dataclass(frozen=True, slots=True)
class Job:
    """A whole job file."""

    path: str
    pool: dict[str, Any] = field(default_factory=dict)
    nodes: dict[str, JobNode] = field(default_factory=dict)
    """By key, each behind those that it reads."""
    workflows: dict[str, Workflow] = field(default_factory=dict)

    @property
    def written(self) -> list[str]:
        """The paths that it writes, but for those that depend on a key."""
        values = [node.values.get(key) for node in self.nodes.values() for key in ("write", "to", "late", "unmatched")]
        paths = [path for value in values for path in (value if isinstance(value, list) else [value])]
        return [path for path in paths if isinstance(path, str) and "{" not in path]
