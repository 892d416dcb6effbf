"""Finds the line of each key of a TOML text, as tomllib gives only values.

A text that tomllib has accepted is scanned once more; so nothing is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

Path = tuple[str | int, ...]
"""The way to a value: keys, and numbers in arrays."""

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*|\n|[\[\]{}=,.]|[^\s\[\]{}=,.#\"']+",
    re.DOTALL,
)  # fmt: skip


class _Token(NamedTuple):
    text: str
    line: int


class _Scanner:
    """Walks over the tokens of a text.

    Owns the places found so far.
    """

    def __init__(self, text: str) -> None:
        self.places: dict[Path, int] = {}
        self._tokens = _tokens(text)
        self._lengths: dict[Path, int] = {}  # of the arrays of tables
        self._token = _Token("\n", 1)

    def scan(self) -> None:
        """Record the place of every key."""
        table: Path = ()
        self._next()
        while self._token.text:
            if self._token.text == "\n":
                self._next()
            elif self._token.text == "[":
                table = self._header()
            else:
                self._assignment(table)

    def _next(self) -> None:
        self._token = next(self._tokens, _Token("", 0))

    def _header(self) -> Path:
        line = self._token.line
        self._next()
        is_array = self._token.text == "["
        if is_array:
            self._next()
        keys = self._keys()
        table: Path = ()
        for number, key in enumerate(keys):
            table = (*table, key)
            self.places.setdefault(table, line)
            length = self._lengths.get(table, 0)
            if number == len(keys) - 1 and is_array:
                self._lengths[table] = length + 1
                table = (*table, length)
            elif length:
                table = (*table, length - 1)
        self.places[table] = line
        while self._token.text == "]":
            self._next()
        return table

    def _keys(self) -> list[str]:
        """Read a dotted key."""
        keys = []
        while self._token.text not in {"=", "]", ""}:
            if self._token.text != ".":
                keys.append(self._token.text.strip("\"'"))
            self._next()
        return keys

    def _assignment(self, table: Path) -> None:
        line = self._token.line
        path = table
        for key in self._keys():
            path = (*path, key)
            self.places.setdefault(path, line)
        self._next()  # over the "="
        self._value(path)

    def _value(self, path: Path) -> None:
        self.places.setdefault(path, self._token.line)
        if self._token.text == "[":
            self._next()
            number = 0
            while self._skip_to_value() != "]":
                self._value((*path, number))
                number += 1
            self._next()
        elif self._token.text == "{":
            self._next()
            while self._skip_to_value() != "}":
                self._assignment(path)
            self._next()
        else:
            while self._token.text not in {"\n", ",", "]", "}", ""} and not self._token.text.startswith("#"):
                self._next()

    def _skip_to_value(self) -> str:
        while self._token.text in {"\n", ","}:
            self._next()
        return self._token.text or "]"


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for found in _TOKEN.finditer(text):
        token = found[0]
        if not token.startswith("#"):
            yield _Token(token, line)
        line += token.count("\n")


def lines_of(text: str) -> dict[Path, int]:
    """Return the line, from 1, of every key and array element of a valid TOML text."""
    scanner = _Scanner(text)
    scanner.scan()
    return scanner.places
