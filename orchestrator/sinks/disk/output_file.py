"""Decides what an output's name means: a file that is replaced when whole, or one written in place.

| the name | is |
|---|---|
| a regular file, or nothing yet | a `PartFile`: whole under its name, or not there |
| - | standard output, an `InPlaceFile` |
| /dev/stdout, /dev/fd/N, /proc/self/fd/N, >(command) | this process's own descriptor, an `InPlaceFile` |
| a FIFO or a device | an `InPlaceFile` |
| a URL, such as s3://bucket/key | a `RemoteOutput`: visible only when complete |

Links are followed, as a shell does, but for one that another user has left in a folder that everybody can write to.
"""

# ruff: noqa: PTH110, PTH115, PTH116, PTH118
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.errors import ConfigError
from orchestrator.sinks.disk.in_place import InPlaceFile
from orchestrator.sinks.disk.part_file import PartFile
from orchestrator.sinks.disk.stdout import standard_output
from workers.records.remote import is_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workers.records.remote import Options

_MOST_LINKS = 40
_SHARED = stat.S_ISVTX | stat.S_IWOTH


class OutputFile(Protocol):
    """The receiver of the bytes of one output."""

    path: str
    """As the user wrote it."""
    in_place: bool
    """Whether it is written as a stream, and what was written can't be taken back."""

    def open(self) -> None:
        """Open the output, if it is not open.

        A write does so too.
        """

    def write(self, data: memoryview | bytes) -> None:
        """Append data.

        Raises:
            OrchestratorError: it can't be written.
        """

    def close(self) -> None:
        """Make the output final."""

    def abort(self) -> None:
        """Abandon the output: leave nothing under the final name."""

    def sync_ahead(self) -> None:
        """Sync what was written so far, where that is possible.

        Any thread may call it.
        """

    def discard(self) -> None:
        """Abandon the output, and leave nothing for a later run to resume."""

    @property
    def is_final(self) -> bool:
        """Whether the output is whole, under its final name."""

    def keep_as(self, secret: str) -> None:
        """Let what is written outlive this process.

        Call it before anything is written.

        Args:
            secret: known to the runs that continue with this one, and to nobody else.

        Raises:
            ConfigError: it can't be resumed.
        """

    def snapshot(self) -> Any:
        """Make what was written durable, and return what is needed to resume from here."""

    def restore(self, state: Any) -> None:
        """Resume from what `snapshot` returned."""


def output_file(path: str, mode: int = 0o666, options: Options = ()) -> OutputFile:
    """Return the output of this name.

    Nothing is opened or made yet.

    Args:
        path: the name; "-" is standard output.
        options: of the file system behind a URL.
        mode: no wider than this will a file be; the umask narrows the mode of a new one further.

    Raises:
        ConfigError: it can't be written to.
    """
    if path == "-":
        return standard_output()
    if is_url(path):
        from orchestrator.sinks.disk.remote_file import RemoteOutput  # noqa: PLC0415 - only for URLs

        return RemoteOutput(path, options)
    found = resolve(path)
    if isinstance(found, int):
        return InPlaceFile(path, found)
    try:
        status = os.stat(found)
    except FileNotFoundError:
        return PartFile(path, found, mode)
    except OSError as error:
        raise ConfigError(f"can't write to {path}: {error.strerror}") from None
    if stat.S_ISREG(status.st_mode):
        return PartFile(path, found, mode)
    if stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"can't write to {path}: {os.strerror(errno.EISDIR)}")
    return InPlaceFile(path)


def mode_beside(outputs: Iterable[str]) -> int:
    """Return the widest mode that files with users' data may have beside these outputs, before the umask.

    A group that is not ours would be another one there: then it may do no more than everybody.
    """
    mode = 0o666
    for path in outputs:
        found = 1 if path == "-" else resolve(path)
        with suppress(OSError):
            status = os.fstat(found) if isinstance(found, int) else os.stat(found)
            if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                own = stat.S_IMODE(status.st_mode)
                mode &= own if status.st_gid == os.getegid() else own & ~0o070 | (own & 0o007) << 3
    return mode


def is_standard_output(path: str) -> bool:
    """Tell whether an output's name means standard output: "-", /dev/stdout, /dev/fd/1."""
    return path == "-" or own_descriptor(path) == 1


def own_descriptor(path: str) -> int | None:
    """Return the descriptor of this process that a name means, or None if it means something else."""
    try:
        found = resolve(path)
    except ConfigError:
        return None
    return found if isinstance(found, int) else None


def resolve(path: str) -> int | str:
    """Follow links by hand.

    Return the real path, or the number of this process's descriptor that they lead to.

    The kernel would open /dev/fd/N anew, or lead through it to the file behind it; we want the descriptor itself.

    Raises:
        ConfigError: a link goes round, or another user has left it in a folder that everybody can write to.
    """
    descriptors = {os.path.realpath(each) for each in ("/proc/self/fd", "/proc/thread-self/fd", "/dev/fd")}
    at = path
    for _ in range(_MOST_LINKS):
        folder, name = os.path.split(at)
        folder = os.path.realpath(folder or ".")
        at = os.path.join(folder, name) if name else folder
        if folder in descriptors and name.isdecimal():
            return int(name)
        try:
            link = os.readlink(at)
        except OSError:  # no link, or not there
            return at if name not in {"", ".", ".."} else os.path.realpath(at)
        _refuse_planted(path, at, folder)
        target = os.path.join(folder, link)
        if os.path.exists(at) and not os.path.lexists(target):
            return at  # another process's descriptor: a link in name only
        at = target
    raise ConfigError(f"can't write to {path}: {os.strerror(errno.ELOOP)}")


def _refuse_planted(path: str, link: str, folder: str) -> None:
    """Refuse a link that others planted, as Linux's `protected_symlinks` does for an open."""
    shared, owner = os.stat(folder), os.lstat(link).st_uid
    if shared.st_mode & _SHARED == _SHARED and owner not in {os.geteuid(), shared.st_uid}:
        raise ConfigError(
            f"can't write to {path}: {link} is a link that another user has left in a folder that everybody can "
            "write to; remove it, or give another name"
        )
