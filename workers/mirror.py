"""The coordinator's `__main__`, mirrored in a worker on demand.

A worker never runs the user's main module, so what a pickle refers to as `__main__.Thing` is not there. The mirror
asks the coordinator for the definition when it is first needed, in the middle of unpickling, and keeps it. Results
of such classes are then pickled by reference, at full speed, and arrive as instances of the very same class.
"""

from __future__ import annotations

import pickle
import sys
import threading
import types
from collections.abc import Callable
from typing import Any


class MainMirror(types.ModuleType):
    """Stands as `sys.modules["__main__"]` in a worker."""

    def __init__(self, ask: Callable[[str], bytes | None]) -> None:
        super().__init__("__main__")
        self.__dict__["_ask"] = ask
        self.__dict__["_owner"] = threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        # Other threads can't ask: the lane belongs to the worker's main thread.
        if not (name.startswith("__") and name.endswith("__")) and threading.get_ident() == self.__dict__["_owner"]:
            definition = self.__dict__["_ask"](name)
            if definition is not None:
                value = pickle.loads(definition)
                self.__dict__[name] = value
                return value
        msg = f"the main module has no attribute {name!r} that could be sent to a worker"
        raise AttributeError(msg)


def install(ask: Callable[[str], bytes | None]) -> MainMirror:
    """Put a mirror in the place of this process's main module."""
    mirror = MainMirror(ask)
    sys.modules["__main__"] = mirror
    return mirror


def forget(mirror: MainMirror, names: list[str]) -> None:
    """Drop definitions that the user has bound anew."""
    for name in names:
        mirror.__dict__.pop(name, None)
