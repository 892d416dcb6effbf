"""Checks whether a file may be unpickled.

A pickle runs code, so only this user may have been able to write it.
"""

from __future__ import annotations

import os
import stat

from orchestrator.errors import ConfigError

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def why_untrusted(status: os.stat_result) -> str | None:
    """Say why others may have written what has this status, or None if only this user may."""
    if status.st_uid != os.geteuid():
        return "belongs to another user"
    if status.st_mode & _OTHERS_WRITE:
        return f"is writable by others (mode {stat.S_IMODE(status.st_mode):o})"
    return None


def refuse_untrusted(path: str, what: str, fd: int | None = None) -> None:
    """Check that only this user may have written a file or folder.

    Args:
        path: of it; it is not looked at if it is open already, as `fd`.
        what: it holds, that is only read by unpickling it.
        fd: its descriptor.

    Raises:
        ConfigError: others may have; nothing of it was unpickled.
    """
    why = why_untrusted(os.stat(path, follow_symlinks=False) if fd is None else os.fstat(fd))  # noqa: PTH116
    if why is not None:
        raise ConfigError(
            f"{path} {why}, and {what} is pickled there: loading it could run code that others put there. If you trust "
            f"its contents, make it yours alone (chown, chmod go-w) and run this again"
        )
