"""Writes items into a file of lines, JSON lines or CSV rows, as its name says.

Owner of the state: the engine's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator.errors import OrchestratorError
from orchestrator.record_formats import format_to_write, refuse_unresumable
from orchestrator.sinks.compressed import named_output
from workers.errors.describe import text_of
from workers.records.formats.composing import MisfitError
from workers.records.formats.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable


class ItemEncoder:
    """Encodes items into the bytes of one output, list by list."""

    def __init__(self, path: str, output_format: str | None = None) -> None:
        """Choose the format.

        Args:
            path: of the output, for messages; and it says the format, if `output_format` is None.
            output_format: the name of a format that can be written.

        Raises:
            ConfigError: there is no such format.
        """
        self._path = path
        self._format = format_to_write(output_format, path)
        self._composer = self._format.composer(None)

    def encode(self, items: list[Any]) -> bytes | memoryview:
        """Return the items' lines.

        Raises:
            OrchestratorError: an item can't be written in this format.
        """
        output = Output(self._format.encoder, drop_none=False)
        payload = output.encode(items, self._refuse)
        if not items:
            return payload
        try:
            before, rest = self._composer.add(memoryview(payload), output.names, self._path)
        except MisfitError as error:
            raise OrchestratorError(str(error)) from None
        return before + bytes(rest) if before else rest

    def finish(self, columns: Callable[[], tuple[str, ...]]) -> bytes:
        """Return what ends the output, as the header of CSV without rows."""
        self._composer.of_input = columns()
        return self._composer.finish()

    def _refuse(self, _index: int, error: BaseException) -> NoReturn:
        told = f"an item can't be written to {self._path} as {self._format.name}: {text_of(error)}"
        raise OrchestratorError(told) from error

    def refuse_unresumable(self) -> None:
        """Refuse a checkpoint of an output that can't be continued.

        Raises:
            ConfigError: it can't.
        """
        refuse_unresumable(self._format, self._path)

    def snapshot(self) -> Any:
        """Return what is needed to continue."""
        return self._composer.snapshot()

    def restore(self, state: Any) -> None:
        """Resume from what `snapshot` returned."""
        self._composer.restore(state)


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

    def keep_as(self, secret: str) -> None:
        """Let what is written outlive this process.

        `secret` is the run's.

        Raises:
            ConfigError: the format can't be continued.
        """
        self._encoder.refuse_unresumable()
        self._file.keep_as(secret)

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
        if rest := self._encoder.finish(self._input_columns):
            self._file.write(rest)
        self._file.close()

    def snapshot(self) -> dict[str, Any]:
        """Make what was written durable, and return what is needed to resume from here."""
        return {"file": self._file.snapshot(), "columns": self._encoder.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what `snapshot` returned."""
        self._file.restore(state["file"])
        self._encoder.restore(state["columns"])
