"""The journal of a run: what is needed to resume after a crash, appended record by record.

    record:  magic u32 · length u32 · CRC-32 u32 · JSON            the first is the run's head, each other a state

A record counts only if it is whole: a torn last one, as a crash leaves it, is cut off and forgotten. Every record
holds the whole state, so the last one is all that is needed, and a journal that has grown is written anew with its
head and that. To read it runs nothing: items of a state that JSON can't hold are pickles inside it
(`plain_data.py`), which only `load_state` opens.

Owner: the run's thread. The folder is locked (`flock`, given back by the kernel) for as long as a run uses it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from contextlib import suppress
from typing import Any

from orchestrator.checkpoint import plain_data
from orchestrator.checkpoint.trust import refuse_untrusted
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.sinks.disk.new_file import NotOurFileError, begin, reopen, same_file
from workers.errors.describe import text_of, type_name

_HEAD = struct.Struct("<III")
_MAGIC = 0x4F52_4A32
_OLD_MAGIC = struct.pack("<I", 0x4F52_4A31)
_COMPACT_BYTES = 1 << 20
_NO_STATE = b'{"kind":"state","of":null}'
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
        """The last whole state, pickles in it left closed; None before the first. `load_state` opens them."""
        self.complete = False
        """Whether that run ended."""
        self._path = os.path.join(folder, _NAME)  # noqa: PTH118
        self._last = _NO_STATE
        """The record of the last state."""
        self._fd = -1
        self._size = 0
        self._lock_fd = _lock(folder)
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def begin(self, head: Any) -> None:
        """Start the journal over, with this head."""
        self.head, self.state, self.complete, self._last = head, None, False, _NO_STATE
        self._rewrite([_record("head", head)])

    def change_head(self, head: Any) -> None:
        """Replace the head before the states."""
        self._check_ours()
        self._rewrite([_record("head", head), _framed(self._last)])
        self.head = head

    def save(self, state: Any) -> None:
        """Append a state durably.

        Raises:
            OrchestratorError: the disk is full or broken; the states before this one are as they were.
        """
        record = _record("state", state)
        self._append(record)
        self.state, self._last = state, record[_HEAD.size :]
        if self._size > _COMPACT_BYTES:
            self._rewrite([_record("head", self.head), record])

    def load_state(self) -> Any:
        """Return the last whole state, with its pickles opened: to resume a run.

        Raises:
            ConfigError: it has some, and others than this user may have written them; or they can't be opened.
        """
        if not plain_data.has_pickles(self.state):
            return self.state
        refuse_untrusted(self.folder, "the state of a run")
        refuse_untrusted(self._path, "the state of a run", self._fd)
        try:
            return plain_data.loads(self._last, unpickle=True)["of"]
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise ConfigError(f"the saved state of the run in {self.folder} can't be unpickled here: {why}") from error

    def finish(self) -> None:
        """Record that the run has ended, and all outputs have their final names."""
        self._check_ours()
        self._rewrite([_record("head", self.head), _framed(self._last), _record("complete", None)])
        self.complete = True

    def discard(self) -> None:
        """Remove what this run has put there, as it did not begin."""
        self.close()
        for name in (_NAME, _LOCK):
            with suppress(OSError):
                os.unlink(os.path.join(self.folder, name))  # noqa: PTH108, PTH118
        with suppress(OSError):  # there is something else in it
            os.rmdir(self.folder)  # noqa: PTH106

    def close(self) -> None:
        """Close the files and unlock the folder."""
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
        if data.startswith(_OLD_MAGIC):
            raise ConfigError(f"{self._path} was written by an earlier version and can't be resumed; remove it")
        at = 0
        while (body := _body(data, at)) is not None:
            self._take(body)
            at += _HEAD.size + len(body)
        self._size = at
        os.ftruncate(self._fd, at)
        os.lseek(self._fd, at, os.SEEK_SET)

    def _take(self, body: bytes) -> None:
        try:
            entry = plain_data.loads(body)
            kind, value = entry["kind"], entry["of"]
        except (ValueError, TypeError, KeyError, ImportError, RecursionError):
            raise ConfigError(f"{self._path} is not the journal of a run") from None
        if kind == "head":
            self.head = value
        elif kind == "state":
            self.state, self._last = value, body
        else:
            self.complete = True

    def _append(self, record: bytes) -> None:
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
        """Replace this file by another, atomically."""
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
        """Check that the journal is still in its place, so that a later run finds what is written."""
        for fd, path in ((self._fd, self._path), (self._lock_fd, os.path.join(self.folder, _LOCK))):  # noqa: PTH118
            if not same_file(fd, path):
                raise OrchestratorError(
                    f"can't write the journal {self._path}: somebody else has removed or replaced {path} during the "
                    "run, so it can't be resumed"
                )

    def _failed(self, error: OSError) -> OrchestratorError:
        return OrchestratorError(
            f"can't write the journal {self._path}: {error.strerror}; the last checkpoint is intact: "
            "free some space and resume"
        )


def _record(kind: str, value: Any) -> bytes:
    try:
        body = plain_data.dumps({"kind": kind, "of": value}, may_pickle=kind == "state")
    except Exception as error:
        raise OrchestratorError(
            f"the state of the run can't be pickled for its checkpoint: {type_name(type(error))}: {text_of(error)}"
        ) from error
    return _framed(body)


def _framed(body: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, len(body), zlib.crc32(body)) + body


def _body(data: bytes, at: int) -> bytes | None:
    """Return the record at a place, or None if it is incomplete."""
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
