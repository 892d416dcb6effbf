"""Create files that nobody else can have prepared, and find them again safely.

In a folder that others can write to, a name that they can guess is a trap: they put a link there, and we write through
it. So every temporary name is random, or derived from a secret; a file is created with O_EXCL and O_NOFOLLOW, and one
that is opened again has to be a regular file of this user under one name only.
"""

# ruff: noqa: PTH118
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import os
import stat

from orchestrator.errors import OrchestratorError

_TAIL_BYTES = 4096
_NAME_BYTES = 255
"""The longest file name where the file system doesn't say."""


class NotOurFileError(OrchestratorError):
    """A file to be resumed is not the one that this user's run left there."""


def random_tag() -> str:
    """Return 16 characters that nobody can guess."""
    return os.urandom(8).hex()


def derived_tag(secret: str, name: str) -> str:
    """Return 16 characters that nobody can guess without the secret, the same each time."""
    import hashlib  # noqa: PLC0415 - only for runs that can be resumed

    return hashlib.blake2b(os.fsencode(name), key=secret.encode()[:64], digest_size=8).hexdigest()


def part_path(folder: str, name: str, tag: str) -> str:
    """Return ".NAME.TAG.part" in the folder.

    A long NAME is cut, so that the part's name fits wherever NAME does.
    """
    stem = name
    ending = f".{tag}.part"
    room = longest_name(folder) - len(ending) - 1
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return os.path.join(folder, f".{stem}{ending}")


def longest_name(folder: str) -> int:
    """Return how many bytes a file name in this folder may have."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):
        return _NAME_BYTES


def create(path: str, mode: int = 0o666) -> int:
    """Create a file to read and write, and return its descriptor.

    The umask narrows the mode.

    Raises:
        FileExistsError: there is something of that name, a dangling link too.
        OSError: it can't be created.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def begin(path: str, mode: int = 0o666) -> int:
    """Create a file, or empty the one that a run of this user left there, and return its descriptor.

    Raises:
        NotOurFileError: there is something else.
        OSError: it can't be created.
    """
    try:
        return create(path, mode)
    except FileExistsError:
        fd = reopen(path)
        os.ftruncate(fd, 0)
        return fd


def reopen(path: str, *, of_anyone: bool = False) -> int:
    """Open a file that a run of this user has left, and return its descriptor.

    Args:
        path: its name; a link is not followed.
        of_anyone: it may have been given to another user, as an output is that replaces a file of theirs.

    Raises:
        NotOurFileError: it is not a regular file of this user, or has several names.
        OSError: it is not there, or can't be opened.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
    except OSError as error:
        if os.path.islink(path):  # noqa: PTH114
            raise NotOurFileError(f"{path} is a link, so it is not from an earlier run; remove it") from None
        raise error from None
    wrong = _wrong(os.fstat(fd), of_anyone=of_anyone)
    if wrong is not None:
        os.close(fd)
        raise NotOurFileError(f"{path} {wrong}, so it is not from an earlier run of yours; remove it")
    return fd


def _wrong(status: os.stat_result, *, of_anyone: bool) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if status.st_uid != os.geteuid() and not of_anyone:
        return "belongs to another user"
    if status.st_nlink != 1:
        return "has a second name (hard link)"
    return None


def tail_of(fd: int, size_bytes: int) -> str:
    """Return a digest of the last bytes before `size_bytes`.

    A resumed file is known by it: inode numbers change with a copy, and on some file systems with a reboot.
    """
    import hashlib  # noqa: PLC0415 - only for runs that can be resumed

    at = max(0, size_bytes - _TAIL_BYTES)
    return hashlib.blake2b(os.pread(fd, size_bytes - at, at), digest_size=16).hexdigest()


def same_file(fd: int, path: str) -> bool:
    """Tell whether the path names this open file itself, not a link to it."""
    try:
        found = os.stat(path, follow_symlinks=False)  # noqa: PTH116
    except OSError:
        return False
    return os.path.samestat(os.fstat(fd), found)
