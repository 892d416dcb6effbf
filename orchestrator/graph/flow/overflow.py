"""Holds what waits before a node beyond its bounded buffer, in memory up to a share, then on disk.

    put -> [ lists in memory ] [ segment | segment | segment ] -> get        in order; a segment is gone once it is read

A segment is a temporary file without a name, so that nothing is left whatever happens. In a run with checkpoints it has
one: a checkpoint notes how far each is written and read, and a segment is removed only when a checkpoint no longer
needs it. Owner of the state: the outlet that overflowed, in the engine's thread.
"""

# ruff: noqa: PTH108
# Paths stay as they were given; pathlib would change them.

from __future__ import annotations

import glob
import os
import pickle
from collections import deque
from contextlib import AbstractContextManager, suppress
from sys import getsizeof
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.graph.flow.segment import Segment, on_disk

SEGMENT_BYTES = 8 << 20
_KEPT_BYTES = 1 << 20
"""With checkpoints, each of which holds what is in memory."""
_ITEM_BYTES = 48
"""What an item takes in memory beside what its pickle says."""


class Overflow:
    """A queue of lists."""

    def __init__(self, name: str, share_bytes: int, place: str | None) -> None:
        """Start empty.

        Args:
            name: what waits here, for messages.
            share_bytes: how much of it may stay in memory.
            place: the beginning of the paths of files that a later run finds; None: there is no later run.
        """
        self._name = name
        self._place = place
        self._share_bytes = share_bytes if place is None else min(share_bytes, _KEPT_BYTES)
        self._memory: deque[tuple[list[Any], int]] = deque()  # oldest first, each with its bytes
        self._memory_bytes = 0
        self._segments: deque[Segment] = deque()  # what they hold came after what is in memory
        self._numbers = 0
        self._spent: list[str] = []  # read since the last checkpoint, which needs them
        self._old: list[str] = []  # read before it
        self.items = 0
        self.disk_bytes = 0
        """Written to disk so far."""

    def put(self, items: list[Any]) -> None:
        """Append a list.

        Raises:
            OrchestratorError: the disk is full, or it has to go there and can't be pickled.
        """
        data, error = _pickled(items)
        size = len(data) + _ITEM_BYTES * len(items) if error is None else sum(map(getsizeof, items))
        if not self._segments and self._memory_bytes + size <= self._share_bytes:
            self._memory.append((items, size))
            self._memory_bytes += size
        elif error is not None:
            raise OrchestratorError(
                f"the items waiting at {self._name} exceed memory and can't be pickled to disk: {error}"
            ) from error
        else:
            with self._on_disk():
                if not self._segments or self._segments[-1].size >= SEGMENT_BYTES:
                    self._segments.append(Segment(self._new_place()))
                self._segments[-1].append(data)
            self.disk_bytes += len(data)
        self.items += len(items)

    def get(self) -> list[Any]:
        """Take the oldest list, or [] if there is none."""
        if self._memory:
            items, size = self._memory.popleft()
            self._memory_bytes -= size
        elif self._segments:
            items = self._read()
        else:
            return []
        self.items -= len(items)
        return items

    def _read(self) -> list[Any]:
        segment = self._segments[0]
        with self._on_disk():
            data = segment.next()
        if segment.at == segment.size:
            self._segments.popleft()
            segment.close()
            if segment.path is not None:
                self._spent.append(segment.path)
        items: list[Any] = pickle.loads(data)  # our own bytes
        return items

    def _new_place(self) -> str | None:
        self._numbers += 1
        return None if self._place is None else f"{self._place}-{self._numbers}"

    def _on_disk(self) -> AbstractContextManager[None]:
        return on_disk(f"the items waiting at {self._name}", self._place and os.path.dirname(self._place))  # noqa: PTH120

    # ---- checkpoints ------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Make the files durable, and return their lengths and what is in memory."""
        for path in self._old:  # the checkpoint before this one is written, and doesn't name them
            with suppress(FileNotFoundError):
                os.unlink(path)
        self._old, self._spent = self._spent, []
        with self._on_disk():
            for segment in self._segments:
                segment.sync()
        return {
            "memory": list(self._memory),
            "segments": [(segment.path, segment.size, segment.at) for segment in self._segments],
            "numbers": self._numbers,
            "counts": (self.items, self.disk_bytes),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue with the files as they were then.

        Raises:
            OrchestratorError: one is gone, or was cut short.
        """
        self._memory.extend(state["memory"])
        self._memory_bytes = sum(size for _, size in self._memory)
        self._numbers = state["numbers"]
        self.items, self.disk_bytes = state["counts"]
        for path, size, at in state["segments"]:
            try:
                self._segments.append(Segment(path, size, at))
            except OSError as error:
                raise OrchestratorError(
                    f"can't resume from {path}, the items waiting at {self._name}: {error.strerror or error}"
                ) from None

    def close(self, *, failed: bool) -> None:
        """Drop what waits, and remove the files unless a later run is to resume them."""
        for segment in self._segments:
            segment.close()
        self._segments.clear()
        self._memory.clear()
        self.items = self._memory_bytes = 0
        if self._place is not None and not failed:
            for path in glob.glob(f"{glob.escape(self._place)}-*"):  # noqa: PTH207
                with suppress(FileNotFoundError):
                    os.unlink(path)


def _pickled(items: list[Any]) -> tuple[bytes, Exception | None]:
    try:
        return pickle.dumps(items, pickle.HIGHEST_PROTOCOL), None
    except Exception as error:
        return b"", error
