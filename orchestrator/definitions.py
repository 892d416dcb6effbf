"""What the program's `__main__` defines, for workers that ask (see `workers.mirror`).

Owner: the coordinator, under its lock. Pickling by value may run user code (`__reduce__`).
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from typing import Any

from workers import payload


class Definitions:
    """Remembers what was sent, so that a name that means something else later is sent anew."""

    def __init__(self) -> None:
        self._sent: dict[str, Any] = {}

    def answer(self, name: str) -> bytes:
        """Return the body of the answer to "what is `__main__.name`?"; it says None if there is no such thing."""
        import cloudpickle  # noqa: PLC0415 - needed only for programs that send what their main module defines

        definition: bytes | None = None
        value = getattr(sys.modules.get("__main__"), name, None)
        if value is not None:
            with contextlib.suppress(Exception):
                definition = cloudpickle.dumps(value, pickle.HIGHEST_PROTOCOL)
                self._sent[name] = value
        return payload.encode((name, definition)).pickle

    def take_rebound(self) -> list[str]:
        """Return, once, the names sent before that mean something else now (a notebook cell run again)."""
        if not self._sent:
            return []
        main = sys.modules.get("__main__")
        rebound = [name for name, value in self._sent.items() if getattr(main, name, None) is not value]
        for name in rebound:
            del self._sent[name]
        return rebound
