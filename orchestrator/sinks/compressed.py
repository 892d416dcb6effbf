"""Compresses an output so that a resumed run writes the same bytes as an undisturbed one.

The bytes are cut into pieces of one size, whatever the writes were, and each is a member of its own: gzip, bzip2, xz
and Zstandard all define a file as a row of members. What does not fill a piece yet belongs to the snapshot.

Owner of the state: the coordinator's thread.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.sinks.disk.output_file import output_file
from workers.records import compression, file_names

if TYPE_CHECKING:
    from orchestrator.sinks.disk.output_file import OutputFile

_PIECE_BYTES = 64 * 1024
"""As bgzip has it: an output holds this much in memory, and there may be one for each of thousands of keys."""


def named_output(path: str) -> OutputFile:
    """Return the output of this name, compressed if the name says so.

    Nothing is opened or made yet.

    Raises:
        ConfigError: it can't be written to, or the compression needs a package that isn't installed.
    """
    kind = file_names.compression_of(path)
    if kind is None:
        return output_file(path)
    try:
        compression.require(kind)
    except compression.CompressionError as mistake:
        raise ConfigError(str(mistake)) from None
    return CompressedFile(output_file(path), kind)


class CompressedFile:
    """Compresses what is written to it, and passes that to another output."""

    def __init__(self, file: OutputFile, kind: str) -> None:
        """Take over an output, and how it is compressed."""
        self.path, self.in_place = file.path, file.in_place
        self._file = file
        self._kind = kind
        self._pending = bytearray()
        self._empty = True
        self.open, self.abort, self.discard, self.keep_as = file.open, file.abort, file.discard, file.keep_as
        self.sync_ahead = file.sync_ahead

    def write(self, data: memoryview | bytes) -> None:
        """Append data.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        self._pending += data
        whole = len(self._pending) // _PIECE_BYTES * _PIECE_BYTES
        for start in range(0, whole, _PIECE_BYTES):
            self._put(bytes(self._pending[start : start + _PIECE_BYTES]))
        del self._pending[:whole]

    def close(self) -> None:
        """Compress what is left, and make the output final.

        An empty one is a valid file of its kind, too.
        """
        if self._pending or self._empty:
            self._put(bytes(self._pending))
            self._pending.clear()
        self._file.close()

    @property
    def is_final(self) -> bool:
        """Whether the output is whole, under its final name."""
        return self._file.is_final

    def snapshot(self) -> dict[str, Any]:
        """Make what was written durable, and return what is needed to resume from here."""
        pending = base64.b64encode(self._pending).decode()
        return {"file": self._file.snapshot(), "pending": pending, "empty": self._empty}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what `snapshot` returned."""
        self._file.restore(state["file"])
        self._pending, self._empty = bytearray(base64.b64decode(state["pending"])), state["empty"]

    def _put(self, piece: bytes) -> None:
        self._file.write(compression.compress(self._kind, piece))
        self._empty = False
