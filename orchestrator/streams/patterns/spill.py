"""Keeps waiting items on disk, in a private temporary SQLite database.

The system removes it when it is closed.

Owned by one `Join`. Keys are looked up by their hash, and compared as Python compares them.
"""

from __future__ import annotations

import os
import pickle
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.errors import OrchestratorError


class Spill:
    """Entries by side and key, oldest first."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE entry (seq INTEGER PRIMARY KEY, side INTEGER, hash INTEGER, what BLOB)")
        self._database.execute("CREATE INDEX by_key ON entry (side, hash)")
        self.count = [0, 0]  # entries by side

    def add(self, side: int, key: Any, entry: list[Any]) -> None:
        """Put one entry on disk.

        Its first field is its place in the order of arrival.
        """
        row = (entry[0], side, hash(key), pickle.dumps((key, entry), pickle.HIGHEST_PROTOCOL))
        with _on_disk():
            self._database.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?)", row)
        self.count[side] += 1

    def of_key(self, side: int, key: Any) -> list[list[Any]]:
        """Return the entries of a key."""
        if not self.count[side]:
            return []
        with _on_disk():
            rows = self._database.execute(
                "SELECT what FROM entry WHERE side = ? AND hash = ? ORDER BY seq", (side, hash(key))
            ).fetchall()
        found = [pickle.loads(what) for (what,) in rows]  # our own bytes
        return [entry for stored, entry in found if stored == key]

    def put_back(self, side: int, key: Any, entry: list[Any]) -> None:
        """Store an entry anew that has changed."""
        self.count[side] -= 1
        self.add(side, key, entry)

    def remove(self, side: int, entry: list[Any]) -> None:
        """Forget an entry."""
        with _on_disk():
            self._database.execute("DELETE FROM entry WHERE seq = ?", (entry[0],))
        self.count[side] -= 1

    def clear(self, side: int) -> None:
        """Forget all entries of a side."""
        if self.count[side]:
            with _on_disk():
                self._database.execute("DELETE FROM entry WHERE side = ?", (side,))
        self.count[side] = 0

    def of_side(self, side: int) -> Any:
        """Yield (key, entry) of a side, oldest first."""
        with _on_disk():
            for (what,) in self._database.execute("SELECT what FROM entry WHERE side = ? ORDER BY seq", (side,)):
                yield pickle.loads(what)

    def close(self) -> None:
        """Close the database, which removes its file."""
        self._database.close()


@contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        folder = os.environ.get("SQLITE_TMPDIR") or tempfile.gettempdir()
        raise OrchestratorError(
            f"can't write the waiting items of a join to a temporary file in {folder}: {error}; "
            "free some space there, or point SQLITE_TMPDIR to a larger disk"
        ) from None
