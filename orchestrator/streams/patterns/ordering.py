"""Keys that sort the other way round. Owns no state."""

from __future__ import annotations

from typing import Any


class Descending:
    """A key that is less than another one if it is greater."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: Descending) -> bool:
        return bool(other.key < self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descending) and bool(self.key == other.key)

    __hash__ = None  # type: ignore[assignment]  # only compared
