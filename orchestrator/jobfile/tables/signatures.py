"""The keys of a job file's tables, read from the signatures of the methods that the tables stand for."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.jobfile.tables.fields import Field, Kind

_KINDS: tuple[tuple[str, Kind], ...] = (
    (r"Mapping\[str, Callable\b.*", "functions"),
    (r"Callable\b.*", "function"),
    (r"Stream|Self", "stream"),
    (r"Workflow", "workflow"),
    (r"(Sequence|Iterable|tuple)\b.*", "values"),
    (r"int \| str", "limit"),
    (r"int", "count"),
    (r"float( \| timedelta)?", "number"),
    (r"bool", "flag"),
    (r"Retries", "retries"),
    (r"str", "text"),
    (r"Any", "anything"),
)
"""What an annotation, but for None, says of a value."""


def methods_of(owner: type) -> list[str]:
    """Return the names of the public methods of a class, its bases' first, each in the order of the source."""
    named = dict.fromkeys(name for each in reversed(owner.__mro__) for name in vars(each))
    return [name for name in named if not name.startswith("_")]


def parameters(method: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """Yield the parameters of a method, without `self`, `cls` and options that pass through."""
    for parameter in inspect.signature(method).parameters.values():
        if parameter.name not in {"self", "cls"} and parameter.kind is not parameter.VAR_KEYWORD:
            yield parameter


def takes_options(method: Callable[..., Any]) -> bool:
    """Tell whether a method takes the options of `Pool.map`."""
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(method).parameters.values())


def is_made_of_items(owner: type, name: str) -> bool:
    """Tell whether a method is called on a stream rather than on the class."""
    return not isinstance(inspect.getattr_static(owner, name), classmethod)


def field_of(parameter: inspect.Parameter, *, required: bool = False) -> Field:
    """Return the field of a parameter's key.

    `required`: though any number of arguments will do.

    Raises:
        TypeError: its annotation means nothing to job files.
    """
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    said = text.removesuffix(" | None").replace(" | None |", " |")
    several = parameter.kind is parameter.VAR_POSITIONAL
    for pattern, kind in _KINDS:
        if re.fullmatch(pattern, said):
            found: Kind = kind if not several else "streams" if kind == "stream" else "values"
            return Field(found, required=required or (parameter.default is parameter.empty and not several))
    raise TypeError(f"{parameter} has no kind of value in job files; give it one in signatures.py")
