"""Checks single values of a job file: their types, and whether functions exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.jobfile.diagnostics import Diagnostics
from orchestrator.jobfile.model import NamedFunction, Ref
from orchestrator.jobfile.tables.fields import TAKES, Field
from orchestrator.jobfile.toml_lines import Path
from orchestrator.option_values import variables
from orchestrator.pool.size.sizing import parse_sizing
from orchestrator.record_formats import format_to_read, format_to_write
from orchestrator.settings import exception_class, parse_limit, parse_size
from workers.errors.describe import describe
from workers.pickling import load

AGGREGATES = (
    "count", "sum_of", "mean_of", "min_of", "max_of", "first_of", "last_of", "collect_of", "fold_of",
)  # fmt: skip
FOLD_OF = {
    "fn": Field("function", required=True),
    "initial": Field("anything", required=True),
    "combine": Field("function", required=True),
    "value": Field("function"),
}
WRONG: Any = object()
"""Stands for a value that was reported as a mistake."""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class Values:
    """Checks values, and converts them for a `JobNode`.

    Each function is loaded once.
    """

    def __init__(self, diagnostics: Diagnostics, folder: str) -> None:
        """Report to `diagnostics`, and load functions from `folder`."""
        self._diagnostics = diagnostics
        self._folder = folder
        self._loaded: dict[str, Any] = {}

    def table(self, value: Any, fields: dict[str, Field], path: Path, what: str) -> dict[str, Any]:
        """Return the good values of a table, and report the rest: unknown, missing and wrong ones."""
        if not isinstance(value, dict):
            self._diagnostics.add(path, f"{what} must be a table, not {describe(value)}")
            return {}
        for name in value:
            if name not in fields:
                self._diagnostics.unknown((*path, name), name, f"{what} has no key", fields)
        for name, field in fields.items():
            if field.required and name not in value:
                self._diagnostics.add(path, f"{what} lacks {name!r}: {TAKES[field.kind]}")
        read = {name: self.value(value[name], field, (*path, name)) for name, field in fields.items() if name in value}
        return {name: found for name, found in read.items() if found is not WRONG}

    def value(self, value: Any, field: Field, path: Path) -> Any:
        """Return the meaning of a value, or WRONG."""
        if field.choices and value not in field.choices and not str(value).startswith(field.beginnings or ("\0",)):
            choices = [str(each).lower() if isinstance(each, bool) else each for each in field.choices]
            self._diagnostics.unknown(path, str(value), f"{path[-1]!r} can't be", choices)
            return WRONG
        found = getattr(self, f"_{field.kind}", self._plain)(value, field, path)
        if found is None:
            takes = TAKES[field.kind].replace("at least 1", "at least 0" if field.at_least == 0 else "at least 1")
            self._diagnostics.add(path, f"{path[-1]!r} must be {takes}, not {describe(value)}")
            return WRONG
        return found

    @staticmethod
    def _plain(value: Any, field: Field, _path: Path) -> Any:
        """Check values of the kinds that are not converted."""
        least = 1 if field.at_least is None else field.at_least
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        good = {
            "text": isinstance(value, str) and value != "",
            "workflow": isinstance(value, str) and value != "",
            "count": is_number and isinstance(value, int) and value >= least,
            "number": is_number and value >= 0,
            "flag": isinstance(value, bool),
            "anything": True,
            "choice": isinstance(value, str | bool),
            "values": isinstance(value, list) and value != [],
            "chunk": value == "auto" or (is_number and isinstance(value, int) and value >= 1),
            "names": isinstance(value, dict) and value != {} and all(isinstance(name, str) for name in value.values()),
            "header": isinstance(value, bool) or (isinstance(value, list) and all(isinstance(n, str) for n in value)),
            "priorities": isinstance(value, dict)
            and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value.values()),
        }[field.kind]
        return value if good else None

    @staticmethod
    def _texts(value: Any, _field: Field, _path: Path) -> Any:
        texts = [value] if isinstance(value, str) else value
        good = isinstance(texts, list) and texts and all(isinstance(text, str) and text for text in texts)
        return texts if good else None

    def _size(self, value: Any, _field: Field, path: Path) -> Any:
        try:
            return parse_size(value)
        except ConfigError as wrong:
            self._diagnostics.add(path, str(wrong))
            return WRONG

    def _limit(self, value: Any, _field: Field, path: Path) -> Any:
        try:
            return parse_limit(value)
        except ConfigError as wrong:
            self._diagnostics.add(path, str(wrong))
            return WRONG

    def _input_format(self, value: Any, _field: Field, path: Path) -> Any:
        return self._format(value, path, lambda: format_to_read(value, ()))

    def _output_format(self, value: Any, _field: Field, path: Path) -> Any:
        return self._format(value, path, lambda: format_to_write(value, ""))

    def _format(self, value: Any, path: Path, find: Callable[[], object]) -> Any:
        if not isinstance(value, str):
            return None
        try:
            find()
        except ConfigError as wrong:
            self._diagnostics.add(path, str(wrong))
            return WRONG
        return value

    def _retries(self, value: Any, _field: Field, path: Path) -> Any:
        """Return a number, or numbers by class: a built-in's name, one of ours, or 'module:Class'."""
        if not isinstance(value, dict):
            return value if _is_count(value) else None
        found = {}
        for name, times in value.items():
            try:
                found[exception_class(name, self._folder)] = times
            except ConfigError as wrong:
                self._diagnostics.add((*path, name), str(wrong))
            if not _is_count(times):
                told = f"{name!r} must be a whole number of at least 0, not {describe(times)}"
                self._diagnostics.add((*path, name), told)
        return found if len(found) == len(value) and all(map(_is_count, value.values())) else WRONG

    def _variables(self, value: Any, _field: Field, path: Path) -> Any:
        if not isinstance(value, dict):
            return None
        try:
            return variables(path[-1], value)
        except ConfigError as wrong:
            self._diagnostics.add(path, str(wrong))
            return WRONG

    def _workers(self, value: Any, _field: Field, path: Path) -> Any:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not (is_number and value >= 1) and not (isinstance(value, str) and value):
            return None
        try:
            parse_sizing(value)
        except ConfigError as wrong:
            self._diagnostics.add(path, str(wrong))
            return WRONG
        return value

    def _function(self, value: Any, _field: Field, path: Path) -> Any:
        if not isinstance(value, str):
            return None
        if value not in self._loaded:
            try:
                self._loaded[value] = NamedFunction(value, self._folder)
            except load.HandlerError as wrong:
                self._loaded[value] = str(wrong)
        found = self._loaded[value]
        if isinstance(found, str):
            self._diagnostics.add(path, found)
            return WRONG
        return found

    def _functions(self, value: Any, field: Field, path: Path) -> Any:
        if not isinstance(value, dict) or not value:
            return None
        found = {name: self._function(target, field, (*path, name)) for name, target in value.items()}
        for name, function in found.items():
            if function is None:
                told = f"{name!r} must be {TAKES['function']}, not {describe(value[name])}"
                self._diagnostics.add((*path, name), told)
        return {name: function for name, function in found.items() if function is not None and function is not WRONG}

    def _aggregates(self, value: Any, _field: Field, path: Path) -> Any:
        """Return aggregates by name: 'count', { sum_of = 'module:function' }, { fold_of = { fn = …, … } }."""
        if not isinstance(value, dict) or not value:
            return None
        found = {name: self._aggregate(each, (*path, name)) for name, each in value.items()}
        return found if WRONG not in found.values() else WRONG

    def _aggregate(self, value: Any, path: Path) -> Any:
        """Return {kind: what it takes}."""
        kind, given = value, None
        if isinstance(value, dict) and len(value) == 1:
            ((kind, given),) = value.items()
        if not isinstance(kind, str) or kind not in AGGREGATES:
            self._diagnostics.unknown(path, str(kind), f"{path[-1]!r} is no aggregate:", AGGREGATES)
            return WRONG
        if kind == "fold_of":
            before = len(self._diagnostics)
            read = self.table(given, FOLD_OF, (*path, kind), "fold_of")
            return {kind: read} if len(self._diagnostics) == before else WRONG
        if given is None:
            return {kind: None}
        function = None if kind == "count" else self._function(given, Field("function"), (*path, kind))
        if function is None:
            takes = "no function" if kind == "count" else TAKES["function"]
            self._diagnostics.add((*path, kind), f"{kind!r} takes {takes}, not {describe(given)}")
        return WRONG if function is None or function is WRONG else {kind: function}

    @staticmethod
    def _stream(value: Any, _field: Field, _path: Path) -> Any:
        if not isinstance(value, str) or not value:
            return None
        node, dot, output = value.partition(".")
        return Ref(node, output if dot else None)

    def _streams(self, value: Any, field: Field, path: Path) -> Any:
        if not isinstance(value, list) or not value:
            return None
        found = [self._stream(each, field, path) for each in value]
        return None if None in found else found
