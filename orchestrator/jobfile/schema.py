"""What may stand in a job file: the kinds of tables, and the keys of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "text", "texts", "count", "number", "flag", "size", "limit",
    "function", "functions", "stream", "streams", "workflow",
    "priorities", "values", "chunk", "names", "anything", "retries", "workers",
]  # fmt: skip
"""What a value is; `reading` has a check for each."""

TAKES: dict[Kind, str] = {
    "text": "a text",
    "texts": "a text, or a list of them",
    "count": "a whole number of at least 1",
    "number": "a number of at least 0",
    "flag": "true or false",
    "size": "a size: 65536, 64K, 1.5M or 2G",
    "limit": "a size: 65536, 64K, 1.5M or 2G; or 0 for no limit",
    "function": "a function: 'module:function' or 'path/file.py:function'",
    "functions": "a table, name = 'module:function'",
    "stream": "the name of a table, or 'name.output'",
    "streams": "a list of names of tables, or of 'name.output'",
    "workflow": "the name of a [workflow.…]",
    "priorities": "a table, name of a stream = number",
    "values": "a list of values",
    "names": "a table, label = 'name of a workflow', or '' for items that pass unchanged",
    "chunk": "a whole number of at least 1, or 'auto'",
    "anything": "any value",
    "retries": "a whole number of at least 0, or a table, class of exception = such a number",
    "workers": "a whole number of at least 1, or a text as of -j",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a table."""

    kind: Kind
    required: bool = False
    choices: tuple[str, ...] = ()
    """For a text: what it may be."""
    at_least: int | None = None
    """For a count: the least; 1 by default."""


def _text(*choices: str, required: bool = False) -> Field:
    return Field("text", required, choices)


_FROM = Field("stream", required=True)
_FUNCTION = Field("function")
_NUMBER = Field("number")
_OUTPUT_FORMAT = _text("lines", "jsonl", "csv")

OPTIONS = {
    "ordered": Field("flag"),
    "chunk": Field("chunk"),
    "timeout": _NUMBER,
    "retries": Field("retries"),
    "retry_delay": _NUMBER,
    "on_error": _text("raise", "skip", "return"),
    "dead_letters": _text(),
    "drop_none": Field("flag"),
}
"""Of `Pool.map`; a step that runs in the workers takes them."""

ACTIONS = ("map", "filter", "flat_map", "map_inline", "filter_inline", "through")
INLINE = ("map_inline", "filter_inline")

NODES: dict[str, dict[str, Field]] = {
    "source": {
        "read": Field("texts"),
        "format": _text("lines", "jsonl", "csv", "blocks", "files"),
        "errors": _text("strict", "replace"),
        "block_bytes": Field("size"),
        "max_record": Field("limit"),
        "items": _FUNCTION,
    },
    "step": {
        "from": _FROM,
        "map": _FUNCTION,
        "filter": _FUNCTION,
        "flat_map": _FUNCTION,
        "map_inline": _FUNCTION,
        "filter_inline": _FUNCTION,
        "through": Field("workflow"),
        "when": _FUNCTION,
        **OPTIONS,
    },
    "route": {
        "from": _FROM,
        "to": Field("functions", required=True),
        "default": _text(),
        "match": _text("all", "first"),
    },
    "tee": {"from": _FROM, "to": Field("texts", required=True), "format": _OUTPUT_FORMAT},
    "window": {
        "from": _FROM,
        "size": Field("count"),
        "step": Field("count"),
        "partial": Field("flag"),
        "length_s": _NUMBER,
        "at": _FUNCTION,
        "step_s": _NUMBER,
        "lateness_s": _NUMBER,
        "late": _text(),
    },
    "join": {
        "left": _FROM,
        "right": _FROM,
        "key": Field("function", required=True),
        "right_key": _FUNCTION,
        "how": _text("inner", "left", "right", "full"),
        "many": Field("flag"),
        "combine": _FUNCTION,
        "within_s": _NUMBER,
        "at": _FUNCTION,
        "max_items": Field("count"),
        "overflow": _text("error", "evict", "spill"),
        "unmatched": _text(),
    },
    "merge": {
        "from": Field("streams", required=True),
        "order": _text("fair", "sorted", "priority", "multiplex"),
        "key": _FUNCTION,
        "priorities": Field("priorities"),
        "ageing": Field("count"),
    },
    "in_step": {"from": Field("streams", required=True), "missing": Field("anything")},
    "demultiplex": {
        "from": _FROM,
        "key": Field("function", required=True),
        "keys": Field("values"),
        "unknown": _text("error", "default"),
        "to": _text(),
        "format": _OUTPUT_FORMAT,
    },
    "barrier": {"from": _FROM, "each_worker": _FUNCTION},
    "sink": {
        "from": _FROM,
        "write": _text(),
        "format": _OUTPUT_FORMAT,
        "call": _FUNCTION,
        "discard": Field("flag"),
    },
}
"""The tables that are nodes of the graph, [kind.name]."""

POOL = {
    "workers": Field("workers"),
    "start_method": _text("forkserver", "spawn", "fork"),
    "initializer": _FUNCTION,
    "memory_limit": Field("size"),
    "memfree": Field("size"),
    "items_per_worker": Field("count"),
    "buffer_bytes": Field("size"),
    "max_deaths": Field("count"),
}

WORKFLOW = {"step": Field("values", required=True)}

WORKFLOW_STEP = {
    "name": _text(),
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
}

ONE_OF: dict[str, tuple[str, ...]] = {
    "source": ("read", "items"),
    "step": ACTIONS,
    "window": ("size", "length_s"),
    "sink": ("write", "call", "discard"),
    "demultiplex": ("keys", "to"),
}
"""Kind -> keys of which exactly one stands in the table."""

_WITH_READ = ("read", "'items' is a function that gives the items themselves")
GOES_WITH: dict[str, dict[str, tuple[str, str]]] = {
    "source": dict.fromkeys(("format", "errors", "block_bytes", "max_record"), _WITH_READ),
    "step": {"when": ("map", "an item for which it is false passes unchanged")},
    "demultiplex": {
        "unknown": ("keys", "with 'to' every key has its output"),
        "format": ("to", "the streams of 'keys' have none"),
    },
    "sink": {"format": ("write", "only a file has one")},
}
"""Kind -> key -> the key that it says something of, and why."""

TOP = ("pool", "workflow", *NODES)
