"""Puts modules that the program has sent on the path of this node's process, whose workers inherit it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path


def put_on_path(archives: Sequence[tuple[str, bytes]]) -> None:
    """Keep zip files in this user's own temporary folder, by their content, and put them before what is on the path.

    Args:
        archives: (digest, zip file).
    """
    for digest, data in reversed(archives):
        path = _folder() / f"{digest}.zip"
        if not path.exists():
            fd, name = tempfile.mkstemp(dir=path.parent)
            with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(data)
            Path(name).replace(path)
        if str(path) not in sys.path:
            sys.path.insert(0, str(path))


def _folder() -> Path:
    """Return a folder of this process that nobody else may write to."""
    global _own  # noqa: PLW0603 - one a process
    if _own is None or _own[0] != os.getpid():
        _own = os.getpid(), tempfile.TemporaryDirectory(prefix="orchestrator-code-")
    return Path(_own[1].name)


_own: tuple[int, tempfile.TemporaryDirectory[str]] | None = None
