"""Writes standard output past Python's own buffers."""

from __future__ import annotations

import os

from orchestrator.errors import ConfigError
from orchestrator.sinks.disk.in_place import InPlaceFile


def standard_output() -> InPlaceFile:
    """Return standard output as an output.

    Raises:
        ConfigError: it is closed.
    """
    try:
        return InPlaceFile("standard output", 1)
    except ConfigError as error:
        raise ConfigError(f"{error}; name a file with -o") from None


def discard_stdout(fd: int = 1) -> None:
    """Point a broken standard output at /dev/null, so that the flush at exit doesn't complain."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, fd)
    os.close(null)
