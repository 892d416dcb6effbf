"""The types of values in a job file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "text", "texts", "count", "number", "flag", "size", "limit",
    "function", "functions", "stream", "streams", "workflow",
    "input_format", "output_format", "header",
    "priorities", "values", "chunk", "names", "anything", "choice", "aggregates", "retries", "workers", "variables",
]  # fmt: skip
"""What a value is; `reading` has a check for each."""

TAKES: dict[Kind, str] = {
    "text": "a string",
    "texts": "a string, or a list of strings",
    "count": "a whole number of at least 1",
    "number": "a number of at least 0",
    "flag": "true or false",
    "size": "a size: 65536, 64K, 1.5M or 2G",
    "limit": "a size: 65536, 64K, 1.5M or 2G; or 0 for no limit",
    "function": "a function: 'module:function' or 'path/file.py:function'",
    "functions": "a table of name = 'module:function'",
    "stream": "the name of a table, or 'name.output'",
    "streams": "a list of names of tables, or of 'name.output'",
    "workflow": "the name of a [workflow.…]",
    "input_format": "the name of a format that can be read",
    "output_format": "the name of a format that can be written",
    "header": "true or false, or a list of the columns' names",
    "priorities": "a table of stream name = number",
    "values": "a list of values",
    "names": "a table of label = 'name of a workflow', or '' for items that pass unchanged",
    "chunk": "a whole number of at least 1, or 'auto'",
    "anything": "any value",
    "choice": "one of its choices",
    "aggregates": "a table of name = 'count', or of name = { sum_of = 'module:function' }",
    "retries": "a whole number of at least 0, or a table of exception class = number",
    "variables": "a table of NAME = 'value'",
    "workers": "a whole number of at least 1, or a string as for -j",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a table."""

    kind: Kind
    required: bool = False
    choices: tuple[str | bool, ...] = ()
    """For a text or a choice: what it may be."""
    at_least: int | None = None
    """For a count: the least; 1 by default."""
    beginnings: tuple[str, ...] = ()
    """For a text with choices: what else it may begin with."""


def text(*choices: str, required: bool = False) -> Field:
    """Return the field of a text, one of the choices if there are some."""
    return Field("text", required, choices)
