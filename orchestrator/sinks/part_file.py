"""A file that is written beside its final name, synced to the disk, then renamed: whole under its name, or not there.

    name ".OUT.PID.part", removed if the run fails       or, kept for a later run to go on with,       ".OUT.part"

Owner of the state: the coordinator's thread.
"""

# ruff: noqa: PTH105, PTH108, PTH110, PTH116, PTH118
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Iterator


_WRITE_BACK_BYTES = 8 << 20
_SYNC_FILE_RANGE_WRITE = 2


class PartFile:
    """One output file; opened by `open`, or by the first write."""

    def __init__(self, path: str) -> None:
        """Take the final name. A device, a pipe and the like are written to directly.

        Raises:
            ConfigError: its folder isn't there, or a file of that name can't be written to.
        """
        self.path = path
        self._final = os.path.realpath(path)
        self._folder, self._name = os.path.split(self._final)
        if not os.path.isdir(self._folder):  # noqa: PTH112
            raise ConfigError(f"can't write to {path}: there is no folder {self._folder}")
        old = os.stat(self._final) if os.path.exists(self._final) else None
        if old is not None and not os.access(self._final, os.W_OK):
            raise ConfigError(f"can't write to {path}: {os.strerror(errno.EACCES)}")
        if old is None and not os.access(self._folder, os.W_OK | os.X_OK):
            raise ConfigError(f"can't write to {path}: {os.strerror(errno.EACCES)}")
        self.direct = old is not None and not stat.S_ISREG(old.st_mode)
        self._mode = None if old is None or self.direct else stat.S_IMODE(old.st_mode)
        self._kept = False
        self._renaming = False
        self._part = self._final if self.direct else os.path.join(self._folder, f".{self._name}.{os.getpid()}.part")
        self._fd = -1
        self._dirty_bytes = 0  # written since the kernel was last told to begin

    def open(self) -> None:
        """Begin an empty file.

        Raises:
            OrchestratorError: it can't be made.
        """
        try:
            self._fd = os.open(self._part, os.O_WRONLY | os.O_CLOEXEC | (0 if self.direct else os.O_CREAT), 0o666)
            if not self.direct:
                self._claim()
                os.ftruncate(self._fd, 0)
            if self._mode is not None:
                os.fchmod(self._fd, self._mode)
        except OSError as error:
            raise OrchestratorError(f"can't write to {self.path}: {error.strerror}") from None

    def write(self, data: memoryview | bytes) -> None:
        """Append.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        if self._fd < 0:
            self.open()
        view = memoryview(data)
        with self._failing():
            while view:
                view = view[os.write(self._fd, view) :]
        self._dirty_bytes += len(data)
        if self._dirty_bytes >= _WRITE_BACK_BYTES and not self.direct:
            self._write_back()

    def _write_back(self) -> None:
        """Have the kernel begin to write out what there is, so that a sync finds little left to wait for."""
        import ctypes  # noqa: PLC0415 - only for large outputs

        self._dirty_bytes = 0
        start_writing = getattr(ctypes.CDLL(None), "sync_file_range", None)
        if start_writing is not None:
            start_writing(self._fd, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)

    def close(self) -> None:
        """Sync the file and give it its final name.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        if self._fd < 0:
            self.open()
        with self._failing():
            if not self.direct:
                os.fsync(self._fd)
            self._renaming = not self.direct
            os.close(self._fd)
            self._fd = -1
            if not self.direct:
                os.replace(self._part, self._final)
                _sync_folder(self._folder)

    @property
    def is_final(self) -> bool:
        """Whether it has its final name; after an abort too, which may come of a signal at any instant of `close`."""
        return self._renaming and not os.path.exists(self._part)

    def abort(self) -> None:
        """Remove what was written, unless a later run is to go on with it, or it has its final name already."""
        begun = self._fd >= 0 or (self._renaming and not self.is_final)
        self._renaming = self.is_final
        if self._fd >= 0:
            with suppress(OSError):  # closed, and interrupted before that was noted
                os.close(self._fd)
            self._fd = -1
        if begun and not self.direct and not self._kept:
            with suppress(OSError):
                os.unlink(self._part)

    # ---- for a run that can be resumed ------------------------------------------------------------------------

    def keep(self) -> None:
        """Write under a name that a later run finds, and leave it there if this one does not come to its end.

        Before anything is written.

        Raises:
            ConfigError: it is a device or a pipe.
        """
        if self.direct:
            raise ConfigError(f"{self.path} is no regular file, so a run that writes to it can't be resumed")
        self._kept = True
        self._part = os.path.join(self._folder, f".{self._name}.part")

    def snapshot(self) -> int:
        """Make last what was written; return how many bytes that is.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        if self._fd < 0:
            self.open()
        with self._failing():
            os.fdatasync(self._fd)
            return os.lseek(self._fd, 0, os.SEEK_CUR)

    def restore(self, size_bytes: int) -> None:
        """Go on behind so many bytes of what a run before this one has written.

        Raises:
            OrchestratorError: they are not there any more.
        """
        if not os.path.exists(self._part) and os.path.exists(self._final):  # it was made final at the very end
            os.replace(self._final, self._part)
        try:
            self._fd = os.open(self._part, os.O_WRONLY | os.O_CLOEXEC)
            self._claim()
            found = os.fstat(self._fd).st_size
            if found >= size_bytes:  # else it would be made longer, and the next run would take it for good
                os.ftruncate(self._fd, size_bytes)
                os.lseek(self._fd, size_bytes, os.SEEK_SET)
        except OSError as error:
            raise self._gone(error.strerror) from None
        if found < size_bytes:
            raise self._gone(f"it has {found:,} bytes of {size_bytes:,}")

    # ---- inside -----------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        """Have this file to ourselves: two runs with checkpoints of their own may have one output by mistake.

        Raises:
            OrchestratorError: another run has it.
        """
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            self._fd = -1
            raise OrchestratorError(f"can't write to {self.path}: another run is writing to it") from None
        except OSError:
            pass  # a file system without locks

    def _gone(self, why: str | None) -> OrchestratorError:
        return OrchestratorError(f"can't go on with {self._part}, which is what there was of {self.path}: {why}")

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            left = f"what there is of it is in {self._part}" if self._kept else "nothing was left under that name"
            raise OrchestratorError(f"can't write {self.path}: {error.strerror}; {left}") from None


def _sync_folder(folder: str) -> None:
    """Make the new name itself last; some file systems can't, and then the file's own sync has to do."""
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
