"""Chooses the shell that runs commands. Pure, but for a look at which programs there are."""

from __future__ import annotations

import os
from collections.abc import Mapping

_POSIX = frozenset({"sh", "bash", "dash", "ash", "ksh", "mksh", "rbash", "yash"})
_OTHERS = frozenset({"fish", "csh", "tcsh", "nu", "xonsh", "elvish", "pwsh", "rc", "es"})
"""Shells in whose language our text would mean something else."""


def chosen_shell(asked: str | None, environment: Mapping[str, str]) -> str:
    """Return the shell: as asked for, else $PARALLEL_SHELL, else $SHELL if that is a POSIX shell, else /bin/sh.

    Functions that bash has exported exist only in bash: where there are some, an unasked shell is bash.

    Raises:
        ValueError: the shell that was asked for is not a POSIX shell, or there is none of that name.
    """
    asked = asked or environment.get("PARALLEL_SHELL")
    if asked:
        if os.path.basename(asked) in _OTHERS:  # noqa: PTH119 - pathlib takes long to import
            raise ValueError(f"{asked} is not a POSIX shell: give --shell sh, bash, dash, ksh or zsh")
        found = _found(asked, environment)
        if found is None:
            raise ValueError(f"there is no shell {asked}: --shell (or $PARALLEL_SHELL) takes the name of a program")
        return found
    usual = environment.get("SHELL", "")
    name = os.path.basename(usual)  # noqa: PTH119
    if name != "bash" and any(key.startswith("BASH_FUNC_") for key in environment):
        usual, name = "bash", "bash"
    return (_found(usual, environment) if name in _POSIX else None) or "/bin/sh"


def _found(name: str, environment: Mapping[str, str]) -> str | None:
    """Return the program's path."""
    folders = [""] if "/" in name else environment.get("PATH", os.defpath).split(":")
    for folder in folders:
        path = f"{folder}/{name}" if folder else name
        if os.access(path, os.X_OK) and os.path.isfile(path):  # noqa: PTH113
            return path
    return None
