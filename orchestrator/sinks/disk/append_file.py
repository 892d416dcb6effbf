"""A file that grows during a run and is whole up to its last write: job logs, traces, dead letters.

Written without a buffer: what a full disk refuses is told at once, and not once more when the file is closed. A regular
file is looked at before each write: one that somebody has removed, replaced or cut short would be written to in vain.

Owner of the state: the coordinator's thread.
"""

# ruff: noqa: PTH116
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.sinks.disk.in_place import InPlaceFile
from orchestrator.sinks.disk.new_file import same_file, tail_of
from orchestrator.sinks.disk.output_file import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOK_BACK_BYTES = 64 * 1024


class AppendFile:
    """A file that is appended to.

    A descriptor of this process, a FIFO or a device is written to in place.
    """

    def __init__(
        self, path: str, what: str, *, goes_on: bool, mode: int = 0o666, hint: str = "free some space"
    ) -> None:
        """Open the file, or create it if it is not there.

        Args:
            path: its name.
            what: what it is, for messages, such as "the job log".
            goes_on: keep what is in it.
            mode: of a file that is made, or written anew; the umask narrows it further.
            hint: what to do when it can't be written.

        Raises:
            ConfigError: it can't be written to.
        """
        self.path = path
        self._what = f"{what} {path}"
        self._hint = hint
        self._stream: InPlaceFile | None = None
        self._fd = -1
        self._size = 0
        """As far as we know: others may append too."""
        self._unsynced = False
        try:
            self._open(mode, goes_on=goes_on)
        except OSError as error:
            raise ConfigError(f"can't write {self._what}: {error.strerror}") from None
        except OrchestratorError as error:
            raise ConfigError(f"{error} ({what})") from None

    def _open(self, mode: int, *, goes_on: bool) -> None:
        found = resolve(self.path)
        if isinstance(found, int):
            self._stream = InPlaceFile(self.path, found)
        elif not _may_be_regular(found):
            self._stream = InPlaceFile(self.path)
        if self._stream is not None:
            self._stream.open()
            return
        self._final = str(found)
        self._fd = os.open(self._final, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
        if not goes_on:
            os.ftruncate(self._fd, 0)
            self.narrow(mode)
        self._size = os.fstat(self._fd).st_size

    def narrow(self, mode: int) -> None:
        """Narrow the mode of an empty file to `mode`.

        A file that has content was there before.
        """
        if self._stream is None and not self.size:
            found = stat.S_IMODE(os.fstat(self._fd).st_mode)
            if found & 0o666 & ~mode:
                with suppress(PermissionError):  # it belongs to others, who decide
                    os.fchmod(self._fd, found & ~(0o666 & ~mode))

    @property
    def is_regular(self) -> bool:
        """Whether what was written can be read and truncated."""
        return self._stream is None

    @property
    def size(self) -> int:
        """How many bytes are in the file."""
        return os.fstat(self._fd).st_size if self._stream is None else 0

    def ends_in_line(self) -> bool:
        """Tell whether the file ends with a line end, so that the next write begins a line."""
        size = self.size
        return not size or os.pread(self._fd, 1, size - 1) == b"\n"

    def cut_torn_line(self) -> None:
        """Cut off half a line that a crash or a full disk left behind the last line end."""
        at = self.size
        while at and not self.ends_in_line():
            start = max(0, at - _LOOK_BACK_BYTES)
            found = os.pread(self._fd, at - start, start).rfind(b"\n")
            at = start + found + 1 if found >= 0 else start
            if found >= 0 or not at:
                os.ftruncate(self._fd, at)
        self._size = self.size

    def write(self, data: bytes) -> None:
        """Append data.

        Raises:
            OrchestratorError: the disk is full or broken, and nothing of it is left there; or somebody has meddled with
                the file.
        """
        if self._stream is not None:
            try:
                self._stream.write(data)
            except OrchestratorError as error:  # not a `ReaderGoneError`: that of a log ends no run quietly
                why = getattr(error.__context__, "strerror", None) or error
                raise OrchestratorError(f"can't write {self._what}: {why}; {self._hint}") from None
            return
        self._unsynced = True
        with self._failing():
            before = self._check_ours()
            try:
                written = os.write(self._fd, data)
                while written < len(data):
                    written += os.write(self._fd, data[written:])
            except OSError:
                os.ftruncate(self._fd, before)
                raise
            self._size = before + len(data)

    def snapshot(self) -> dict[str, Any]:
        """Make what was written durable, and return the file's size and how to recognize it.

        Raises:
            OrchestratorError: the disk is full or broken, or somebody has meddled with the file.
        """
        self._sync()
        size = self.size
        return {"bytes": size, "tail": tail_of(self._fd, size)}

    def restore(self, state: dict[str, Any]) -> None:
        """Cut off what was written behind a snapshot.

        Raises:
            OrchestratorError: what was there then is not there any more.
        """
        size, found = state["bytes"], self.size
        if found < size:
            raise OrchestratorError(f"can't resume with {self._what}: it has {found:,} bytes of {size:,}")
        if tail_of(self._fd, size) != state["tail"]:
            raise OrchestratorError(f"can't resume with {self._what}: its contents differ")
        self.cut_at(size)

    def cut_at(self, size_bytes: int) -> None:
        """Truncate the file to so many bytes."""
        os.ftruncate(self._fd, size_bytes)
        self._size = size_bytes

    def close(self) -> None:
        """Make what was written durable, and close the file.

        Calling it again does nothing.

        Raises:
            OrchestratorError: the disk is full or broken, or somebody has meddled with the file.
        """
        try:
            self._sync()
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the file, whatever its state.

        Calling it again does nothing.
        """
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        if self._stream is not None:
            self._stream.abort()

    def remove(self) -> None:
        """Remove the file, if it is still ours, and close it."""
        if self._fd >= 0 and same_file(self._fd, self._final):
            with suppress(OSError):
                os.unlink(self._final)  # noqa: PTH108
        self.abort()

    def _sync(self) -> None:
        if self._fd >= 0:
            with self._failing():
                self._check_ours()
                if self._unsynced:
                    os.fdatasync(self._fd)
            self._unsynced = False

    def _check_ours(self) -> int:
        """Return the size of the file, or raise if it is not the one that we have been writing to."""
        found = self.size
        if not same_file(self._fd, self._final):
            raise self._meddled("it was removed, renamed or replaced")
        if found < self._size:
            raise self._meddled(f"it has {found:,} bytes, and had {self._size:,}")
        return found

    def _meddled(self, how: str) -> OrchestratorError:
        return OrchestratorError(f"can't write {self._what}: somebody else has changed it while it was written: {how}")

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OrchestratorError(f"can't write {self._what}: {error.strerror}; {self._hint}") from None


def _may_be_regular(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return stat.S_ISREG(mode)
