"""A file that is written beside its final name, synced, then renamed.

So it is whole under its name, or not there.

    name ".OUT.TAG.part", removed if the run fails; TAG is random, or derived from the run's secret if a later run may
    have to find the file again

Owner of the state: the coordinator's thread. Invariant: what gets the final name is the file that we have written.
"""

# ruff: noqa: PTH105, PTH108, PTH112, PTH116
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.sinks.disk.descriptors import descriptor_pool
from orchestrator.sinks.disk.new_file import (
    NotOurFileError,
    begin,
    derived_tag,
    longest_name,
    part_path,
    random_tag,
    reopen,
    same_file,
    tail_of,
)
from orchestrator.sinks.disk.syncing import sync_by_name, sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_WRITE_BACK_BYTES = 8 << 20
_SYNC_FILE_RANGE_WRITE = 2


class PartFile:
    """One output file.

    `open` or the first write creates it.
    """

    in_place = False

    def __init__(self, path: str, final: str, mode: int = 0o666) -> None:
        """Take the final name.

        Args:
            path: as the user wrote it.
            final: the same without links.
            mode: the widest that it may have, whatever it replaces; the umask narrows that of a new file further.

        Raises:
            ConfigError: its folder isn't there, or a file of that name can't be written to.
        """
        self.path = path
        self._final = final
        self._folder, self._name = os.path.split(self._final)
        self._mode = mode
        self._old = _status(path, self._final, self._folder)
        self._kept = False
        self._renaming = False
        self._part = ""
        self._fd = -1
        self._descriptors = descriptor_pool()
        """That of the thread that has opened the file."""
        self._size = 0
        self._synced = -1
        """How much of it is known to be on the disk; -1: nobody knows."""
        self._identity: os.stat_result | None = None
        self._dirty_bytes = 0  # written since the kernel was last told to begin

    def open(self) -> None:
        """Create an empty file, if there is none, or reopen one that rests.

        Raises:
            OrchestratorError: it can't be made, or somebody has meddled with it.
        """
        if self._fd >= 0:
            self._descriptors.used(self)
            return
        try:
            self._part = self._part or part_path(self._folder, self._name, random_tag())
            self._fd = self._opened(self._begin if self._identity is None else self._reopen)
        except NotOurFileError as error:
            raise self._meddled(str(error), self._part) from None
        except OSError as error:
            if self._identity is not None and error.errno == errno.ENOENT:
                raise self._meddled("it was removed or renamed", self._part) from None
            raise OrchestratorError(f"can't write to {self.path}: {error.strerror}") from None

    def _opened(self, make: Callable[[], int]) -> int:
        self._descriptors = descriptor_pool()
        return self._descriptors.open(self, make)

    def _begin(self) -> int:
        # One of a run that continues may be there, left by one that was killed before it had noted it.
        fd = begin(self._part, self._mode if self._old is None else 0o600)
        self._identity = os.fstat(fd)
        return fd

    def _reopen(self) -> int:
        assert self._identity is not None  # noqa: S101 - for the type checker
        fd = reopen(self._part)
        found, left = os.fstat(fd), self._identity
        if not os.path.samestat(found, left) or found.st_mtime_ns != left.st_mtime_ns:  # inode numbers are used again
            os.close(fd)
            raise NotOurFileError("it was replaced, or written to")
        os.lseek(fd, self._size, os.SEEK_SET)
        return fd

    def rest(self) -> None:
        """Close the descriptor for a while.

        The pool of descriptors calls this.
        """
        fd, self._fd = self._fd, -1
        self._identity = os.fstat(fd)
        os.close(fd)

    def write(self, data: memoryview | bytes) -> None:
        """Append data.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        self.open()
        view = memoryview(data)
        with self._failing():
            while view:
                view = view[os.write(self._fd, view) :]
        self._size += len(data)
        self._dirty_bytes += len(data)
        if self._dirty_bytes >= _WRITE_BACK_BYTES:
            self._write_back()

    def _write_back(self) -> None:
        """Start writing back what there is, so that a sync has little left to wait for."""
        import ctypes  # noqa: PLC0415 - only for large outputs

        self._dirty_bytes = 0
        start_writing = getattr(ctypes.CDLL(None), "sync_file_range", None)
        if start_writing is not None:
            start_writing(self._fd, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)

    def close(self) -> None:
        """Sync the file and give it its final name.

        Raises:
            OrchestratorError: the disk is full or broken, or somebody has meddled with the file.
        """
        self.open()
        with self._failing():
            self._take_after_old()
            if self._synced != self._size or self._old is not None:
                os.fsync(self._fd)
            self._check_ours()
            self._renaming = True
            os.replace(self._part, self._final)
            if not same_file(self._fd, self._final):
                self._renaming = False
                raise self._meddled(f"{self._final} is another file", self._final)
            sync_folder(self._folder)
        self._let_go()

    def _take_after_old(self) -> None:
        """Give the file the owner and mode of the one that it replaces, where permitted."""
        if self._old is None:
            return
        old, mode = self._old, stat.S_IMODE(self._old.st_mode)
        for owner in (old.st_uid, -1):
            with suppress(OSError):
                os.fchown(self._fd, owner, old.st_gid)
                break
        new = os.fstat(self._fd)
        if new.st_uid != old.st_uid or new.st_gid != old.st_gid:
            mode &= 0o777
        if new.st_gid != old.st_gid:  # another group may do no more than everybody
            mode = mode & ~0o070 | (mode & 0o007) << 3
        mode &= ~(0o666 & ~self._mode)
        with suppress(PermissionError):
            os.fchmod(self._fd, mode)

    def _check_ours(self) -> None:
        """Check that the file is still the one that was written, before it is renamed or noted in a journal."""
        if not same_file(self._fd, self._part):
            raise self._meddled("it was removed, renamed or replaced", self._part)
        found = os.fstat(self._fd).st_size
        if found != self._size:
            raise self._meddled(f"it has {found:,} bytes, and {self._size:,} were written", self._part)

    def _meddled(self, how: str, path: str) -> OrchestratorError:
        return OrchestratorError(
            f"can't write {self.path}: somebody else has changed {path}, its unfinished output: {how}"
        )

    @property
    def is_final(self) -> bool:
        """Whether the file has its final name.

        Also asked after an abort, which a signal may cause at any instant of `close`.
        """
        if not self._renaming or self._identity is None:
            return False
        with suppress(OSError):
            return os.path.samestat(os.stat(self._final, follow_symlinks=False), self._identity)
        return False

    def abort(self) -> None:
        """Remove what was written, unless a later run is to resume it, or it has its final name already."""
        if not self._kept and self._part:
            with suppress(OSError):
                os.unlink(self._part)
        self._let_go()

    def discard(self) -> None:
        """Remove what was written, so that no later run finds it."""
        self._kept = False
        self.abort()

    def sync_ahead(self) -> None:
        """Sync what was written so far, so that `close` and `snapshot` need not.

        Any thread may call it while none writes.
        """
        if self._part and self._identity is not None:
            size = self._size
            if sync_by_name(self._part, self._identity):
                self._synced = size

    def _let_go(self) -> None:
        self._descriptors.forget(self)
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):  # closed, and interrupted before that was noted
                os.close(fd)

    # ---- for a run that can be resumed ------------------------------------------------------------------------

    def keep_as(self, secret: str) -> None:
        """Write under a name that a later run finds, and keep it there if this run does not finish.

        Before anything is written.

        Args:
            secret: of the run; who knows it knows the name.
        """
        self._kept = True
        self._part = part_path(self._folder, self._name, derived_tag(secret, self._name))

    def snapshot(self) -> dict[str, Any]:
        """Make what was written durable, and return its size and how to recognize the file.

        Raises:
            OrchestratorError: the disk is full or broken, or somebody has meddled with the file.
        """
        self.open()
        with self._failing():
            if self._synced != self._size:
                os.fdatasync(self._fd)
            self._check_ours()
            return {"bytes": self._size, "tail": tail_of(self._fd, self._size)}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume behind what an earlier run had written at its snapshot.

        Raises:
            OrchestratorError: that is not there any more.
        """
        size: int = state["bytes"]
        try:
            try:
                self._fd = self._opened(lambda: reopen(self._part))
            except FileNotFoundError:  # it was made final at the very end
                self._fd = self._opened(lambda: reopen(self._final, of_anyone=os.geteuid() == 0))
                self._check_found(state)
                os.replace(self._final, self._part)
            else:
                self._check_found(state)
            os.ftruncate(self._fd, size)
            os.lseek(self._fd, size, os.SEEK_SET)
        except NotOurFileError as error:
            raise self._gone(str(error)) from None
        except OSError as error:
            raise self._gone(error.strerror) from None
        self._size = size
        self._identity = os.fstat(self._fd)

    def _check_found(self, state: dict[str, Any]) -> None:
        """Check the file before anything is cut off, as one that was lengthened again would pass as good."""
        size: int = state["bytes"]
        found = os.fstat(self._fd).st_size
        wrong = None
        if found < size:
            wrong = f"it has {found:,} bytes of {size:,}"
        elif tail_of(self._fd, size) != state["tail"]:
            wrong = "its contents differ"
        if wrong is not None:
            raise self._gone(wrong)

    def _gone(self, why: str | None) -> OrchestratorError:
        self._let_go()
        return OrchestratorError(f"can't resume from {self._part}, the unfinished output of {self.path}: {why}")

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            left = f"the output so far is in {self._part}" if self._kept else "no file was left under that name"
            raise OrchestratorError(f"can't write {self.path}: {error.strerror}; {left}") from None


def _status(path: str, final: str, folder: str) -> os.stat_result | None:
    """Return the status of the file that is to be replaced, None if there is none.

    Raises:
        ConfigError: it can't be.
    """
    why = None
    if not os.path.isdir(folder):
        raise ConfigError(f"can't write to {path}: there is no folder {folder}")
    try:
        old = os.stat(final)
    except FileNotFoundError:
        old = None
    except OSError as error:
        raise ConfigError(f"can't write to {path}: {error.strerror}") from None
    if not os.access(folder if old is None else final, os.W_OK | (os.X_OK if old is None else 0)):
        why = os.strerror(errno.EACCES)
    if len(os.fsencode(os.path.basename(final))) > longest_name(folder):  # noqa: PTH119
        why = os.strerror(errno.ENAMETOOLONG)
    if why is not None:
        raise ConfigError(f"can't write to {path}: {why}")
    return old
