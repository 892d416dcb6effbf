"""Finds the known name that was meant by an unknown one."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

_LONGEST = 100
"""Of a name that is looked at; nobody misspells a longer one, and comparing takes long."""


def nearest(name: object, known: Iterable[str]) -> str | None:
    """Return the known name nearest to this one, whatever its case, dashes and underscores, or None."""
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST:
        return None
    import difflib  # noqa: PLC0415 - only for a mistake

    plain = {_plain(each): each for each in reversed(list(known))}
    meant = _plain(name)
    found = difflib.get_close_matches(meant, plain, n=3)
    if not found:
        return None

    def likeness(each: str) -> tuple[float, int]:
        begin_alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(each, meant, strict=False)))
        return difflib.SequenceMatcher(None, each, meant).ratio(), begin_alike

    return plain[max(found, key=likeness)]


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return a hint to be appended to a message: ".

    Did you mean 'csv'?", or "" where nothing is near.
    """
    near = nearest(name, known)
    return "" if near is None else f"; did you mean {near!r}?"


def _plain(name: str) -> str:
    return name.strip("-").replace("_", "-").casefold()
