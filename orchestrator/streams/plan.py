"""Turns the description of a graph into nodes: checks it before anything starts, and fuses steps.

A description is made of `Op`s, which never change and know only what they get items from. A plan begins at the
terminals, finds all that leads to them, and refuses what can't run: a stream that is consumed twice, a branch that
nobody consumes, a cycle. Neighbouring steps whose work is the workers' become one node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import length_hint
from typing import TYPE_CHECKING, Any, cast

from orchestrator.checkpoint.fingerprint import of_closure, of_function, of_iterable, of_libraries
from orchestrator.errors import ConfigError
from orchestrator.graph.flow.relay import LONGEST_WAY, Relay
from orchestrator.graph.source_stage import FeedNode
from orchestrator.graph.stage_node import MapNode
from orchestrator.pool.internals import internals_of
from orchestrator.settings import map_options
from workers.functions.fused_reading import reader_of
from workers.functions.steps import Step, Steps

if TYPE_CHECKING:
    from orchestrator.graph.flow.node import Node
    from orchestrator.pool.pool import Pool
    from orchestrator.sources.block_splitting import Divider
    from workers.functions.steps import Reducer

_TURN = 256
"""Items that a join takes of one input before it is the other's turn."""
KEEP_THE_OUTPUT = frozenset({"retries", "retry_delay", "timeout", "chunk", "rate"})
"""Options that say how a step runs, not what it gives: a run may be resumed after they were changed."""


