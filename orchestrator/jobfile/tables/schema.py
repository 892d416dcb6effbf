"""The schema of job files: the kinds of tables, and the keys of each.

A table stands for a method of `Stream`, and its keys for the method's parameters, by their names: a new method is in
job files as it is. `TABLES` says what signatures do not: which methods share a table, and what a text may be.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.jobfile.tables.fields import Field, text
from orchestrator.jobfile.tables.signatures import field_of, is_made_of_items, methods_of, parameters, takes_options
from orchestrator.pool.engines import ADDRESSES, ENGINES
from orchestrator.pool.pool import Pool
from orchestrator.settings import MAP_OPTIONS, ON_ERROR, START_METHODS
from orchestrator.streams.patterns.merging import LENGTHS
from orchestrator.streams.stream import Stream

_FUNCTION = Field("function")
_NUMBER = Field("number")
_OUTPUT_FORMAT = Field("output_format")
_STREAMS = Field("streams", required=True)
_STREAM = Field("stream", required=True)
_FROM_0 = Field("count", required=True, at_least=0)
LABELS = {"desc", "name"}
"""Parameters that the table's own name is given for."""

ACTIONS = ("map", "filter", "flat_map", "map_inline", "filter_inline", "flat_map_inline", "through")
INLINE = tuple(action for action in ACTIONS if action.endswith("_inline"))


@dataclass(frozen=True, slots=True)
class Table:
    """The rules of tables that the signatures of their methods do not say."""

    methods: tuple[str, ...]
    """Those of `Stream` that it stands for."""
    names: dict[str, str] = field(default_factory=dict)
    """Parameter -> key, where they differ."""
    fields: dict[str, Field] = field(default_factory=dict)
    """Key -> what may stand there, instead of what the signature says or besides."""


TABLES = {
    "source": Table(
        ("read",),
        {"paths": "read", "as_": "as"},
        {
            "read": Field("texts"),
            "format": Field("input_format"),
            "header": Field("header"),
            "columns": Field("texts"),
            "storage_options": Field("variables"),
            "errors": text("strict", "replace"),
            "block_bytes": Field("size"),
            "items": _FUNCTION,
        },
    ),
    "step": Table(
        ACTIONS, {}, {**dict.fromkeys(ACTIONS, _FUNCTION), "through": Field("workflow"), "when": _FUNCTION}
    ),
    "route": Table(("route",), {"predicates": "to"}, {"match": text("all", "first")}),
    "tee": Table(("tee",), {"sinks": "to"}, {"to": Field("texts", required=True), "format": _OUTPUT_FORMAT}),
    "window": Table(
        ("window", "window_by_time", "window_by_time_and_late"),
        {},
        {"size": Field("count"), "length_s": _NUMBER, "at": _FUNCTION, "late": text()},
    ),
    "join": Table(
        ("join",),
        {"self": "left", "other": "right"},
        {
            "how": text("inner", "left", "right", "full"),
            "overflow": text("error", "evict", "spill"),
            "unmatched": text(),
        },
    ),
    "merge": Table(
        ("merge", "merge_sorted", "merge_by_priority", "multiplex", "concat"),
        {"streams": "from"},
        {
            "from": _STREAMS,
            "order": text("fair", "sorted", "priority", "multiplex", "concat"),
            "key": _FUNCTION,
            "priorities": Field("priorities"),
        },
    ),
    "in_step": Table(("in_step",), {"others": "from"}, {"strict": Field("choice", choices=LENGTHS)}),
    "take": Table(("take",), {}, {"n": _FROM_0}),
    "skip": Table(("skip",), {}, {"n": _FROM_0}),
    "top": Table(("top",), {}, {"n": _FROM_0}),
    "enumerate": Table(("enumerate",), {}, {"start": Field("count", at_least=0)}),
    "group_by": Table(("group_by",), {}, {"memory": Field("size"), "agg": Field("aggregates", required=True)}),
    "sort": Table(("sort",), {}, {"memory": Field("size")}),
    "window_by_session": Table(("window_by_session",), {}, {"late": text()}),
    "broadcast": Table(("broadcast",), {}, {"on_failure": text("raise", "drop")}),
    "demultiplex": Table(
        ("demultiplex",), {}, {"unknown": text("error", "default"), "to": text(), "format": _OUTPUT_FORMAT}
    ),
    "sink": Table(
        ("to",),
        {"sink": "write"},
        {"write": text(), "format": _OUTPUT_FORMAT, "call": _FUNCTION, "discard": Field("flag")},
    ),
}
"""Kind -> what is special about it; every other method of `Stream` is a kind of its own."""

GATHERING = ("group_by", "reduce", "fold", "sort")
"""Tables whose functions workers load by their names."""
_NO_TABLES = {"collect", "explain", "iterate_async"}
"""Methods that are for programs."""

