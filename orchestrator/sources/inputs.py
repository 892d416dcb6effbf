"""Finds, checks and opens the files that a run reads.

A file is what its path meant when the run began: `Input.file` knows it again.
"""

# ruff: noqa: PTH112, PTH114, PTH115, PTH116, PTH118, PTH120, PTH123, PTH207
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError, OrchestratorError
from workers.errors.describe import describe
from workers.records import compression, file_names
from workers.records.formats.format import PlainFile
from workers.records.identity import FileChangedError, Identity, edges_of, identity_of
from workers.records.remote import RemoteError, RemoteIdentity, is_url, matches
from workers.records.remote import identity_of as remote_identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.records.formats.format import Format
    from workers.records.ranges import Handle
    from workers.records.remote import Options

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Input:
    """One input file."""

    path: str
    size_bytes: int | None
    """None where it isn't known: a pipe, standard input."""
    compression: str | None
    is_regular: bool
    """Whether workers can read parts of it. Not so: pipes, devices, and all that means or holds something else in every
    process or at every moment, as in /proc."""
    file: Identity | RemoteIdentity | None = None
    """The file that the path means; None where it is not regular."""


def expand(inputs: Sequence[str], storage_options: Mapping[str, Any] | None = None) -> list[Input]:
    """Return the files that the user named, patterns resolved.

    Raises:
        ConfigError: one is missing, a folder or unreadable, a pattern matches nothing, "-" stands there
            twice.
    """
    found: list[Input] = []
    options = options_of(storage_options)
    for name in inputs:
        if is_url(name):
            found.extend(_remote(name, options))
        else:
            found.extend(look_at(path) for path in _matches(name))
    if sum(entry.path == STDIN for entry in found) > 1:
        raise ConfigError("standard input (-) can be given only once")
    return found


def options_of(storage_options: Mapping[str, Any] | None) -> Options:
    """Return the options of the file systems behind URLs, in a fixed order.

    Raises:
        ConfigError: they are no options by name.
    """
    given = {} if storage_options is None else storage_options
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ConfigError(f"storage_options must be a dict of options by name, not {describe(given)}")
    return tuple(sorted(given.items()))


def _matches(name: str) -> list[str]:
    if name == STDIN or os.path.lexists(name) or not glob.has_magic(name):
        return [name]
    paths = sorted(path for path in glob.glob(name, recursive=True) if not os.path.isdir(path))
    if not paths:
        raise ConfigError(f"no file matches {name}")
    return paths


def _remote(name: str, options: Options) -> list[Input]:
    """Return the files that a URL, or a pattern of URLs, names."""
    try:
        urls = matches(name, options) if glob.has_magic(name) and not name.startswith("http") else [name]
        if not urls:
            raise ConfigError(f"no file matches {name}")
        return [_look_at_url(url, options) for url in urls]
    except RemoteError as mistake:
        raise ConfigError(str(mistake)) from None
    except OSError as error:
        raise ConfigError(f"can't read {name}: {error.strerror}") from None


def _look_at_url(url: str, options: Options) -> Input:
    file = remote_identity(url, options)
    kind = file_names.compression_of(url)
    try:
        compression.require(kind)
    except compression.CompressionError as error:
        raise ConfigError(str(error)) from None
    return Input(url, file.size_bytes, kind, is_regular=True, file=file)


def look_at(path: str) -> Input:
    """Find out what kind of file this is, and that it can be read."""
    if path == STDIN:
        return Input(path, None, None, is_regular=False)
    try:
        status = os.stat(path)
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"{path} is a folder; name the files in it, as in {os.path.join(path, '*')}")
    if not os.access(path, os.R_OK):
        raise ConfigError(f"can't read {path}: Permission denied")
    kind = file_names.compression_of(path)
    try:
        compression.require(kind)
    except compression.CompressionError as error:
        raise ConfigError(str(error)) from None
    if not stat.S_ISREG(status.st_mode) or _is_pseudo(path, status):
        return Input(path, None, kind, is_regular=False)
    return Input(path, status.st_size, kind, is_regular=True, file=identity_of(status))


def _is_pseudo(path: str, status: os.stat_result) -> bool:
    """Tell whether a regular file belongs to the kernel, or is reached by a name such as /dev/fd/3."""
    return status.st_dev in _pseudo_devices() or _goes_through_proc(path)


def is_own(path: str) -> bool:
    """Tell whether a path means something of this process only, such as /dev/fd/3 or a link to it."""
    return path != STDIN and _goes_through_proc(path, f"/proc/{os.getpid()}/")


