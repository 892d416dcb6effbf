"""What every family of a stream's methods is made with: its place in the graph, and the ops that come behind it.

Nothing here runs: an op says what is to be made. Owns no state but the port of a stream, which never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from orchestrator.engine.recovery.dead_letter_sinks import refuse_unwritable
from orchestrator.errors import ConfigError
from orchestrator.graph.sinks import as_sink
from orchestrator.graph.sources import BlockingSource, SourceNode
from orchestrator.settings import map_options
from orchestrator.sinks.given import NodeSink
from orchestrator.sinks.items import ItemFile
from orchestrator.streams.plan import Op, Port
from workers.errors.describe import short_name, type_name
from workers.functions.steps import Reducer, Step, StepKind

if TYPE_CHECKING:
    from orchestrator.graph.flow.node import Node


class Described:
    """A place in a graph that is only described so far."""

    __slots__ = ("_port",)

    _port: Port

    def _then(self, op: Op) -> Self:
        return self._at(Port(op, 0))

    @classmethod
    def _at(cls, port: Port) -> Self:
        stream = cls.__new__(cls)
        stream._port = port  # noqa: SLF001 - its own kind
        return stream

    def _node(self, kind: str, fn: Any, make: Callable[[str], Node]) -> Self:
        if fn is not None:
            refuse_uncallable(kind, "fn", fn)
        return self._then(Op(kind, kind if fn is None else name_of(fn, kind), (self._port,), make))

    def _work(self, kind: StepKind, fn: Any, desc: str | None, options: dict[str, Any] | None) -> Self:
        refuse_uncallable(kind, "fn", fn)
        check(options)
        name = desc or name_of(fn, kind)
        drop_none, rest = apart(options or {})
        step = Step(name, kind, rated(fn, (options or {}).get("rate")), drop_none=drop_none)
        return self._then(Op(kind, name, (self._port,), None, ("",), (step,), rest))

    def _gathered(
        self, kind: str, function: Reducer, options: dict[str, Any], make: Callable[[str], Node], desc: str | None
    ) -> Self:
        """Have all items made one in the workers, a chunk at a time, and what comes of that gathered here."""
        check(options)
        step = Step(desc or kind, "fold", function)
        parts = Op(kind, step.name, (self._port,), None, ("",), (step,), options or None)
        return self._then(Op(kind, f"{step.name} (merge)", (Port(parts, 0),), make))

    def _split(self, kind: str, labels: tuple[str, ...], make: Callable[[str], Node]) -> tuple[Self, ...]:
        op = Op(kind, kind, (self._port,), make, labels)
        return tuple(self._at(Port(op, number)) for number in range(len(labels)))

    @classmethod
    def _merged(cls, kind: str, streams: Sequence[Described], make: Callable[[str], Node]) -> Self:
        if not streams:
            return cls._at(Port(source_op((), kind), 0))
        return cls._at(Port(Op(kind, kind, tuple(map(port_of, streams)), make), 0))


def source_op(iterable: Iterable[Any] | Any, name: str, *, threaded: bool = False) -> Op:
    """Return the op of a source, which a thread reads if it may block."""
    kind = BlockingSource if threaded else SourceNode
    return Op("source", name, (), lambda node: kind(node, iterable), iterable=None if threaded else iterable)


def sink_behind(port: Port, target: Any, output_format: str | None = None) -> NodeSink:
    """Return the sink that a target means.

    A file knows the columns of the CSV files that the stream is read from.
    """
    sink, op = as_sink(target, output_format), port.op
    while len(op.inputs) == 1:
        op = op.inputs[0].op
    if isinstance(sink, ItemFile) and isinstance(op.iterable, Files):
        sink.expect(op.iterable.columns)
    return sink


class Files:
    """Opens the files anew for each run."""

    def __init__(
        self,
        open_source: Callable[[Callable[[tuple[str, ...]], None]], Iterator[Any]],
        fingerprint: Callable[[], dict[str, str]],
        columns_of_plain: Callable[[], tuple[str, ...]],
    ) -> None:
        self._open = open_source
        self._columns: tuple[str, ...] = ()
        self._columns_of_plain = columns_of_plain
        self.fingerprint = fingerprint

    def __iter__(self) -> Iterator[Any]:
        return self._open(self._note_columns)

    def _note_columns(self, columns: tuple[str, ...]) -> None:
        self._columns = self._columns or columns

    def columns(self) -> tuple[str, ...]:
        """Return the columns of the first CSV file that a run has read.

        Those of a plain file are known whether it was read or not.
        """
        return self._columns or self._columns_of_plain()


def check(options: dict[str, Any] | None) -> None:
    """Refuse invalid options of a map, before anything starts."""
    refuse_unwritable(map_options(options or {}).dead_letters)


def rated(function: Any, rate: Any) -> Callable[..., Any]:
    """Return a function that keeps to a rate, if there is one."""
    if rate is None:
        found: Callable[..., Any] = function
        return found
    from orchestrator.pool.sync import rate_limit  # noqa: PLC0415 - only for steps that have one

    return rate_limit.rated(function, rate)


def refuse_uncallable(kind: str, takes: str, *functions: Any) -> None:
    """Refuse what is no function.

    `takes` is what the method takes, for the message.

    Raises:
        ConfigError: one is none.
    """
    for function in functions:
        if not callable(function):
            raise ConfigError(f"{kind} needs a function, not {type_name(type(function))}: stream.{kind}({takes})")


def refuse_options(kind: str, options: dict[str, Any]) -> None:
    """Refuse the options of `map` that mean nothing for a step that gathers.

    Raises:
        ConfigError: one is there, or can't be.
    """
    check(options)
    for name in ("drop_none", "rate"):
        if name in options:
            raise ConfigError(f"{kind} has no {name}; put map(..., {name}=...) before it")


def apart(options: dict[str, Any]) -> tuple[bool, dict[str, Any] | None]:
    """Return whether a step drops None, and the options that fused neighbours must share."""
    rest = {name: value for name, value in options.items() if name not in {"drop_none", "rate"}}
    return options.get("drop_none", False), rest or None


def port_of(stream: Any) -> Port:
    """Return the place of a stream in its graph.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(stream, Described):
        raise ConfigError(f"a stream is needed here, not {type_name(type(stream))}: Stream(items)")
    return stream._port  # noqa: SLF001 - its own kind


def name_of(fn: Any, kind: str) -> str:
    """Return what a step is called after its function, or after its kind if the function has no name."""
    name = short_name(fn) or type_name(type(fn))
    return kind if name == "<lambda>" else name
