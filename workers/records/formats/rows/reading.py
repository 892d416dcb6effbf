"""Reads rows as the csv module does, and knows where each stands."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any


def dict_rows(reader: Iterable[list[str]], names: tuple[str, ...]) -> Iterator[dict[str | None, Any]]:
    """Yield a dict for each row.

    Missing fields are None, surplus ones a list under None, and blank rows are left out.
    """
    width = len(names)
    for row in reader:
        if len(row) == width:
            yield dict(zip(names, row, strict=True))
        elif row:
            found: dict[str | None, Any] = dict(zip(names, row, strict=False))
            if len(row) > width:
                found[None] = row[width:]
            else:
                found.update(dict.fromkeys(names[len(row) :]))
            yield found


def distinct(names: list[str]) -> tuple[str, ...]:
    """Number repeated names as pandas does: "a", "a.1", "a.2".

    A name that the file has itself is passed over.
    """
    taken, counts, found = set(names), Counter[str](), []
    for name in names:
        new, number = name, counts[name]
        while number:
            counts[name] = number + 1
            new = f"{name}.{number}"
            number = number + 1 if new in taken else counts[new]
        counts[new] += 1
        found.append(new)
    return tuple(found)


class CountedLines:
    """Counts the lines of a file's bytes as the csv module takes them, one when a row needs it.

    Each byte is one character: what tells rows and fields apart is ASCII.
    """

    def __init__(self, data: bytes) -> None:
        """Take bytes from the begin of a line on."""
        self._lines = io.StringIO(str(data, "latin-1"), newline="")
        self.size_bytes = 0
        self.line_ends = 0
        self.exhausted = False
        """Whether more was asked for than there is."""

    def __iter__(self) -> CountedLines:
        """Return itself."""
        return self

    def __next__(self) -> str:
        """Return the next line, with its line end."""
        line = next(self._lines, None)
        if line is None:
            self.exhausted = True
            raise StopIteration
        self.size_bytes += len(line)
        self.line_ends += line.endswith(("\n", "\r"))
        return line


def lift_field_limit() -> None:
    """Allow fields of any length, where the csv module stops at 128 KiB."""
    csv.field_size_limit(sys.maxsize)
