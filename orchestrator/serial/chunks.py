"""The chunks of the serial engine, which stay in this process."""

from __future__ import annotations

import threading
from typing import Any

from orchestrator.engine.core.ledger import Chunk


class Waiting:
    """A chunk that was sent, and has not begun."""

    __slots__ = ("chunk", "message", "number", "thread")

    def __init__(self, number: int, chunk: Chunk, message: Any) -> None:
        self.number, self.chunk, self.message = number, chunk, message
        self.thread = threading.get_ident()
