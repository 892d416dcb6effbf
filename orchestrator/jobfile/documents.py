"""Reads the text of a job file and of those that it includes, with the environment's values in place of `${NAME}`.

An included file's tables stand in the file that includes it, as if they were written there. Owns nothing.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from orchestrator.jobfile.diagnostics import JobFileError, Place
from orchestrator.jobfile.toml_lines import Path, lines_of
from workers.errors.describe import describe

_VARIABLE = re.compile(r"\$\$|\$\{(\w+)\}|\$\{")


class Document(NamedTuple):
    """The tables of a job file."""

    tables: dict[str, Any]
    places: dict[Path, Place]


def read_document(file: str) -> Document:
    """Return the tables of a file and of those that it includes.

    Raises:
        JobFileError: a file can't be read, is not TOML, includes itself, or names a variable that is not set.
    """
    return _read(file, ())


def _read(file: str, around: tuple[str, ...]) -> Document:
    text = _text(file)
    try:
        tables = tomllib.loads(text)
    except ValueError as error:  # also a whole number that is too long
        raise JobFileError(_syntax(file, str(error))) from None
    except RecursionError:
        raise JobFileError(f"{file}: invalid TOML: its values are nested too deeply") from None
    found = {path: Place(file, line) for path, line in lines_of(text).items()}
    wrong: list[str] = []
    tables = _expanded(tables, (), found, wrong)
    if wrong:
        raise JobFileError("\n".join(wrong))
    included = tables.pop("include", [])
    names = [included] if isinstance(included, str) else included
    at = found.get(("include",), Place(file, 1))
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        told = f"'include' must be a path, or a list of paths, not {describe(included)}"
        raise JobFileError(f"{at.file}:{at.line}: {told}")
    begun = (*around, os.path.realpath(file))
    for name in names:
        path = os.path.join(os.path.dirname(file), name)  # noqa: PTH118, PTH120 - paths stay as they were given
        if not os.path.exists(path):  # noqa: PTH110 - as above
            raise JobFileError(f"{at.file}:{at.line}: can't read {path}: no such file")
        if os.path.realpath(path) in begun:
            raise JobFileError(f"{at.file}:{at.line}: {path} includes itself, by way of {file}")
        _merge(tables, found, _read(path, begun))
    return Document(tables, found)


def _text(file: str) -> str:
    try:
        return FilePath(file).read_text(encoding="utf-8")
    except OSError as wrong:
        raise JobFileError(f"can't read {file}: {wrong.strerror}") from None
    except UnicodeDecodeError as wrong:
        raise JobFileError(f"{file} is not a text file: byte {wrong.start} is not UTF-8") from None


def _syntax(file: str, said: str) -> str:
    found = re.search(r" \(at line (\d+), column \d+\)| \(at end of document\)", said)
    line = f":{found[1]}" if found and found[1] else ""
    return f"{file}{line}: invalid TOML: {said}"


def _merge(tables: dict[str, Any], found: dict[Path, Place], other: Document) -> None:
    """Add the tables of an included file, and those keys of its [pool] that are not there.

    Raises:
        JobFileError: one has the kind and the name of another.
    """
    for kind, inner in other.tables.items():
        mine = tables.setdefault(kind, {} if isinstance(inner, dict) else inner)
        if not isinstance(inner, dict) and isinstance(mine, dict):
            file, line = other.places[kind,]
            raise JobFileError(f"{file}:{line}: [{kind}] must be a table, not {describe(inner)}")
        if not isinstance(mine, dict):
            continue  # reported as a mistake of its file
        for name, value in inner.items():
            if name in mine and kind != "pool":
                here, there = found.get((kind, name), Place("", 1)), other.places.get((kind, name), Place("", 1))
                raise JobFileError(
                    f"{there.file}:{there.line}: [{kind}.{name}] is there already, in {here.file}, line {here.line}"
                )
            mine.setdefault(name, value)
    for path, place in other.places.items():
        found.setdefault(path, place)


def _expanded(value: Any, path: Path, found: dict[Path, Place], wrong: list[str]) -> Any:
    """Return a value with its texts expanded, and add what is wrong with them."""
    if isinstance(value, dict):
        return {name: _expanded(inner, (*path, name), found, wrong) for name, inner in value.items()}
    if isinstance(value, list):
        return [_expanded(inner, (*path, number), found, wrong) for number, inner in enumerate(value)]
    if not isinstance(value, str) or "$" not in value:
        return value

    def meant(match: re.Match[str]) -> str:
        name = match[1]
        if match[0] == "$$":
            return "$"
        if name is not None and name in os.environ:
            return os.environ[name]
        told = f"${{{name}}} is not set in the environment" if name else "'${' without a name and '}'"
        file, line = next(found[path[:end]] for end in range(len(path), 0, -1) if path[:end] in found)
        wrong.append(f"{file}:{line}: {told}; write $$ for a plain $")
        return ""

    return _VARIABLE.sub(meant, value)
