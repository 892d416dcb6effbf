"""Writes the command's results into one file, or one for each input file.

Owner of the state: the coordinator's thread. Invariant: a regular file has its final name only when it is
whole.
"""

# ruff: noqa: PTH103, PTH110, PTH113, PTH118, PTH119, PTH121
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.record_formats import format_to_write
from orchestrator.sinks.disk.output_file import output_file
from workers.records import compression, file_names
from workers.records.formats.composing import MisfitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.records.blocks import BlockResult
    from workers.records.formats.format import Format
    from workers.records.remote import Options


class FileSink:
    """One output file, compressed if its name says so."""

    def __init__(self, path: str, output_format: Format | None = None, options: Options = ()) -> None:
        """Take the final name, or "-" for standard output, and the format of the payloads.

        None: as the name says.

        Nothing is opened yet.

        Raises:
            ConfigError: it can't be written to.
        """
        self._file = output_file(path, options=options)
        self.path = self._file.path
        self.in_place = self._file.in_place
        self._kind = file_names.compression_of(path)
        form = output_format or format_to_write(None, path)
        self._composer = form.composer(self._kind)
        self._empty = True

    def open(self) -> None:
        """Open the output before the first write, so that an unwritable place is found early.

        Raises:
            OrchestratorError: it can't be written to.
        """
        self._file.open()

    def write(self, result: BlockResult) -> None:
        """Append one chunk's output.

        Raises:
            OrchestratorError: the disk is full, or the columns differ from those written before.
        """
        if result.payload is None:
            self._composer.of_input = self._composer.of_input or result.names
            return
        try:
            before, block = self._composer.add(memoryview(result.payload), result.names, result.origin.path)
        except MisfitError as error:
            raise OrchestratorError(str(error)) from None
        if before:
            self._file.write(before)
        self._file.write(block)
        self._empty = False

    def close(self) -> None:
        """Sync the file and give it its final name."""
        rest = self._composer.finish()
        self._file.write(rest)
        if self._kind and self._empty and not rest:  # a compressed file of no bytes is not a file of its kind
            self._file.write(compression.compress(self._kind, b""))
        self._file.close()

    @property
    def is_final(self) -> bool:
        """Whether the output has its final name."""
        return self._file.is_final

    def abort(self) -> None:
        """Remove what was written, unless a later run is to resume it."""
        self._file.abort()

    def keep_as(self, secret: str) -> None:
        """Let what is written outlive this process.

        `secret` is the run's.
        """
        self._file.keep_as(secret)

    def snapshot(self) -> dict[str, Any]:
        """Make what was written durable, and return what is needed to resume from here."""
        return {"file": self._file.snapshot(), "empty": self._empty, "composer": self._composer.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what `snapshot` returned."""
        self._file.restore(state["file"])
        self._empty = state["empty"]
        self._composer.restore(state["composer"])


class FolderSink:
    """One output file for each input file, under its name.

    Each is closed with its last chunk.
    """

    in_place = False
    is_final = False
    """Each file gets its final name by itself."""

    def __init__(self, folder: str, inputs: Sequence[str], output_format: Format | None = None) -> None:
        """Create the folder if it isn't there, and check the names.

        Raises:
            ConfigError: the folder can't be written to, or two inputs have the same name.
        """
        self.path = folder
        self._names = output_names(folder, inputs)
        self._format = output_format
        self._open: dict[int, _OpenOutput] = {}
        self._secret: str | None = None
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"can't make the folder {folder}: {error.strerror}") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"can't write to the folder {folder}: Permission denied")

    def write(self, result: BlockResult) -> None:
        """Write one chunk's output to its input's file, and close that file if it was the last."""
        origin = result.origin
        output = self._open.get(origin.file_index)
        if output is None:
            output = self._begin(origin.file_index)
        output.sink.write(result)
        output.written += 1
        if origin.last_of_file:
            output.expected = origin.index_in_file + 1
        if output.written == output.expected:
            del self._open[origin.file_index]
            output.sink.close()

    def _begin(self, file_index: int) -> _OpenOutput:
        try:
            sink = FileSink(self._names[file_index], self._format)
        except ConfigError as error:  # the run has begun
            raise OrchestratorError(str(error)) from None
        if self._secret is not None:
            sink.keep_as(self._secret)
        output = self._open[file_index] = _OpenOutput(sink)
        return output

    def close(self) -> None:
        """Do nothing, as every file was closed with its last chunk."""
        self.abort()

    def keep_as(self, secret: str) -> None:
        """Let what is written outlive this process.

        `secret` is the run's.
        """
        self._secret = secret

    def snapshot(self) -> dict[int, Any]:
        """Make what was written durable, and return what is needed to resume the unfinished files."""
        return {index: (each.sink.snapshot(), each.written, each.expected) for index, each in self._open.items()}

    def restore(self, state: dict[int, Any]) -> None:
        """Resume the unfinished files.

        One that was finished since starts again from where it was.
        """
        for file_index, (kept, written, expected) in state.items():
            output = self._begin(file_index)
            output.sink.restore(kept)
            output.written, output.expected = written, expected

    def abort(self) -> None:
        """Remove the unfinished files.

        Finished ones stay.
        """
        while self._open:
            self._open.popitem()[1].sink.abort()


class _OpenOutput:
    """A file that chunks are still to come for."""

    def __init__(self, sink: FileSink) -> None:
        self.sink = sink
        self.written = 0
        self.expected: int | None = None
        """How many chunks the file has; known when the last is seen, which need not be the last to come."""


def output_names(folder: str, inputs: Sequence[str]) -> list[str]:
    """Return the output file of each input.

    Raises:
        ConfigError: two inputs would be written to one file, or an output is one of the inputs.
    """
    names: dict[str, str] = {}
    for path in inputs:
        name = "stdin" if path == "-" else file_names.without_compression(os.path.basename(path))
        if name in names:
            raise ConfigError(
                f"{names[name]} and {path} would both be written to {os.path.join(folder, name)}"
            )
        names[name] = path
    outputs = [os.path.join(folder, name) for name in names]
    for output in outputs:
        refuse_input(output, inputs)
    return outputs


def refuse_input(output: str, inputs: Sequence[str]) -> None:
    """Raise ConfigError if `output` is one of the inputs."""
    if not os.path.isfile(output):
        return
    for path in inputs:
        if path != "-" and os.path.exists(path) and os.path.samefile(path, output):
            raise ConfigError(f"{output} is one of the inputs; give another output")
