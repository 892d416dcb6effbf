"""Results of an item that exceeded memory, in an unnamed file.

They are read slice by slice as there is room.

A worker asks for a file; the coordinator makes it, and the worker writes to it (`workers.functions.spill`). The
chunk's result then carries an `Extent` in place of the item's results. Owner of a file: its lane until the result
is there, then whatever holds the item's outcome; it is gone with the last of these.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.machine import own_descriptors
from workers.functions.spill import HEAD_BYTES, Extent, Parts


class SpillFile:
    """The temporary file for the results of one chunk."""

    def __init__(self) -> None:
        """Make it.

        Raises:
            OSError: it can't be made.
        """
        with tempfile.TemporaryFile(prefix="orchestrator-", buffering=0) as file:
            self.fd = os.dup(file.fileno())
        own_descriptors.own(self.fd)
        weakref.finalize(self, _close, self.fd).atexit = False

    @property
    def path(self) -> str:
        """The path by which a worker opens it."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"


def _close(fd: int) -> None:
    own_descriptors.disown(fd)
    os.close(fd)


class Spilled:
    """An outcome of an item that has several results."""

    __slots__ = ("_file", "_parts")

    def __init__(self, file: SpillFile, parts: Sequence[list[Any] | Extent]) -> None:
        self._file = file
        self._parts = parts

    def slices(self, skip: int = 0) -> Iterator[list[Any]]:
        """Yield the results in lists, without the first `skip`.

        Raises:
            OrchestratorError: they can't be read.
        """
        for part in self._parts:
            for values in self._read_all(part) if isinstance(part, Extent) else (part,):
                left = values[skip:] if skip else values
                skip = max(0, skip - len(values))
                if left:
                    yield left

    def _read_all(self, extent: Extent) -> Iterator[list[Any]]:
        at, end = extent
        while at < end:
            try:
                length = int.from_bytes(self._read(at, HEAD_BYTES), "little")
                values: list[Any] = pickle.loads(self._read(at + HEAD_BYTES, length))
            except Exception as error:
                raise OrchestratorError(
                    f"the results of an item, too many for memory, can't be read back: {error}"
                ) from error
            at += HEAD_BYTES + length
            yield values

    def _read(self, at: int, length: int) -> bytes:
        data = b""
        while len(data) < length:
            some = os.pread(self._file.fd, length - len(data), at + len(data))
            if not some:
                raise OSError("the temporary file was cut short")
            data = data + some if data else some
        return data


def bound(groups: list[Any], file: SpillFile) -> list[Any]:
    """Return the results by item or piece, with each `Extent` or `Parts` resolved."""
    return [_bound(group, file) for group in groups]


def _bound(group: Any, file: SpillFile) -> Any:
    if type(group) is Extent:
        return Spilled(file, (group,))
    return Spilled(file, group.parts) if type(group) is Parts else group
