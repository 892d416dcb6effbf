"""Reads files behind URLs with fsspec, in ranges: s3://, gs://, az://, http(s)://, hdfs://, memory:// and more.

    coordinator   notes what the URL names: its size and version, a `RemoteIdentity`
    worker        reads its range, and tries again with back-off if that fails or is cut short

fsspec is loaded for the first URL only. Credentials are looked for as fsspec does, in the environment.
"""

from __future__ import annotations

import errno
import importlib
import os
import random
import time
from typing import Any, NamedTuple, cast

TRIES = 5
FIRST_DELAY_S = 0.2
"""Before the second try; it doubles from try to try, and chance takes up to half of it away."""
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError)
"""What no further try will change."""
_TRY_LATER = {408, 425, 429}
"""Answers of HTTP that blame the request, but may change."""
Options = tuple[tuple[str, Any], ...]


class RemoteError(Exception):
    """A URL can't be used.

    The message says why.
    """


def is_url(path: str) -> bool:
    """Tell whether a name is a URL, such as s3://bucket/key, and not the path of a file."""
    scheme, mark, _ = path.partition("://")
    return bool(mark) and scheme.replace("+", "").isalnum() and scheme.isascii()


def file_system(url: str, options: Options = ()) -> tuple[Any, str]:
    """Return the file system of a URL, and the path there.

    Raises:
        RemoteError: fsspec, or what it needs for this scheme, is not installed, or there is no such scheme.
    """
    try:
        fsspec = importlib.import_module("fsspec.core")
        return fsspec.url_to_fs(url, **dict(options))  # type: ignore[no-any-return]
    except ImportError as error:
        more = "" if "fsspec" in str(error) else f" ({' '.join(str(error).split())})"
        raise RemoteError(f"{url} needs the extra: pip install 'orchestrator-pool[fsspec]'{more}") from None
    except (ValueError, TypeError) as error:
        raise RemoteError(f"can't use {url}: {' '.join(str(error).split())}") from None


class RemoteIdentity(NamedTuple):
    """A file behind a URL as it was when the run began."""

    size_bytes: int
    version: str
    """What changes with the content, as far as the server tells."""
    options: Options = ()

    def open(self, path: str) -> RemoteFile:
        """Return the file to be read."""
        return RemoteFile(path, self.options, self.size_bytes)

    def check(self, path: str, fd: object) -> None:
        """Do nothing.

        To ask a server what it holds by now would cost a request for each range; one that is short is told by itself.
        """


class RemoteFile:
    """A file behind a URL, read in ranges."""

    def __init__(self, url: str, options: Options, size_bytes: int) -> None:
        self._url = url
        self.size_bytes = size_bytes
        self._fs, self._path = file_system(url, options)

    def pread(self, size: int, offset: int) -> bytes:
        """Return bytes as `os.pread` does, all that there are.

        Raises:
            OSError: they can't be read, after several tries.
        """
        end = min(offset + size, self.size_bytes)
        if offset >= end:
            return b""

        def read() -> bytes:
            data: bytes = self._fs.cat_file(self._path, start=offset, end=end)
            if len(data) == self.size_bytes != end - offset:  # the server knows no ranges
                data = data[offset:end]
            if len(data) != end - offset:
                raise OSError(errno.EIO, f"{len(data):,} of {end - offset:,} bytes came")
            return data

        return cast("bytes", tried(self._url, read))


def tried(url: str, call: Any) -> Any:
    """Return what a call gives, tried again with back-off if the server fails, throttles or cuts.

    Raises:
        OSError: it fails for good.
    """
    for number in range(1, TRIES + 1):
        try:
            return call()
        except Exception as error:  # each file system has errors of its own
            cause = _cause(url, error)
            if _is_final(cause):
                raise OSError(getattr(cause, "errno", None) or errno.EIO, _reason(cause), url) from None
            if number == TRIES:
                raise OSError(errno.EIO, f"gave up after {TRIES} tries: {_reason(cause)}", url) from None
            time.sleep(FIRST_DELAY_S * 2 ** (number - 1) * random.uniform(0.5, 1))  # noqa: S311 - to spread tries
    raise AssertionError


def _cause(url: str, error: BaseException) -> BaseException:
    """Return what has failed: the file system of http calls any failure "not found" where it asks for the size."""
    if url.startswith("http") and isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        return error.__cause__
    return error


def _is_final(error: BaseException) -> bool:
    """Tell whether no further try will change that."""
    status = getattr(error, "status", None)
    return isinstance(error, _FINAL) or (isinstance(status, int) and 400 <= status < 500 and status not in _TRY_LATER)


def _reason(error: BaseException) -> str:
    """Say why, in one line and without the URL."""
    said = getattr(error, "strerror", None)
    if isinstance(status := getattr(error, "status", None), int):
        said = f"the server answered {status} {getattr(error, 'message', '')}"
    elif said is None and isinstance(error, FileNotFoundError):
        said = os.strerror(errno.ENOENT)  # its text is the path alone
    return " ".join(str(said or error).split()) or type(error).__name__


def identity_of(url: str, options: Options) -> RemoteIdentity:
    """Ask for the size and version of what a URL names.

    Raises:
        RemoteError: it can't be used.
        OSError: it isn't there, or the server fails.
    """
    fs, path = file_system(url, options)
    info = tried(url, lambda: fs.info(path))
    if info.get("type") == "directory":
        raise RemoteError(f"{url} is a folder; name the files in it, as in {url.rstrip('/')}/*")
    if info.get("size") is None:
        raise RemoteError(f"can't read {url}: the server doesn't tell its size")
    tags = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
    return RemoteIdentity(int(info["size"]), str(next((info[tag] for tag in tags if info.get(tag)), "")), options)


def matches(pattern: str, options: Options) -> list[str]:
    """Return the URLs that a pattern stands for, in order."""
    fs, path = file_system(pattern, options)
    found = tried(pattern, lambda: fs.glob(path, detail=True))
    return sorted(fs.unstrip_protocol(name) for name, info in found.items() if info.get("type") != "directory")
