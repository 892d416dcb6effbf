"""Results into files: written beside the final name, synced to the disk, then renamed.

Owner of the state: the coordinator's thread. Invariant: a regular file has its final name only when it is
whole.
"""

# ruff: noqa: PTH103, PTH105, PTH108, PTH110, PTH113, PTH116, PTH118, PTH119, PTH120, PTH121
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.sinks.columns import Columns
from workers import compression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.chunks import BlockResult


class FileSink:
    """One output file."""

    def __init__(self, path: str, *, mistakes: type[OrchestratorError] = ConfigError) -> None:
        """Open the file for writing, under a name of its own.

        Args:
            path: the final name. A device, a pipe and the like are written to directly.
            mistakes: what a file that can't be opened raises.
        """
        self.path = path
        self._final = os.path.realpath(path)
        self._kind = compression.kind_of(path)
        self._columns = Columns(self._kind)
        self._empty = True
        folder, name = os.path.split(self._final)
        try:
            old = os.stat(self._final) if os.path.exists(self._final) else None
            self._direct = old is not None and not stat.S_ISREG(old.st_mode)
            if old is not None and not os.access(self._final, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            self._part = self._final if self._direct else os.path.join(folder, f".{name}.{os.getpid()}.part")
            flags = os.O_WRONLY | os.O_CLOEXEC | (0 if self._direct else os.O_CREAT | os.O_TRUNC)
            self._fd = os.open(self._part, flags, 0o666)
            if old is not None and not self._direct:
                os.fchmod(self._fd, stat.S_IMODE(old.st_mode))
        except OSError as error:
            where = f"there is no folder {folder}" if isinstance(error, FileNotFoundError) else error.strerror
            raise mistakes(f"can't write to {path}: {where}") from None

    def write(self, result: BlockResult) -> None:
        """Append one chunk's output.

        Raises:
            OrchestratorError: the disk is full, or the columns differ from those written before.
        """
        if result.payload is None:
            return
        block: memoryview | bytes = memoryview(result.payload)
        if result.csv_fields is not None:
            header, block = self._columns.fitted(memoryview(block), result.csv_fields, result.origin.path)
            self._write_all(header)
        self._write_all(block)
        self._empty = False

    def close(self) -> None:
        """Sync the file and give it its final name."""
        if self._kind and self._empty:
            self._write_all(
                compression.compress(self._kind, b"")
            )  # a compressed file of no bytes is no file of its kind
        try:
            if not self._direct:
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            if not self._direct:
                os.replace(self._part, self._final)
                _sync_folder(os.path.dirname(self._final))
        except OSError as error:
            raise self._failed(error) from None

    def abort(self) -> None:
        """Remove what was written."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if not self._direct:
                with suppress(OSError):
                    os.unlink(self._part)

    def _write_all(self, data: memoryview | bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> OrchestratorError:
        return OrchestratorError(
            f"can't write {self.path}: {error.strerror}; nothing was left under that name"
        )


class FolderSink:
    """One output file for each input file, under its name; each is closed with its last chunk."""

    def __init__(self, folder: str, inputs: Sequence[str]) -> None:
        """Make the folder if it isn't there and check the names.

        Raises:
            ConfigError: the folder can't be written to, or two inputs have the same name.
        """
        self.path = folder
        self._names = output_names(folder, inputs)
        self._open: dict[int, _OpenOutput] = {}
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
            output = self._open[origin.file_index] = _OpenOutput(self._names[origin.file_index])
        output.sink.write(result)
        output.written += 1
        if origin.last_of_file:
            output.expected = origin.index_in_file + 1
        if output.written == output.expected:
            del self._open[origin.file_index]
            output.sink.close()

    def close(self) -> None:
        """Nothing is left to do: every file was closed with its last chunk."""
        self.abort()

    def abort(self) -> None:
        """Remove the files that are not whole; those that are stay."""
        while self._open:
            self._open.popitem()[1].sink.abort()


class _OpenOutput:
    """A file that chunks are still to come for."""

    def __init__(self, path: str) -> None:
        self.sink = FileSink(path, mistakes=OrchestratorError)
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
        name = "stdin" if path == "-" else compression.without_suffix(os.path.basename(path))
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
        if path != "-" and os.path.samefile(path, output):
            raise ConfigError(f"{output} is one of the inputs; give another output")


def _sync_folder(folder: str) -> None:
    """Make the new name itself last; some file systems can't, and then the file's own sync has to do."""
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
