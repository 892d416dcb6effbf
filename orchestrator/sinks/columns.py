"""Writes the header row of CSV output once, and checks that all blocks have its columns.

Pure.
"""

from __future__ import annotations

import csv
import io

from orchestrator.errors import OrchestratorError
from workers.records import compression
from workers.records.output import csv_row


class Columns:
    """The columns of one output.

    The first block that has rows settles them.
    """

    def __init__(self, kind: str | None) -> None:
        """Remember how the output is compressed."""
        self._kind = kind
        self.fields: tuple[str, ...] | None = None
        self.of_input: tuple[str, ...] | None = None
        """The columns of the first input: they are the header where no row was written."""

    def header_alone(self) -> bytes:
        """Return the header of an output without rows, or b"" if it has rows or unknown columns."""
        return b"" if self.fields is not None or not self.of_input else self._packed(_row(self.of_input))

    def fitted(
        self, payload: memoryview, fields: tuple[str, ...], path: str
    ) -> tuple[bytes, memoryview | bytes]:
        """Return the bytes to write: the block, after the header if it is the first with rows.

        Raises:
            OrchestratorError: the block's rows have other columns.
        """
        if self.fields is None:
            self.fields = fields
            return self._packed(_row(fields)), payload
        if fields == self.fields:
            return b"", payload
        if set(fields) != set(self.fields):
            raise OrchestratorError(
                f"the CSV output has the columns {_names(self.fields)}, but results for {path} have "
                f"{_names(fields)}; "
                "return the same keys for every record, or write JSON lines (--output-format jsonl)"
            )
        return b"", self._reordered(bytes(payload), fields, self.fields)

    def _reordered(self, payload: bytes, fields: tuple[str, ...], wanted: tuple[str, ...]) -> bytes:
        """Put a block's columns in the header's order.

        Dicts of one function may differ in it.
        """
        data = compression.decompress(self._kind, payload) if self._kind else payload
        places = [fields.index(name) for name in wanted]
        rows = csv.reader(io.StringIO(data.decode(), newline=""))
        return self._packed(
            b"".join(_row([row[at] for at in places] if len(row) == len(places) else row) for row in rows)
        )

    def _packed(self, data: bytes) -> bytes:
        return compression.compress(self._kind, data) if self._kind else data


def _row(values: list[str] | tuple[str, ...]) -> bytes:
    return csv_row(values).encode()


def _names(fields: tuple[str, ...]) -> str:
    return ", ".join(map(str, fields))
