"""Builds streams from a job: each table becomes the `Stream` method that it is named after.

An output that several tables read is broadcast to them. Nothing runs here.
"""

from __future__ import annotations

from collections import Counter
from inspect import signature
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.jobfile.diagnostics import JobFileError
from orchestrator.jobfile.model import OTHERS, Job, JobNode, NamedFunction, Ref
from orchestrator.jobfile.tables.schema import (
    ACTIONS,
    GATHERING,
    INLINE,
    INPUTS,
    OPTIONS,
    parameters_of,
    receiver_of,
)
from orchestrator.jobfile.tables.signatures import is_made_of_items, takes_options
from orchestrator.pool.workflow import Workflow
from orchestrator.streams.described import rated
from orchestrator.streams.stream import Stream

_MERGES = {
    "fair": "merge",
    "sorted": "merge_sorted",
    "priority": "merge_by_priority",
    "multiplex": "multiplex",
    "concat": "concat",
}
"""The order of a merge -> the method."""
_IN_WORKERS = {"each_worker"}
"""Functions of other tables than steps that workers load by their names."""


def build(job: Job, stream: Any = Stream) -> list[Any]:
    """Return the terminals of a job, to be given to `run`.

    Args:
        job: as `read_job` gives it.
        stream: the class `Stream`, or one with the same methods.

    Raises:
        JobFileError: a table's values don't go together; the text says which one.
    """
    return _Builder(job, stream).terminals()


def discard(_items: Any) -> None:
    """Take items and do nothing with them."""