@dataclass(frozen=True, slots=True, eq=False)
class Port:
    """One output of an op."""

    op: Op
    number: int

    def __str__(self) -> str:
        label = self.op.labels[self.number]
        return f"{self.op.name!r}" if not label else f"{self.op.name!r} (branch {label!r})"


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One step as the user wrote it.

    It becomes a node, or a part of one.
    """

    kind: str
    name: str
    inputs: tuple[Port, ...]
    make: Callable[[str], Node] | None = None
    """Gives the node; None for what runs in the workers."""
    labels: tuple[str, ...] = ("",)
    """One an output."""
    steps: tuple[Step, ...] = ()
    """The steps that run in the workers."""
    options: dict[str, Any] | None = None
    """Of `Pool.map`; None: whatever the neighbour has."""
    iterable: Iterable[Any] | None = None
    """What a source reads, if reading does not block; chunks for the workers may be cut straight from it."""
    make_on: Callable[[str, Pool], Node] | None = None
    """Gives a node that has something done in all workers together."""


@dataclass(slots=True)
class _Group:
    """Ops that become one node."""

    ops: list[Op]
    options: dict[str, Any] | None = None
    name: str = ""
    node: Node | None = None
    inputs: tuple[Port, ...] = field(default=())

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for op in self.ops for step in op.steps)

    @property
    def cut_from(self) -> Op | None:
        """The source that chunks for the workers are cut straight from."""
        return self.inputs[0].op if self.steps and self.inputs[0].op.iterable is not None else None


class Plan:
    """A checked graph.

    Its nodes are made once, by `nodes`.
    """

    def __init__(self, ends: Iterable[Op], consumed: Iterable[Port] = (), *, whole: bool = True) -> None:
        """Find and check all that leads to `ends`, and to the ports that have other consumers.

        Args:
            ends: the ops of the terminals.
            consumed: ports that somebody iterates.
            whole: False for a part that is only to be explained: other branches may end elsewhere.

        Raises:
            ConfigError: the graph can't run; says where and what to write instead.
        """
        self._consumed = tuple(consumed)
        self._ops = _sorted([*ends, *(port.op for port in self._consumed)])
        self._consumers = self._find_consumers()
        if whole:
            self._refuse_unconsumed()
        self._groups = self._fuse()
        _name_apart(self._groups)

    @property
    def needs_pool(self) -> bool:
        """Whether anything runs in workers."""
        return any(group.steps or group.ops[0].make_on is not None for group in self._groups)

    def nodes(self, pool: Pool | None) -> tuple[list[Node], dict[Port, tuple[Node, int]]]:
        """Make the nodes, each behind those that it gets items from, and connect them.

        Returns:
            The nodes; and for each port that is consumed otherwise its node and the number of the outlet.
        """
        made: dict[Op, Node] = {}
        nodes: list[Node] = []
        ways: dict[Node, int] = {}  # how many nodes a push to each leads through, at least from the last relay on
        cut_from = {source for group in self._groups if (source := group.cut_from) is not None}
        for group in self._groups:
            if group.ops[0] in cut_from:
                continue
            node = _stage_node(group, pool) if group.steps else _own_node(group, pool)
            made.update(dict.fromkeys(group.ops, node))
            ways[node] = 0
            for number, port in enumerate(() if group.cut_from else group.inputs):
                before, outlet = made[port.op], port.number
                before.outlets[outlet].label = port.op.labels[outlet]
                if ways[before] >= LONGEST_WAY:
                    relay = Relay()
                    before.outlets[outlet].to(relay)
                    nodes.append(relay)
                    before, outlet, ways[relay] = relay, 0, 0
                before.outlets[outlet].to(node, number)
                ways[node] = max(ways[node], ways[before] + 1)
            nodes.append(node)
            if node.takes_turns and _are_apart(group.inputs):
                node.take_turns(_TURN)
        for node in reversed(nodes):
            consumers = [outlet.consumer for outlet in node.outlets if outlet.consumer is not None]
            node.copies = any(each.is_stage or each.copies for each in consumers)
        return nodes, {port: (made[port.op], port.number) for port in self._consumed}

    def explain(self) -> str:
        """Return the graph as text: for each node a line with its fused steps, its place and its inputs."""
        where = {op: group.name for group in self._groups for op in group.ops}
        lines = []
        for group in self._groups:
            place = "workers" if group.steps else "coordinator" if group.ops[0].make_on is None else "all workers"
            what = " + ".join(f"{op.kind} {op.name}" for op in group.ops)
            fused = ", fused" if len(group.ops) > 1 else ""
            came = ", ".join(
                where[port.op] + (f".{port.op.labels[port.number]}" if port.op.labels[port.number] else "")
                for port in group.inputs
            )
            lines.append(f"{group.name}: {what} [{place}{fused}]" + (f" <- {came}" if came else ""))
        return "\n".join(lines)

    def fingerprint(self) -> dict[str, str]:
        """Return what this graph is known by: its shape, its functions, its sources."""
        found = {"the graph": self.explain()}
        for group in self._groups:
            for op in group.ops:
                label = f"{op.kind} {op.name}"
                for step in op.steps:
                    found[f"the function of {label}"] = " ".join(map(of_function, _each_function(step)))
                    if step.drop_none:
                        found[f"what {step.name} of {label} drops"] = "None"
                if shaping := _shaping(op.options or {}):
                    found[f"the options of {label}"] = shaping
                if op.iterable is None and op.make is not None:
                    found[f"what {label} was given"] = of_closure(op.make)
                elif op.make_on is not None:
                    found[f"what {label} was given"] = of_closure(op.make_on)
        return found | self.fingerprint_of_sources()

    def libraries(self) -> dict[str, str]:
        """Return the versions of what the functions of this graph use."""
        made = [make for op in self._ops if op.iterable is None and (make := op.make or op.make_on) is not None]
        functions = [each for op in self._ops for step in op.steps for each in _each_function(step)]
        return of_libraries([*made, *functions])

    def fingerprint_of_sources(self) -> dict[str, str]:
        """Return what the sources are known by."""
        found: dict[str, str] = {}
        for op in self._ops:
            if op.iterable is not None:
                known = getattr(op.iterable, "fingerprint", None)
                found |= {f"the source {op.name}": of_iterable(op.iterable)} if known is None else known()
        return found

    # ---- inside -----------------------------------------------------------------------------------------------

    def _find_consumers(self) -> dict[tuple[Op, int], Op | None]:
        found: dict[tuple[Op, int], Op | None] = {(port.op, port.number): None for port in self._consumed}
        for op in self._ops:
            for port in op.inputs:
                place = (port.op, port.number)
                if place in found:
                    other = found[place]
                    both = f"{op.name!r}" + (f" and {other.name!r}" if other is not None else " and an iteration")
                    raise ConfigError(
                        f"the stream {port} is consumed twice, by {both}; give each its own: "
                        "one, other = stream.broadcast(2)"
                    )
                found[place] = op
        return found

    def _refuse_unconsumed(self) -> None:
        for op in self._ops:
            for number in range(len(op.labels)):
                if (op, number) not in self._consumers:
                    raise ConfigError(
                        f"the branch {Port(op, number)} is never consumed, so the others would wait for it; give it a "
                        "sink and run all of them together: run(branch.to(sink), other.to(...)); .to(None) discards"
                    )

    def _fuse(self) -> list[_Group]:
        groups: list[_Group] = []
        group_of: dict[Op, _Group] = {}
        for op in self._ops:
            before = group_of.get(op.inputs[0].op) if op.steps and op.inputs else None
            if before is not None and before.steps and _agree(before.options, op.options):
                before.ops.append(op)
                before.options = before.options if op.options is None else op.options
                group_of[op] = before
                continue
            group_of[op] = _Group([op], op.options, inputs=op.inputs)
            groups.append(group_of[op])
        return groups


def _are_apart(ports: tuple[Port, ...]) -> bool:
    """Tell whether ports share no ancestor, and no source of theirs may block."""
    leading = [set(_sorted([port.op])) for port in ports]
    together: set[Op] = set().union(*leading)
    apart = sum(map(len, leading)) == len(together)
    return apart and all(op.inputs or op.iterable is not None for op in together)


def _shaping(options: dict[str, Any]) -> str:
    shaping = sorted(key for key, value in options.items() if not keeps_the_output(key, value))
    return ", ".join(f"{key}={options[key]!r}" for key in shaping)


def keeps_the_output(key: str, value: Any) -> bool:
    """Tell whether an option of a step may change before a run is resumed.

    What was written until then has no failed item in it, whether one ends the run or is left out.
    """
    return key in KEEP_THE_OUTPUT or (key == "on_error" and value in {"raise", "skip"})


def _agree(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    return one is None or other is None or one == other


def _sorted(ends: list[Op]) -> list[Op]:
    """Return the ops that lead to `ends`, each behind its inputs, in the order in which they were written."""
    done: dict[Op, bool] = {}  # False while what leads to it is looked at
    order: list[Op] = []
    stack: list[tuple[Op, bool]] = [(op, False) for op in reversed(ends)]
    while stack:
        op, inputs_done = stack.pop()
        if inputs_done:
            done[op] = True
            order.append(op)
        elif op not in done:
            done[op] = False
            stack.append((op, True))
            stack.extend((port.op, False) for port in reversed(op.inputs))
        elif not done[op]:  # depth first: what is begun and not done leads to where we are
            raise ConfigError(f"the graph has a cycle through {op.name!r}: items would circulate forever")
    return order


def _name_apart(groups: list[_Group]) -> None:
    """Give each group the names of its ops, with a number where that is taken."""
    taken: dict[str, int] = {}
    for group in groups:
        name = "+".join(op.name for op in group.ops)
        taken[name] = taken.get(name, 0) + 1
        group.name = name if taken[name] == 1 else f"{name}-{taken[name]}"


def _each_function(step: Step) -> Iterator[Any]:
    if step.kind == "fold":
        yield from cast("Reducer", step.function).reaches
        return
    for function in (step.function, step.when):
        if function is not None:
            yield function
    for _, inner in step.branches:
        for each in inner:
            yield from _each_function(each)
    for each in step.default or ():
        yield from _each_function(each)


def _own_node(group: _Group, pool: Pool | None) -> Node:
    make, make_on = group.ops[0].make, group.ops[0].make_on
    if make_on is not None:
        assert pool is not None  # noqa: S101 - for the type checker: `needs_pool` said so
        return make_on(group.name, pool)
    assert make is not None  # noqa: S101 - for the type checker: only groups of steps have none
    return make(group.name)


def _stage_node(group: _Group, pool: Pool | None) -> Node:
    assert pool is not None  # noqa: S101 - for the type checker: `needs_pool` said so
    options = map_options(group.options or {})
    steps = Steps(group.steps)
    source = group.cut_from
    divider = _divider(steps)
    if source is None:
        return MapNode(group.name, lambda: internals_of(pool).open_stage(steps, options, divider=divider))
    assert source.iterable is not None  # noqa: S101 - for the type checker
    total = length_hint(source.iterable, -1)
    known = None if total < 0 else total
    return FeedNode(
        group.name,
        source.iterable,
        lambda: internals_of(pool).open_stage(steps, options, total=known, divider=divider),
        source_name=source.name,
        closes_source=True,
    )


def _divider(steps: Steps) -> Divider | None:
    """Return what knows the records of a stage's items, if these are blocks of files."""
    reader = reader_of(steps)
    if reader is None:
        return None
    from orchestrator.sources.block_splitting import Divider  # noqa: PLC0415 - only for those who read files

    return Divider(reader.record_format)
