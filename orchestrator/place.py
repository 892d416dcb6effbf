"""Finds this package and `workers` where they lie, whatever `sys.path` holds.

A file `workers.py` beside a program, or in the folder that it is started in, would else be imported in place of
ours, and run. Loaded by `import orchestrator`, so it imports next to nothing. State: an entry in `sys.meta_path`.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib takes long to import
"""The folder, or zip file, that holds both packages."""
NAMES = ("workers", "orchestrator")

PRELUDE = f"""\
import sys
from importlib.machinery import PathFinder as P
class Ours:
    find_spec = staticmethod(lambda n, p=None, t=None: P.find_spec(n, [{ROOT!r}]) if n in {NAMES!r} else None)
sys.meta_path.insert(0, Ours)
import workers.entry, workers.pickling.rebuilding
"""
"""The first code of a worker process or fork server, before the program's own `sys.path` counts."""


class Ours:
    """Finds both packages where this one lies."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG004 - of the protocol
        """Return where a package of ours is, or None for any other."""
        return PathFinder.find_spec(name, [ROOT]) if name in NAMES else None


def claim() -> None:
    """Make Python find both packages here from now on.

    Raises:
        ImportError: another module called `workers` was imported before.
    """
    other: Any = sys.modules.get("workers")
    file = getattr(other, "__file__", None) or "somewhere else"
    if other is not None and os.path.dirname(os.path.dirname(file)) != ROOT:  # noqa: PTH120
        raise ImportError(
            f"orchestrator needs the name `workers` for its own package, but {file} was imported under it: rename that "
            "module (say, to my_workers.py)",
            name="workers",
        )
    if Ours not in sys.meta_path:
        sys.meta_path.insert(0, Ours)


def by_place(command: list[str]) -> list[str]:
    """Return the command line of a Python process that finds our packages, and leaves the current folder out."""
    if "-c" not in command:  # a frozen program, which starts itself
        return command
    at = command.index("-c")
    safe = [] if "-P" in command[:at] else ["-P"]
    return [*command[:at], *safe, "-c", PRELUDE + command[at + 1], *command[at + 2 :]]
