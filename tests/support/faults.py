"""Faults at a chosen system call: the power goes, and what was not synced is lost; or the disk is full or broken.

Each call that makes a run's files what they are has three points: before it, in its middle (a write of which half is
done) and behind it. They are counted from 0. For a forked child: nothing is put back.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALLS = ("write", "fdatasync", "fsync", "replace", "ftruncate", "unlink")


class Faults:
    """Stands between a process and its files below a folder from `install` on.

    At the point `at` the power goes; or, if an error is given, the calls fail with it from then on.
    """

    def __init__(self, at: int | None, folder: str, error: int | None = None) -> None:
        self._at = at
        self._folder = folder
        self._error = error
        self._real = {name: getattr(os, name) for name in (*CALLS, "open", "close")}
        self._synced: dict[int, int] = {}  # bytes that are safe, by descriptor
        self.points = 0

    def install(self) -> None:
        for name in CALLS:
            setattr(os, name, self._counted(name, self._real[name]))
        os.open, os.close = self._open, self._close

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            if not self._concerns(name, args):
                return call(*args, **options)
            self._point()
            if name == "write":
                if self.points == self._at:
                    call(args[0], bytes(args[1])[: len(args[1]) // 2])
                self._point()
            result = call(*args, **options)
            if name in ("fdatasync", "fsync") and args[0] in self._synced:
                self._synced[args[0]] = os.fstat(args[0]).st_size
            if name == "ftruncate" and args[0] in self._synced:
                self._synced[args[0]] = min(self._synced[args[0]], args[1])
            self._point()
            return result

        return counted

    def _concerns(self, name: str, args: tuple[Any, ...]) -> bool:
        if self._error is not None and name not in ("write", "fdatasync", "fsync"):
            return False  # a full disk hinders nobody from removing files
        return name in ("replace", "unlink") or args[0] in self._synced

    def _open(self, path: Any, flags: int, *args: Any, **options: Any) -> int:
        fd: int = self._real["open"](path, flags, *args, **options)
        if flags & (os.O_WRONLY | os.O_RDWR) and os.path.realpath(path).startswith(self._folder):
            self._synced[fd] = os.fstat(fd).st_size
        return fd

    def _close(self, fd: int) -> None:
        self._synced.pop(fd, None)
        self._real["close"](fd)

    def _point(self) -> None:
        if self._error is not None and self._at is not None and self.points >= self._at:
            raise OSError(self._error, os.strerror(self._error))
        if self.points == self._at:
            for fd, safe in self._synced.items():
                path = os.readlink(f"/proc/self/fd/{fd}")
                if Path(path).exists() and os.fstat(fd).st_size > safe:
                    os.truncate(path, safe)
            os.kill(os.getpid(), signal.SIGKILL)
        self.points += 1
