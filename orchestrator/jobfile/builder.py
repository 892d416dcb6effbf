"""From a job to streams: each table becomes the `Stream` method that it is named after.

An output that several tables read is broadcast to them. Nothing runs here.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from orchestrator.jobfile.model import OTHERS, Job, JobNode, NamedFunction, Ref
from orchestrator.jobfile.schema import ACTIONS, INLINE, OPTIONS
from orchestrator.pool.workflow import Workflow

_JOIN = ("right_key", "how", "many", "combine", "within_s", "at", "max_items", "overflow", "unmatched")


def build(job: Job, stream: Any) -> list[Any]:
    """Return the terminals of a job, to be given to `run`.

    Args:
        job: as `read_job` gives it.
        stream: the class `Stream`.
    """
    return _Builder(job, stream).terminals()


def discard(_items: Any) -> None:
    """Take items and do nothing with them."""


class _Builder:
    """Builds a job's nodes in order; owns the streams that nobody has taken yet."""

    def __init__(self, job: Job, stream: Any) -> None:
        self._job = job
        self._stream = stream
        self._readers = Counter(ref for node in job.nodes.values() for ref in node.inputs)
        self._open: dict[Ref, list[Any]] = {}

    def terminals(self) -> list[Any]:
        """Build all nodes; return those that end the graph."""
        found = []
        for node in self._job.nodes.values():
            if node.kind == "sink" or not node.outputs:
                found.append(getattr(self, f"_{node.kind}")(node))
                continue
            made = getattr(self, f"_{node.kind}")(node)
            for output, stream in made.items() if isinstance(made, dict) else [(None, made)]:
                self._offer(Ref(node.name, output), stream)
        return found

    def _offer(self, ref: Ref, stream: Any) -> None:
        readers = self._readers[ref]
        self._open[ref] = [stream] if readers == 1 else list(stream.broadcast(readers))

    def _take(self, ref: Ref) -> Any:
        return self._open[ref].pop(0)

    def _source(self, node: JobNode) -> Any:
        values = node.values
        if "items" in values:
            return self._stream(values["items"]())
        return self._stream.read(values["read"], **_given(values, "format", "errors", "block_bytes", "max_record"))

    def _step(self, node: JobNode) -> Any:
        values = node.values
        stream = self._take(values["from"])
        action = next(action for action in ACTIONS if action in values)
        argument = values[action]
        options = {key: values[key] for key in OPTIONS if key in values}
        if action == "through":
            return stream.through(self._job.workflows[argument], **options)
        if action in INLINE:
            return getattr(stream, action)(argument.function)
        return stream.through(_one_step(node.name, action, argument, values.get("when")), **options)

    def _route(self, node: JobNode) -> Any:
        values = node.values
        tests = {name: _here(test) for name, test in values["to"].items()}
        made = self._take(values["from"]).route(tests, **_given(values, "default", "match"))
        return dict(made)

    def _tee(self, node: JobNode) -> Any:
        return self._take(node.values["from"]).tee(*node.values["to"], **_given(node.values, "format"))

    def _window(self, node: JobNode) -> Any:
        values = node.values
        stream = self._take(values["from"])
        if "size" in values:
            return stream.window(values["size"], **_given(values, "step", "partial"))
        options = _given(values, "step_s", "lateness_s", "late")
        late = options.pop("late", None)
        if isinstance(late, Ref):
            both = stream.window_by_time_and_late(values["length_s"], _here(values["at"]), **options)
            return dict(zip((None, late.output), both, strict=True))
        options |= {} if late is None else {"late": late}
        return stream.window_by_time(values["length_s"], _here(values["at"]), **options)

    def _join(self, node: JobNode) -> Any:
        values = node.values
        left, right = self._take(values["left"]), self._take(values["right"])
        return left.join(right, _here(values["key"]), **_given(values, *_JOIN))

    def _merge(self, node: JobNode) -> Any:
        values = node.values
        refs = values["from"]
        streams = [self._take(ref) for ref in refs]
        order = values.get("order", "fair")
        if order == "sorted":
            return self._stream.merge_sorted(*streams, **_given(values, "key"))
        if order == "priority":
            ranks = [values["priorities"][str(ref)] for ref in refs]
            return self._stream.merge_by_priority(list(zip(streams, ranks, strict=True)), **_given(values, "ageing"))
        if order == "multiplex":
            return self._stream.multiplex(dict(zip(map(str, refs), streams, strict=True)))
        return self._stream.merge(*streams)

    def _demultiplex(self, node: JobNode) -> Any:
        values = node.values
        stream, key = self._take(values["from"]), _here(values["key"])
        if "to" in values:
            path: str = values["to"]
            options = _given(values, "format")
            return stream.demultiplex(key, to=lambda found: path.replace("{key}", _file_name(found)), **options)
        made = stream.demultiplex(key, keys=values["keys"], **_given(values, "unknown"))
        return {OTHERS if label is None else str(label): branch for label, branch in made.items()}

    def _in_step(self, node: JobNode) -> Any:
        first, *others = [self._take(ref) for ref in node.values["from"]]
        return first.in_step(*others, **_given(node.values, "missing"))

    def _barrier(self, node: JobNode) -> Any:
        return self._take(node.values["from"]).barrier(node.values.get("each_worker"), desc=node.name)

    def _sink(self, node: JobNode) -> Any:
        values = node.values
        sink = values.get("write") or (values["call"].function if "call" in values else discard)
        return self._take(values["from"]).to(sink, **_given(values, "format"))


def _one_step(name: str, action: str, function: Any, when: Any) -> Workflow:
    name = name.replace("/", "-")
    if action == "map":
        return Workflow().step(name, function, when)
    return Workflow().filter(name, function) if action == "filter" else Workflow().flat_map(name, function)


def _given(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return the options that stand in the table; their functions run here."""
    return {key: _here(values[key]) for key in keys if key in values}


def _here(value: Any) -> Any:
    """Return a function that runs in the coordinator without its name around it."""
    return value.function if isinstance(value, NamedFunction) else value


def _file_name(key: Any) -> str:
    """Return a key as part of a file's name: it can't lead into another folder."""
    name = str(key).replace("/", "_").replace("\0", "_")
    return f"_{name}" if name in {"", ".", ".."} else name
