"""Splits the lines of a source into columns, and takes the names of columns off its first line. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.cli.exec.arguments.lines import Lines

Row = tuple[str, ...]
Split = Callable[[Iterator[str]], Iterator[Row]]


class Records:
    """The rows of one source, a column or more each."""

    def __init__(self, lines: Lines, split: Split | None = None, *, named: bool = False) -> None:
        """Take a source.

        Args:
            lines: what is read.
            split: makes rows of lines; None: each line is a row of one column.
            named: whether the first row holds the columns' names.
        """
        self._lines = lines
        self.width: int | None = 1 if split is None else None
        """Columns a row; None: that may differ."""
        self._counts = split is None or not getattr(split, "spans_lines", False)
        self._headers = int(named)
        self._rows = split(iter(lines)) if split is not None else ((line,) for line in lines)
        self.names: Row = next(self._rows, ()) if named else ()
        self.ready, self.when_ready, self.close = lines.ready, lines.when_ready, lines.close

    @property
    def total(self) -> int | None:
        """How many rows there are, or None where that is known when they have been read."""
        lines = self._lines.total if self._counts else None
        return None if lines is None else max(0, lines - self._headers)

    def __iter__(self) -> Iterator[Row]:
        """Return the iterator over the rows, of which there is one."""
        return self._rows


class _CsvSplit:
    spans_lines = True

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter

    def __call__(self, lines: Iterator[str]) -> Iterator[Row]:
        for row in csv.reader((line + "\n" for line in lines), delimiter=self._delimiter):
            yield tuple(row) or ("",)


def split_of(colsep: str | None, *, as_csv: bool) -> Split | None:
    """Return what splits lines into columns.

    Args:
        colsep: the regular expression between columns, or for CSV the character.
        as_csv: whether columns may be quoted, as in CSV.

    Raises:
        ConfigError: it can't be.
    """
    if as_csv:
        delimiter = "," if colsep is None else unescaped(colsep)
        if len(delimiter) != 1:
            raise ConfigError(f"--csv takes a --colsep of one character, not {colsep!r}")
        return _CsvSplit(delimiter)
    if colsep is None:
        return None
    try:
        pattern = re.compile(colsep)
    except re.error as error:
        raise ConfigError(f"--colsep {colsep!r} is not a regular expression: {error}") from None
    return lambda lines: (tuple(part or "" for part in pattern.split(line)) for line in lines)


def unescaped(text: str) -> str:
    r"""Return a text in which \n, \t, \0, \\ and the like stand for their characters."""
    known = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "f": "\f", "v": "\v", "\\": "\\"}
    found = re.sub(r"\\x([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), text)
    return re.sub(r"\\(.)", lambda match: known.get(match[1], match[0]), found)
