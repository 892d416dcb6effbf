"""Writes rows of CSV, and their header once, and checks that all blocks have its columns.

Pure.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from workers.records import compression
from workers.records.formats.composing import Composer, MisfitError, Names, listed
from workers.records.formats.json_text import to_json
from workers.records.formats.output import LineEncoder, ResultError

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


class RowEncoder(LineEncoder):
    """Writes rows, with the first dict's keys as the columns of the block."""

    def __init__(self, delimiter: str) -> None:
        """Take what stands between fields."""
        self.names = None
        self._rows = Rows(delimiter)

    def text(self, value: Any) -> str:
        """Return the row of a value, without its line end."""
        if isinstance(value, dict):
            value = self._in_order(value)
        elif value is None:
            raise ResultError("None is not a CSV row")
        elif isinstance(value, str):
            return value
        elif isinstance(value, (bytes, bytearray, memoryview)):
            raise ResultError("iterating bytes would give single numbers")
        elif not isinstance(value, (list, tuple)):
            return to_json(value)
        return self._rows.text(value)

    def _in_order(self, row: dict[str, Any]) -> Iterable[Any]:
        keys = tuple(row)
        if self.names is None:
            self.names = keys
        if keys == self.names:
            return row.values()
        if set(keys) == set(self.names):
            return [row[key] for key in self.names]
        raise ResultError(f"the CSV output has the columns {listed(self.names)}, this result has {listed(keys)}")


class Columns(Composer):
    """The columns of one output.

    The first block that has rows settles them.
    """

    def __init__(self, kind: str | None, delimiter: str = ",") -> None:
        """Remember how the output is compressed, and what stands between fields."""
        super().__init__()
        self._kind = kind
        self._delimiter = delimiter
        self._empty = True

    def finish(self) -> bytes:
        """Return the header of an output without rows, or b"" if it has rows or unknown columns."""
        if not self._empty or self.fields is not None or not self.of_input:
            return b""
        return self._packed(self._row(self.of_input))

    def add(self, payload: memoryview, names: Names | None, path: str) -> tuple[bytes, memoryview | bytes]:
        """Return the bytes to write: the block, after the header if it is the first with rows.

        Raises:
            MisfitError: the block's rows have other columns.
        """
        self._empty = False
        if names is None:
            return b"", payload
        if self.fields is None:
            self.fields = names
            return self._packed(self._row(names)), payload
        if names == self.fields:
            return b"", payload
        if set(names) != set(self.fields):
            raise MisfitError(
                f"the CSV output has the columns {listed(self.fields)}, but results for {path} have {listed(names)}; "
                "return the same keys for every record, or write JSON lines (--output-format jsonl)"
            )
        return b"", self._reordered(bytes(payload), names, self.fields)

    def snapshot(self) -> Any:
        """Return the columns."""
        return {"fields": self.fields, "of_input": self.of_input, "empty": self._empty}

    def restore(self, state: Any) -> None:
        """Continue from what `snapshot` returned."""
        self.fields, self.of_input = _tuple(state["fields"]), _tuple(state["of_input"])
        self._empty = state["empty"]

    def _reordered(self, payload: bytes, names: Names, wanted: Names) -> bytes:
        """Put a block's columns in the header's order.

        Dicts of one function may differ in it.
        """
        data = compression.decompress(self._kind, payload) if self._kind else payload
        places = [names.index(name) for name in wanted]
        rows = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=self._delimiter)
        return self._packed(
            b"".join(self._row([row[at] for at in places] if len(row) == len(places) else row) for row in rows)
        )

    def _row(self, values: list[str] | Names) -> bytes:
        return Rows(self._delimiter).line(values).encode()

    def _packed(self, data: bytes) -> bytes:
        return compression.compress(self._kind, data) if self._kind else data


def _tuple(names: Any) -> Names | None:
    return None if names is None else tuple(names)
