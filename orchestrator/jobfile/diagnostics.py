"""Collects the mistakes of a job file, to report all together with their lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.errors import ConfigError
from orchestrator.jobfile.toml_lines import Path
from workers.errors.nearest import did_you_mean


class JobFileError(ConfigError):
    """A job file has mistakes.

    The text has a line for each, "file:line: what is wrong".
    """


class Place(NamedTuple):
    """Where a value stands."""

    file: str
    line: int


class Diagnostics:
    """Owns the mistakes found so far."""

    def __init__(self, file: str, places: dict[Path, Place], overridden: Iterable[Path] = ()) -> None:
        """Begin with no diagnostics.

        `places` are files and lines by path, `overridden` the paths given by --set.
        """
        self._file = file
        self._places = places
        self._overridden = set(overridden)
        self._found: list[tuple[int, str]] = []

    def place(self, path: Path) -> Place:
        """Return the place of a value, or of the nearest table around it."""
        while path and path not in self._places:
            path = path[:-1]
        return self._places.get(path, Place(self._file, 1))

    def add(self, path: Path, text: str) -> None:
        """Report a mistake in a value."""
        for end in range(len(path), 0, -1):
            if path[:end] in self._overridden:
                self._found.append((0, f"--set {'.'.join(map(str, path[:end]))}: {text}"))
                return
        file, line = self.place(path)
        self._found.append((line, f"{file}:{line}: {text}"))

    def unknown(self, path: Path, name: str, what: str, known: Iterable[str]) -> None:
        """Report that a name is unknown, with the nearest known one."""
        known = list(known)
        there = f"; there {'are' if len(known) > 1 else 'is'} {', '.join(known) or 'none'}"
        self.add(path, f"{what} {name!r}{did_you_mean(name, known) or there}")

    def __len__(self) -> int:
        return len(self._found)

    def raise_if_any(self) -> None:
        """Report all mistakes.

        Raises:
            JobFileError: there are some.
        """
        if self._found:
            raise JobFileError("\n".join(dict.fromkeys(text for _, text in sorted(self._found))))
