"""Unpacks the modules that a program has sent, for the workers of its node pools.

Owner of the state: the process of the node. The folder is this process's own, and goes with it.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.cluster.node.messages import content


class Code(NamedTuple):
    """The modules of a program."""

    digest: str
    """Names their content."""
    archive: Any
    """A zip file, as `carried` gave it."""


_lock = threading.Lock()
_own: tuple[int, tempfile.TemporaryDirectory[str]] | None = None


def unpacked(code: Code | None) -> str | None:
    """Return the folder that is to be on the path of workers, with the modules in it."""
    global _own  # noqa: PLW0603 - one a process
    if code is None:
        return None
    with _lock:
        if _own is None or _own[0] != os.getpid():
            _own = os.getpid(), tempfile.TemporaryDirectory(prefix="orchestrator-code-", ignore_cleanup_errors=True)
        folder = Path(_own[1].name, code.digest)
        if not folder.exists():
            with zipfile.ZipFile(io.BytesIO(content(code.archive))) as archive:
                archive.extractall(folder.with_suffix(".part"))
            folder.with_suffix(".part").rename(folder)
        return str(folder)