_OPTIONS = {
    "ordered": Field("flag"),
    "chunk": Field("chunk"),
    "timeout": _NUMBER,
    "retries": Field("retries"),
    "retry_delay": _NUMBER,
    "on_error": text(*ON_ERROR),
    "dead_letters": text(),
    "at_most_once": Field("flag"),
    "drop_none": Field("flag"),
    "rate": _NUMBER,
}
OPTIONS = {name: _OPTIONS[name] for name in MAP_OPTIONS}
"""Of `Pool.map`; a step that runs in the workers takes them."""
OPTIONS_INLINE = {
    action: [each.name for each in parameters(getattr(Stream, action)) if each.name in OPTIONS] for action in INLINE
}
"""Inline action -> those of them that it takes."""


def table_of(kind: str) -> Table:
    """Return the special rules of a kind of table."""
    return TABLES.get(kind) or Table((kind,))


def parameters_of(kind: str, method: str, owner: type = Stream) -> Iterator[tuple[str, inspect.Parameter]]:
    """Yield the keys of a kind of table that are for a method, and their parameters."""
    names = table_of(kind).names
    for number, parameter in enumerate(parameters(getattr(owner, method))):
        if parameter.name not in LABELS:
            own = method if kind == "step" and not number else parameter.name
            merged = parameter.kind is parameter.VAR_POSITIONAL and not is_made_of_items(owner, method)
            yield "from" if merged else names.get(own, own), parameter


def receiver_of(kind: str) -> str:
    """Return the key of the stream that a table's method is called on."""
    return table_of(kind).names.get("self", "from")


def nodes_of(owner: type) -> dict[str, dict[str, Field]]:
    """Return the keys of each kind of table, by the methods of a stream's class.

    Raises:
        TypeError: a parameter has no kind of value in job files.
    """
    taken = {method for table in TABLES.values() for method in table.methods} | _NO_TABLES
    public = [name for name in methods_of(owner) if name not in taken]
    return {kind: _fields(kind, owner) for kind in (*TABLES, *public)}


def _fields(kind: str, owner: type) -> dict[str, Field]:
    table = table_of(kind)
    found: dict[str, Field] = {}
    receiver = receiver_of(kind)
    if any(is_made_of_items(owner, method) for method in table.methods):
        found[receiver] = _STREAM
    for method in table.methods:
        for key, parameter in parameters_of(kind, method, owner):
            found[key] = table.fields.get(key) or field_of(parameter, required=key == receiver)
    if any(takes_options(getattr(owner, method)) for method in table.methods):
        found |= OPTIONS
    return found | table.fields


NODES = nodes_of(Stream)
"""The tables that are nodes of the graph, [kind.name]."""

def inputs_of(fields: dict[str, Field]) -> tuple[str, ...]:
    """Return the keys that name what a node reads."""
    return tuple(key for key, each in fields.items() if each.kind in {"stream", "streams"})


INPUTS = {kind: inputs_of(fields) for kind, fields in NODES.items()}
"""Kind -> the keys that name what a node reads."""

_POOL: dict[str, Field] = {
    "workers": Field("workers"),
    "start_method": text(*START_METHODS),
    "engine": Field("text", choices=tuple(ENGINES), beginnings=tuple(ADDRESSES)),
    "memory_limit": Field("size"),
    "memfree": Field("size"),
    "buffer_bytes": Field("size"),
    "seed": Field("count", at_least=0),
    "threads_per_worker": Field("count", at_least=0),
    "env": Field("variables"),
}
NOT_IN_FILES = {"memory"}
"""Parameters of `Pool` that only a program can give."""
POOL = {
    each.name: _POOL.get(each.name) or field_of(each) for each in parameters(Pool) if each.name not in NOT_IN_FILES
}

WORKFLOW = {"step": Field("values", required=True)}

WORKFLOW_STEP = {
    "name": text(),
    "map": _FUNCTION,
    "filter": _FUNCTION,
    "flat_map": _FUNCTION,
    "through": Field("workflow"),
    "when": _FUNCTION,
    "by": _FUNCTION,
    "branches": Field("names"),
    "default": Field("workflow"),
    "others_pass": Field("flag"),
    "barrier": Field("flag"),
    "each_worker": _FUNCTION,
    "then": _FUNCTION,
}

ONE_OF: dict[str, tuple[str, ...]] = {
    "source": ("read", "items"),
    "step": ACTIONS,
    "window": ("size", "length_s"),
    "sink": ("write", "call", "discard"),
    "demultiplex": ("keys", "to"),
}
"""Kind -> keys of which exactly one stands in the table."""

_WITH_READ = ("read", "'items' names a function that yields the items itself")
_OF_FILES = (
    *("format", "encoding", "errors", "delimiter", "quote", "header", "columns", "as", "storage_options"),
    *("block_bytes", "max_record"),
)
GOES_WITH: dict[str, dict[str, tuple[str, str]]] = {
    "source": dict.fromkeys(_OF_FILES, _WITH_READ),
    "step": {"when": ("map", "items for which it is false pass unchanged")},
    "demultiplex": {
        "unknown": ("keys", "with 'to' every key has an output"),
        "format": ("to", "the streams of 'keys' have no format"),
    },
    "sink": {"format": ("write", "only files have a format")},
    "barrier": {"then": ("each_worker", "it gets the results of that")},
}
"""Kind -> key -> the key that it says something of, and why."""

TOP = ("pool", "workflow", *NODES)
