"""Finds line numbers in plain files, for records of which only the bytes are known.

Owner of the state: the coordinator's thread.
"""

# ruff: noqa: PTH123
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import errno
import os
import sys
from typing import IO

from workers.records.line_ends import LineEnds

_STEP_BYTES = 2**20
AT_A_TIME_BYTES = 2**30
"""For those who count while workers wait: about half a second."""


class LineNumbers:
    """Counts the lines of files as far as is needed, once.

    Asked for in order, each costs no more than its distance.
    """

    def __init__(self, most_bytes: int = sys.maxsize) -> None:
        """Begin with nothing counted.

        Args:
            most_bytes: how much of a file is read at a time, during a run; a line that is farther away
                is not known then, but may be the next time.
        """
        self._most_bytes = most_bytes
        self._files: dict[tuple[str, LineEnds], _Counted] = {}

    def of(self, path: str, offset: int, line_ends: LineEnds) -> int:
        """Return the number of the line, from 1, that a byte of a file stands in.

        Raises:
            OSError: the file can't be read, or the line is too far away.
        """
        key = path, line_ends
        counted = self._files.get(key)
        if counted is None:
            counted = self._files[key] = _Counted(path, line_ends)
        return counted.line_at(offset, self._most_bytes)


class _Counted:
    """One file, as far as it was counted."""

    def __init__(self, path: str, line_ends: LineEnds) -> None:
        self._path = path
        self._ends = line_ends
        self._marks = [1]
        """The line at the begin of each step."""
        self._last = (0, 1)
        """An offset, and its line."""

    def line_at(self, offset: int, most_bytes: int) -> int:
        until = min(offset, len(self._marks) * _STEP_BYTES + most_bytes)
        with open(self._path, "rb") as file:
            while len(self._marks) * _STEP_BYTES <= until:
                step = len(self._marks) * _STEP_BYTES
                self._marks.append(self._marks[-1] + self._ends_in(file, step - _STEP_BYTES, step))
            if until < offset:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            step = offset // _STEP_BYTES
            start, line = step * _STEP_BYTES, self._marks[step]
            if start <= self._last[0] <= offset:
                start, line = self._last
            line += self._ends_in(file, start, offset)
        self._last = (offset, line)
        return line

    def _ends_in(self, file: IO[bytes], start: int, end: int) -> int:
        file.seek(max(start - 1, 0))
        before = file.read(min(start, 1))
        return self._ends.number_in(file.read(end - start), before)
