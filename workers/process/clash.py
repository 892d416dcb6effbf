"""Find a module of the program's that has our name and is hidden by us."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder


def hidden_by(name: str) -> str | None:
    """Return the file of another module called `workers` on `sys.path`, if there is one and `name` may be its."""
    ours = sys.modules["workers"].__spec__
    if ours is None or PathFinder.find_spec(f"workers.{name}", ours.submodule_search_locations) is not None:
        return None  # a module of ours, about to be imported
    for folder in sys.path:
        found = PathFinder.find_spec("workers", [folder])
        if found is not None and found.origin and found.origin != ours.origin:
            return found.origin
    return None
