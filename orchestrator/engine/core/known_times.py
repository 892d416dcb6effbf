"""Remembers how long functions took an item, for the next call of the same function.

Pure. A call that is opened for ten short items would otherwise measure the first ones by themselves, and be over when
it knows how long they take.
"""

from __future__ import annotations

_MOST_FUNCTIONS = 256
_MOST_KEY_BYTES = 1024


class KnownTimes:
    """Seconds an item, by pickled function. Used by any thread."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds: dict[bytes, float] = {}

    def of(self, function: bytes) -> float | None:
        """Return what an item of a function took, or None."""
        return self._seconds.get(function)

    def note(self, function: bytes, seconds: float) -> None:
        """Record what an item took, in place of the oldest record if there are many.

        A long pickle carries data, and will hardly come again.
        """
        if len(function) > _MOST_KEY_BYTES:
            return
        known = self._seconds
        known.pop(function, None)
        while len(known) >= _MOST_FUNCTIONS:
            known.pop(next(iter(known), b""), None)
        known[function] = seconds
