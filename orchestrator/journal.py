"""The journal of a run: what it takes to go on after a crash, appended record by record.

    record:  magic u32 · length u32 · CRC-32 u32 · pickle          the first is the run's head, each other a state

A record counts only if it is whole: a torn last one, as a crash leaves it, is cut off and forgotten. Every record
holds the whole state, so the last one is all that is needed, and a journal that has grown is written anew with its
head and that. It is a pickle: go on only with a folder that you trust.

Owner: the run's thread. The folder is locked (`flock`, given back by the kernel) for as long as a run uses it.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import struct
import zlib
from contextlib import suppress
from typing import Any

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.sinks.new_file import NotOurFileError, begin, reopen, same_file

_HEAD = struct.Struct("<III")
_MAGIC = 0x4F52_4A31
_COMPACT_BYTES = 1 << 20
_NAME, _NEW, _LOCK = "journal", "journal.new", "lock"


class Journal:
    """The journal in one folder, which is made if it is not there."""

    def __init__(self, folder: str) -> None:
        """Lock the folder and read what is there.

        Raises:
            ConfigError: the folder can't be used, or another run is using it.
        """
        self.folder = folder
        self.head: Any = None
        """What `begin` was given by the run that made the journal; None if there is none."""
        self.state: Any = None
        """The last whole state; None before the first."""
        self.complete = False
        """Whether that run came to its end."""
        self._path = os.path.join(folder, _NAME)  # noqa: PTH118
        self._fd = -1
        self._size = 0
        self._lock_fd = _lock(folder)
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def begin(self, head: Any) -> None:
        """Start anew, with this as the head."""
        self.head, self.state, self.complete = head, None, False
        self._rewrite([_record(("head", head))])

    def save(self, state: Any) -> None:
        """Append a state, and make it last.

        Raises:
            OrchestratorError: the disk is full or broken; the states before this one are as they were.
        """
        self._append(("state", state))
        self.state = state
        if self._size > _COMPACT_BYTES:
            self._rewrite([_record(("head", self.head)), _record(("state", state))])

    def finish(self) -> None:
        """Note that the run has come to its end, and all outputs have their final names."""
        self._check_ours()
        self._rewrite([_record(("head", self.head)), _record(("state", self.state)), _record(("complete", None))])
        self.complete = True

    def discard(self) -> None:
        """Remove what this run has put there: it did not begin."""
        self.close()
        for name in (_NAME, _LOCK):
            with suppress(OSError):
                os.unlink(os.path.join(self.folder, name))  # noqa: PTH108, PTH118
        with suppress(OSError):  # there is something else in it
            os.rmdir(self.folder)  # noqa: PTH106

    def close(self) -> None:
        """Close the files and give the folder back."""
        # Forgotten first: a signal between the two would have them closed twice.
        fds, self._fd, self._lock_fd = (self._fd, self._lock_fd), -1, -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)

    # ---- inside -----------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            self._fd = reopen(self._path)
        except FileNotFoundError:
            return
        except NotOurFileError as error:
            raise ConfigError(f"can't read the journal: {error}") from None
        except OSError as error:
            raise ConfigError(f"can't read the journal {self._path}: {error.strerror}") from None
        with open(self._fd, "rb", closefd=False) as file:
            data = file.read()
        at = 0
        while (body := _body(data, at)) is not None:
            kind, value = pickle.loads(body)
            if kind == "head":
                self.head = value
            elif kind == "state":
                self.state = value
            else:
                self.complete = True
            at += _HEAD.size + len(body)
        self._size = at
        os.ftruncate(self._fd, at)
        os.lseek(self._fd, at, os.SEEK_SET)

    def _append(self, entry: Any) -> None:
        record = _record(entry)
        self._check_ours()
        try:
            _write_all(self._fd, record)
            os.fdatasync(self._fd)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
                os.lseek(self._fd, self._size, os.SEEK_SET)
            raise self._failed(error) from None
        self._size += len(record)

    def _rewrite(self, records: list[bytes]) -> None:
        """Put another file in the place of this one; at every instant one of the two is there, and whole."""
        new = os.path.join(self.folder, _NEW)  # noqa: PTH118
        try:
            fd = begin(new, 0o600)
            try:
                for record in records:
                    _write_all(fd, record)
                os.fsync(fd)
                os.replace(new, self._path)  # noqa: PTH105
                _sync_folder(self.folder)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise self._failed(error) from None
        old, self._fd, self._size = self._fd, fd, sum(map(len, records))
        if old >= 0:
            os.close(old)

    def _check_ours(self) -> None:
        """Make sure that nobody has taken the journal away: a run after this one would not find what is written."""
        for fd, path in ((self._fd, self._path), (self._lock_fd, os.path.join(self.folder, _LOCK))):  # noqa: PTH118
            if not same_file(fd, path):
                raise OrchestratorError(
                    f"can't write the journal {self._path}: somebody else has removed or replaced {path} while the run "
                    "went on, so it can't be resumed"
                )

    def _failed(self, error: OSError) -> OrchestratorError:
        return OrchestratorError(
            f"can't write the journal {self._path}: {error.strerror}; what it held before is still good: "
            "make room and resume"
        )


def _record(entry: Any) -> bytes:
    try:
        body = pickle.dumps(entry, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise OrchestratorError(
            f"the state of the run can't be pickled for its checkpoint: {type(error).__name__}: {error}"
        ) from error
    return _HEAD.pack(_MAGIC, len(body), zlib.crc32(body)) + body


def _body(data: bytes, at: int) -> bytes | None:
    """Return the record at a place, None if there is none that is whole."""
    if at + _HEAD.size > len(data):
        return None
    magic, length, crc = _HEAD.unpack_from(data, at)
    body = data[at + _HEAD.size : at + _HEAD.size + length]
    return body if magic == _MAGIC and len(body) == length and zlib.crc32(body) == crc else None


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _lock(folder: str) -> int:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(os.path.join(folder, _LOCK), flags, 0o600)  # noqa: PTH118
    except OSError as error:
        raise ConfigError(f"can't use {folder} for checkpoints: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise ConfigError(f"another run is using {folder}; wait for it, or give a folder of its own") from None
    return fd


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
