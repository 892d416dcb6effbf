"""Keeps the modules that a program has sent, where the workers of this node's pools import them from.

They are a zip file in memory, which workers reach through this process and which goes with it.

Owner of the state: the process of the node, under `_lock`.
"""

from __future__ import annotations

import os
import threading
from typing import Any, NamedTuple

from orchestrator.cluster.node.messages import content


class Code(NamedTuple):
    """The modules of a program."""

    digest: str
    """Names their content."""
    archive: Any
    """A zip file, as `carried` gave it."""


_lock = threading.Lock()
_kept: dict[str, int] = {}
"""Descriptors of the zip files, by digest."""


def path_of(code: Code | None) -> str | None:
    """Return what is to be on the path of workers."""
    if code is None:
        return None
    with _lock:
        fd = _kept.get(code.digest)
        if fd is None:
            fd = os.memfd_create("orchestrator-code", os.MFD_CLOEXEC)
            data, at = memoryview(content(code.archive)), 0
            while at < data.nbytes:
                at += os.pwrite(fd, data[at:], at)
            _kept[code.digest] = fd
        return f"/proc/{os.getpid()}/fd/{fd}"


def _begin_anew() -> None:
    global _lock  # noqa: PLW0603 - a forked child keeps its own
    _lock = threading.Lock()
    _kept.clear()


os.register_at_fork(after_in_child=_begin_anew)
