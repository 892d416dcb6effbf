"""Lists on disk that are found again by their places, and estimates of what lists take in memory.

Owner of a store: the node that writes to it, in the engine's thread.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager, suppress
from itertools import islice
from sys import getsizeof
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.graph.flow.segment import Segment, on_disk
from workers.errors.describe import text_of

BLOCK_BYTES = 1 << 18
"""About how much of a list stands in one piece: as much of each is in memory while many are merged."""
_SAMPLES = 16
_DEPTH = 4


class Store:
    """One file of pieces, without a name unless a later run is to find it."""

    def __init__(self, what: str) -> None:
        """Start without a file.

        `what` is written there, for messages.
        """
        self._what = what
        self._segment: Segment | None = None
        self.path: str | None = None
        """In a run with checkpoints."""

    def put(self, piece: Any) -> int:
        """Write a piece and return its place.

        Raises:
            OrchestratorError: it can't be pickled, or the disk is full.
        """
        try:
            data = pickle.dumps(piece, pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            told = text_of(error)
            raise OrchestratorError(f"{self._what} exceed memory and can't be pickled to disk: {told}") from error
        with self._on_disk():
            if self._segment is None:
                self._segment = Segment(self.path)
            return self._segment.append(data)

    def get(self, place: int) -> Any:
        """Read a piece again."""
        assert self._segment is not None  # noqa: S101 - for the type checker: something was put
        with self._on_disk():
            data = self._segment.read(place)
        return pickle.loads(data)  # our own bytes

    def _on_disk(self) -> AbstractContextManager[None]:
        return on_disk(self._what, self.path)

    def snapshot(self) -> int:
        """Make what was written durable, and return how much that is."""
        if self._segment is None:
            return 0
        with self._on_disk():
            self._segment.sync()
        return self._segment.size

    def restore(self, size: int) -> None:
        """Continue with the file as it was then.

        Raises:
            OrchestratorError: it is gone, or was cut short.
            ConfigError: others may have written it.
        """
        if not size or self.path is None:
            return
        from orchestrator.checkpoint.trust import refuse_untrusted  # noqa: PLC0415 - only for runs that are resumed

        try:
            for path in (os.path.dirname(self.path), self.path):  # noqa: PTH120 - as it was given
                refuse_untrusted(path, self._what)
            self._segment = Segment(self.path, size)
        except OSError as error:
            raise OrchestratorError(
                f"can't resume from {self.path}, {self._what}: {error.strerror or error}"
            ) from None

    def close(self, *, failed: bool) -> None:
        """Close the file, and remove it unless a later run is to continue with it."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        if self.path is not None and not failed:
            with suppress(FileNotFoundError):
                os.unlink(self.path)  # noqa: PTH108 - as it was given


def bytes_of(values: Collection[Any], depth: int = _DEPTH) -> int:
    """Return about how many bytes the values of a list, set or the like take in memory, judged by some of them."""
    if not values:
        return 0
    step = max(1, len(values) // _SAMPLES)
    samples = list(islice(values, 0, None, step))
    return 8 * len(values) + sum(bytes_of_one(each, depth) for each in samples) * len(values) // len(samples)


def bytes_of_one(value: Any, depth: int = _DEPTH) -> int:
    """Return about how many bytes a value takes in memory, with what it holds."""
    own = getsizeof(value)
    if depth <= 0:
        return own
    if isinstance(value, list | tuple | set | frozenset):
        return own + bytes_of(value, depth - 1) - 8 * len(value)
    if isinstance(value, dict):
        return own + bytes_of(value.keys(), depth - 1) + bytes_of(value.values(), depth - 1) - 16 * len(value)
    held = getattr(value, "__dict__", None) or [getattr(value, each, None) for each in _slots(type(value))]
    return own + (bytes_of_one(held, depth - 1) if held else 0)


def _slots(kind: type) -> Iterable[str]:
    slots = getattr(kind, "__slots__", ())
    return (slots,) if isinstance(slots, str) else slots


def pieces(values: list[Any]) -> Iterable[list[Any]]:
    """Cut a list into pieces of about `BLOCK_BYTES`."""
    if not values:
        return
    size = max(1, BLOCK_BYTES * len(values) // max(1, bytes_of(values)))
    for start in range(0, len(values), size):
        yield values[start : start + size]
