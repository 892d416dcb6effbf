"""Keeps the modules that a program has sent, where the workers of a node pool import them from.

They are a zip file in memory, which workers reach through this process and which goes with it.

Owner of the descriptor: the node pool, in the process of the node.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, NamedTuple

from orchestrator.cluster.node.messages import content


class Code(NamedTuple):
    """The modules of a program."""

    digest: str
    """Names their content."""
    archive: Any
    """A zip file, as `carried` gave it."""


class CodeFile:
    """The zip file, as long as workers need it."""

    def __init__(self, code: Code) -> None:
        fd = os.memfd_create("orchestrator-code", os.MFD_CLOEXEC)
        self.close = weakref.finalize(self, os.close, fd)
        """Frees it. A second call does nothing."""
        self.close.atexit = False
        self.path = f"/proc/{os.getpid()}/fd/{fd}"
        """What is to be on the path of workers."""
        data, at = memoryview(content(code.archive)), 0
        while at < data.nbytes:
            at += os.pwrite(fd, data[at:], at)