class _Builder:
    """Builds a job's nodes in order.

    Owns the streams that no node has taken yet.
    """

    def __init__(self, job: Job, stream: Any) -> None:
        self._job = job
        self._stream = stream
        self._readers = Counter(ref for node in job.nodes.values() for ref in node.inputs)
        self._open: dict[Ref, list[Any]] = {}

    def terminals(self) -> list[Any]:
        """Build all nodes, and return those that end the graph."""
        found = []
        for node in self._job.nodes.values():
            made = self._made(node)
            if not node.outputs:
                found.append(made)
            elif isinstance(made, dict):
                for output, stream in made.items():
                    self._offer(Ref(node.name, output), stream)
            else:
                self._offer(Ref(node.name, None), made)
        return found

    def _made(self, node: JobNode) -> Any:
        try:
            return getattr(self, f"_make_{node.kind}", self._plain)(node)
        except ConfigError as wrong:
            raise JobFileError(f"{node.file}:{node.line}: [{node.kind}.{node.name}]: {wrong}") from None

    def _offer(self, ref: Ref, stream: Any) -> None:
        readers = self._readers[ref]
        self._open[ref] = [stream] if readers == 1 else list(stream.broadcast(readers))

    def _take(self, ref: Ref) -> Any:
        return self._open[ref].pop(0)

    # ---- one table each; those that need no words of their own are called by their names -----------------------

    def _plain(self, node: JobNode) -> Any:
        values = self._values(node)
        if not is_made_of_items(Stream, node.kind):
            return self._call(node, node.kind, self._stream, values)
        key = receiver_of(node.kind)
        streams = values.pop(key)
        if not isinstance(streams, list):
            return self._call(node, node.kind, streams, values)
        return self._call(node, node.kind, streams[0], {**values, key: streams[1:]})

    def _make_source(self, node: JobNode) -> Any:
        items = node.values.get("items")
        return self._call(node, "read", self._stream, self._values(node)) if items is None else self._stream(items())

    def _make_step(self, node: JobNode) -> Any:
        values = node.values
        stream = self._take(values["from"])
        action = next(action for action in ACTIONS if action in values)
        argument = values[action]
        options = {key: values[key] for key in OPTIONS if key in values}
        if action == "through":
            return stream.through(self._job.workflows[argument], **options)
        if action in INLINE:
            return getattr(stream, action)(argument.function, **options)
        function = rated(argument, options.pop("rate", None))
        return stream.through(_one_step(node.name, action, function, values.get("when")), **options)

    def _make_broadcast(self, node: JobNode) -> Any:
        return dict(zip(node.outputs, self._plain(node), strict=True))

    def _make_window(self, node: JobNode) -> Any:
        values, late = self._values(node), node.values.get("late")
        stream = values.pop("from")
        if "size" in values:
            return self._call(node, "window", stream, values)
        if isinstance(late, Ref):
            return dict(zip(node.outputs, self._call(node, "window_by_time_and_late", stream, values), strict=True))
        return self._call(node, "window_by_time", stream, values)

    def _make_merge(self, node: JobNode) -> Any:
        values, refs = self._values(node), node.inputs
        streams: Any = values["from"]
        method = _MERGES[values.get("order", "fair")]
        if method == "merge_by_priority":
            streams = [(stream, values["priorities"][str(ref)]) for stream, ref in zip(streams, refs, strict=True)]
        elif method == "multiplex":
            streams = dict(zip(map(str, refs), streams, strict=True))
        return self._call(node, method, self._stream, {**values, "from": streams})

    def _make_group_by(self, node: JobNode) -> Any:
        values = self._values(node)
        grouped = self._call(node, "group_by", values.pop("from"), values)
        return grouped.agg(**{name: _aggregate(each) for name, each in values["agg"].items()})

    def _make_demultiplex(self, node: JobNode) -> Any:
        values = self._values(node)
        stream, path = values.pop("from"), values.get("to")
        if path is None:
            made = self._call(node, "demultiplex", stream, values)
            return {OTHERS if label is None else str(label): branch for label, branch in made.items()}

        def output_of(key: Any) -> str:
            return str(path).replace("{key}", _file_name(key))

        return self._call(node, "demultiplex", stream, {**values, "to": output_of})

    def _make_sink(self, node: JobNode) -> Any:
        values = self._values(node)
        sink = values.get("write") or values.get("call", discard)
        return self._call(node, "to", values.pop("from"), {**values, "write": sink})

    # ---- by signature -----------------------------------------------------------------------------------------

    def _values(self, node: JobNode) -> dict[str, Any]:
        """Return the table's values, with streams for references to inputs, and functions that run here."""
        found = {}
        for key, value in node.values.items():
            is_input = key in INPUTS[node.kind]
            by_name = key in _IN_WORKERS or node.kind in GATHERING
            found[key] = self._taken(value) if is_input else value if by_name else _here(value)
        return found

    def _taken(self, value: Ref | list[Ref]) -> Any:
        return self._take(value) if isinstance(value, Ref) else [self._take(ref) for ref in value]

    @staticmethod
    def _call(node: JobNode, method: str, on: Any, values: dict[str, Any]) -> Any:
        """Call a method of a stream, or of the class, with all values that it has parameters for."""
        args: list[Any] = []
        named = {"desc": node.name} if "desc" in signature(getattr(Stream, method)).parameters else {}
        for key, parameter in parameters_of(node.kind, method):
            if key not in values:
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                args += values[key]
            elif parameter.default is parameter.empty:
                args.append(values[key])
            else:
                named[parameter.name] = values[key]
        if takes_options(getattr(Stream, method)):
            named |= {key: values[key] for key in OPTIONS if key in values}
        return getattr(on, method)(*args, **named)


def _one_step(name: str, action: str, function: Any, when: Any) -> Workflow:
    name = name.replace("/", "-")
    if action == "map":
        return Workflow().step(name, function, when)
    return Workflow().filter(name, function) if action == "filter" else Workflow().flat_map(name, function)


def _aggregate(described: dict[str, Any]) -> Any:
    """Return the aggregate that {kind: what it takes} describes."""
    import workers.functions.aggregates.functions as known  # noqa: PLC0415 - only for files that group

    ((kind, takes),) = described.items()
    if kind == "fold_of":
        return known.fold_of(**{"function" if name == "fn" else name: each for name, each in takes.items()})
    return getattr(known, kind)(*(() if takes is None else (takes,)))


def _here(value: Any) -> Any:
    """Return functions that run in the coordinator without their names around them."""
    if isinstance(value, dict):
        return {name: _here(each) for name, each in value.items()}
    return value.function if isinstance(value, NamedFunction) else value


def _file_name(key: Any) -> str:
    """Return a key as part of a file's name, which can't lead into another folder."""
    name = str(key).replace("/", "_").replace("\0", "_")
    return f"_{name}" if name in {"", ".", ".."} else name
