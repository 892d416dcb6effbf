"""Sends results that exceed memory to the coordinator in a file that it has made.

    length u64 | pickled list | length u64 | pickled list ...          in order; an `Extent` says where an item's begin

The file has no name, so nothing is left of it whatever happens. Runs in the worker's main thread, which owns the state.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from workers.errors.capture import ExceptionRecord, capture
from workers.functions.lazy import FailedLazily
from workers.transport import payload
from workers.transport.unsendable import unsendable

HEAD_BYTES = 8


class Extent(NamedTuple):
    """The place of the results of one item."""

    start: int
    end: int


class Parts(NamedTuple):
    """The results of one item of which only some are on disk."""

    parts: list[list[Any] | Extent]
    """In order."""


class SpillError(OSError):
    """The results of an item exceed memory, and can't be written to disk.

    The text says why.
    """


class Spill:
    """The file of one chunk."""

    def __init__(self, ask: Callable[[], tuple[str, str]]) -> None:
        """Start without a file.

        `ask` has the coordinator make one: (path, why there is none).
        """
        self._ask = ask
        self._fd = -1
        self._size = 0

    def write(self, slices: Iterator[list[Any]], abandoned: Callable[[], bool]) -> Extent:
        """Write the results of one item, or some of them if the call is abandoned.

        Raises:
            FailedLazily: what makes them raised, or they can't be pickled or written. Nothing of them is kept.
        """
        start = self._size
        try:
            for values in slices:
                self._append(_pickled(values))
                if abandoned():
                    break
        except BaseException as error:
            self._forget_from(start)
            if isinstance(error, FailedLazily):
                raise
            raise FailedLazily(capture(error)) from None
        return Extent(start, self._size)

    def _append(self, data: bytes) -> None:
        if self._fd < 0:
            self._open()
        rest = memoryview(len(data).to_bytes(HEAD_BYTES, "little") + data)
        try:
            while rest:
                written = os.pwrite(self._fd, rest, self._size)
                self._size += written
                rest = rest[written:]
        except OSError as error:
            raise _cannot(error.strerror) from None

    def _open(self) -> None:
        path, why_not = self._ask()
        if why_not:
            raise _cannot(why_not)
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _cannot(error.strerror) from None

    def _forget_from(self, start: int) -> None:
        if self._fd >= 0:
            os.ftruncate(self._fd, start)
        self._size = start

    def close(self) -> None:
        """Close the file, which the coordinator owns from now on."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._size = 0


def _pickled(values: list[Any]) -> bytes:
    try:
        return payload.encode(values, threshold_bytes=sys.maxsize).pickle
    except BaseException as error:
        raise FailedLazily(_why(values, error)) from None


def _why(values: list[Any], whole: BaseException) -> ExceptionRecord:
    return capture(unsendable(values, grouped=True) or whole)


def _cannot(why: str | None) -> SpillError:
    return SpillError(
        "the results of this item are too many for memory, and can't be written to the coordinator's temporary "
        f"folder: {why}; free some space there, or point TMPDIR to a larger disk"
    )
