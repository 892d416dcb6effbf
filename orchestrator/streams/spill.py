"""Waiting items on disk: a private temporary SQLite database, which the system removes when it is closed.

Owned by one `Join`. Keys are looked up by their hash, and compared as Python compares them.
"""

from __future__ import annotations

import pickle
import sqlite3
from typing import Any


class Spill:
    """Entries by side and key, oldest first."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE entry (seq INTEGER PRIMARY KEY, side INTEGER, hash INTEGER, what BLOB)")
        self._database.execute("CREATE INDEX by_key ON entry (side, hash)")
        self.count = [0, 0]  # entries by side

    def add(self, side: int, key: Any, entry: list[Any]) -> None:
        """Put one entry on disk; its first field is its place in the order of arrival."""
        what = pickle.dumps((key, entry), pickle.HIGHEST_PROTOCOL)
        self._database.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?)", (entry[0], side, hash(key), what))
        self.count[side] += 1

    def of_key(self, side: int, key: Any) -> list[list[Any]]:
        """Return the entries of a key."""
        if not self.count[side]:
            return []
        rows = self._database.execute(
            "SELECT what FROM entry WHERE side = ? AND hash = ? ORDER BY seq", (side, hash(key))
        )
        found = [pickle.loads(what) for (what,) in rows]  # our own bytes
        return [entry for stored, entry in found if stored == key]

    def put_back(self, side: int, key: Any, entry: list[Any]) -> None:
        """Store an entry anew that has changed."""
        self.count[side] -= 1
        self.add(side, key, entry)

    def remove(self, side: int, entry: list[Any]) -> None:
        """Forget an entry."""
        self._database.execute("DELETE FROM entry WHERE seq = ?", (entry[0],))
        self.count[side] -= 1

    def of_side(self, side: int) -> Any:
        """Give (key, entry) of a side, oldest first."""
        for (what,) in self._database.execute("SELECT what FROM entry WHERE side = ? ORDER BY seq", (side,)):
            yield pickle.loads(what)

    def close(self) -> None:
        """Close, which removes the file."""
        self._database.close()
