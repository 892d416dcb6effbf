"""Writes rows of CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any

ROW_END = "\r\n"
"""What the csv module's writers are told, as they quote only what is in it: a field with either of them ends a row
elsewhere. In the output stands a line feed."""


class Rows:
    """Makes lines of values with the csv module."""

    def __init__(self, delimiter: str, quote: str | None = '"') -> None:
        """Take the dialect.

        Without `quote` a field that needs one fails.
        """
        self._text: list[str] = []
        self._writer = csv.writer(
            self,
            delimiter=delimiter,
            quotechar=quote,
            quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
            lineterminator=ROW_END,
        )

    def write(self, text: str) -> None:
        """Take one row from the csv module's writer."""
        self._text.append(text)

    def text(self, values: Iterable[Any]) -> str:
        """Return the line of some values, without its line end."""
        self._writer.writerow(values)
        return self._text.pop()[: -len(ROW_END)]

    def line(self, values: Iterable[Any]) -> str:
        """Return the line of some values, and its line end."""
        return self.text(values) + "\n"