def _goes_through_proc(path: str, below: str = "/proc/") -> bool:
    """Tell whether a path, or a link that it leads over, lies in a folder below that one."""
    while path.startswith(("/dev/", "/proc/")) or os.path.islink(path):
        folder = os.path.realpath(os.path.dirname(path))
        if f"{folder}/".startswith(below):
            return True
        try:
            path = os.path.join(folder, os.readlink(path))
        except OSError:
            return False
    return False


@cache
def _pseudo_devices() -> set[int]:
    found = set()
    for folder in ("/proc", "/sys"):
        with suppress(OSError):
            found.add(os.stat(folder).st_dev)
    return found


def looked_at_again(inputs: Sequence[Input]) -> list[Input]:
    """Return the same inputs as they are now.

    Raises:
        ConfigError: one is gone, or can't be read any more.
    """
    return [_again(entry) for entry in inputs]


def _again(entry: Input) -> Input:
    file = entry.file
    return _remote_again(entry.path, file) if isinstance(file, RemoteIdentity) else look_at(entry.path)


def _remote_again(url: str, file: RemoteIdentity) -> Input:
    try:
        return _look_at_url(url, file.options)
    except OSError as error:
        raise ConfigError(f"can't read {url}: {error.strerror}") from None


def open_stream(path: str) -> int:
    """Return a new descriptor of what is read from the front.

    A FIFO that nobody writes to yet is not waited for.

    Raises:
        OrchestratorError: it can't be opened.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        folder, name = os.path.split("/dev/fd/0" if path == "/dev/stdin" else path)
        if error.errno == errno.ENXIO and folder in ("/dev/fd", "/proc/self/fd") and name.isdigit():
            return os.dup(int(name))  # a socket has no other way in
        raise OrchestratorError(f"can't read {path}: {error.strerror}") from None


def columns_of(inputs: Sequence[Input], record_format: Format) -> tuple[str, ...]:
    """Return the columns of the first file, or () if it has none, or only a run can read it.

    That is so if it is compressed, or no regular file.
    """
    for entry in inputs:
        if not entry.is_regular or entry.compression or record_format.recodes:
            return ()
        if not entry.size_bytes:  # it has no header
            continue
        with suppress(OSError), open(entry.path, "rb") as file:
            plain = PlainFile(entry.path, file.fileno(), entry.size_bytes)
            head = record_format.of_file(entry.path).head_of(plain)
            return () if head is None else head.names or ()
    return ()


def open_plain(entry: Input) -> tuple[Handle, Identity | RemoteIdentity]:
    """Open a regular file, and return its descriptor and its identity for workers.

    Raises:
        OrchestratorError: it can't be read, or is not what it was when the run began.
    """
    assert entry.file is not None  # noqa: S101 - for the type checker
    if isinstance(entry.file, RemoteIdentity):
        return entry.file.open(entry.path), entry.file
    try:
        fd = entry.file.open(entry.path)
    except FileChangedError as error:
        raise OrchestratorError(str(error)) from None
    except OSError as error:
        raise OrchestratorError(f"can't read {entry.path}: {error.strerror}") from None
    file = entry.file._replace(edges=edges_of(fd, entry.file.size_bytes), pid=os.getpid(), fd=fd)
    try:
        file.check(entry.path, fd)
    except FileChangedError as error:
        os.close(fd)
        raise OrchestratorError(str(error)) from None
    return fd, file


def of_inputs(inputs: Sequence[Input]) -> dict[str, str]:
    """Return the fingerprints of input files, for a run that is to be resumed.

    Raises:
        ConfigError: one can't be read a second time.
    """
    from orchestrator.checkpoint.fingerprint import of_file  # noqa: PLC0415 - only for runs that can be resumed

    for entry in inputs:
        if not entry.is_regular:
            name = "standard input" if entry.path == STDIN else entry.path
            raise ConfigError(f"{name} can't be read twice, so its run can't be resumed; save it to a file")
    return {f"the input {entry.path}": _version_of(entry) or of_file(entry.path) for entry in inputs}


def _version_of(entry: Input) -> str | None:
    """Return size and version of what a URL names."""
    file = entry.file
    return f"{file.size_bytes:,} bytes, version {file.version}" if isinstance(file, RemoteIdentity) else None


def mean_record_bytes(inputs: Sequence[Input], record_format: Format) -> int:
    """Estimate a record's size from the first 64 KiB of the first plain file, or 256 if there is none."""
    for entry in inputs:
        if entry.is_regular and not entry.compression and entry.size_bytes:
            with suppress(OSError), open(entry.path, "rb") as file:
                head = file.read(64 * 1024)
                return max(1, len(head) // max(1, record_format.line_ends.number_in(head)))
    return 256
