"""Writes items into a file of lines, JSON lines or CSV rows, as its name says.

Owner of the state: the engine's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator.errors import OrchestratorError
from orchestrator.option_values import one_of
from orchestrator.sinks.columns import Columns
from orchestrator.sinks.compressed import named_output
from workers.errors.describe import text_of
from workers.records import file_names
from workers.records.output import OUTPUT_FORMATS, Output

if TYPE_CHECKING:
    from collections.abc import Callable


class ItemEncoder:
    """Encodes items into the bytes of one output, list by list."""

    def __init__(self, path: str, output_format: str | None = None) -> None:
        """Choose the format.

        Args:
            path: of the output, for messages; and it says the format, if `output_format` is None.
            output_format: "lines": text and bytes as they are, anything else as JSON; "jsonl": a JSON value a line,
                text too; "csv": dicts and lists as rows, under the names of the first dict's keys.

        Raises:
            ConfigError: there is no such format.
        """
        if output_format is not None:
            one_of("format", output_format, OUTPUT_FORMATS)
        self._path = path
        self._format = output_format or file_names.format_of(path) or "lines"
        self._columns = Columns(None)
        self._empty = True

    def encode(self, items: list[Any]) -> bytes | memoryview:
        """Return the items' lines.

        Raises:
            OrchestratorError: an item can't be written in this format.
        """
        self._empty = self._empty and not items
        output = Output(self._format, drop_none=False)
        payload = output.encode(items, self._refuse)
        if output.csv_fields is None:
            return payload
        header, rows = self._columns.fitted(memoryview(payload), output.csv_fields, self._path)
        return header + bytes(rows) if header else rows

    def header_alone(self, columns: Callable[[], tuple[str, ...]]) -> bytes:
        """Return the header of CSV without rows, or b"" if there are rows or unknown columns."""
        if not self._empty or self._format != "csv":
            return b""
        self._columns.of_input = columns()
        return self._columns.header_alone()

    def _refuse(self, _index: int, error: BaseException) -> NoReturn:
        told = f"an item can't be written to {self._path} as {self._format}: {text_of(error)}"
        raise OrchestratorError(told) from error

    def snapshot(self) -> Any:
        """Return the columns, if there are some yet, or () if rows without names were written."""
        return self._columns.fields if self._empty or self._columns.fields else ()

    def restore(self, state: Any) -> None:
        """Resume from what `snapshot` returned."""
        self._columns.fields = tuple(state) if state else None
        self._empty = state is None


class ItemFile:
    """A file of items, whole under its name or not there."""

    kind = "ItemFile"
    appends = False
    resumes = True

    def __init__(self, path: str, output_format: str | None = None) -> None:
        """Take the name.

        Nothing is opened or made yet. The arguments are those of `ItemEncoder`.

        Raises:
            ConfigError: it can't be written to, or there is no such format.
        """
        self.path: str | None = path
        self._encoder = ItemEncoder(path, output_format)
        self._input_columns: Callable[[], tuple[str, ...]] = tuple
        self._file = named_output(path)
        self.abort: Callable[[], None] = self._file.abort
        self.sync_ahead: Callable[[], None] = self._file.sync_ahead
        self.discard: Callable[[], None] = self._file.discard
        self.keep_as: Callable[[str], None] = self._file.keep_as

    def write(self, items: list[Any]) -> None:
        """Append a line for each item.

        Raises:
            OrchestratorError: the disk is full, or an item can't be written in the output's format.
        """
        self._file.write(self._encoder.encode(items))

    def expect(self, columns: Callable[[], tuple[str, ...]]) -> None:
        """Take a function that returns the input's columns, the header of CSV if no row comes."""
        self._input_columns = columns

    def narrow(self, mode: int) -> None:
        """Do nothing, as the file is an output, whose mode the user gives."""

    def close(self) -> None:
        """Finish the file, and give it its name."""
        if header := self._encoder.header_alone(self._input_columns):
            self._file.write(header)
        self._file.close()

    def snapshot(self) -> dict[str, Any]:
        """Make what was written durable, and return what is needed to resume from here."""
        return {"file": self._file.snapshot(), "columns": self._encoder.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what `snapshot` returned."""
        self._file.restore(state["file"])
        self._encoder.restore(state["columns"])
