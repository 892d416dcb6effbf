"""Answers a node's workers that ask for names of the program's `__main__`, from what came with its calls.

Owner: the node pool's local engine, under its lock; `take_in` adds to it from any thread.
"""

from __future__ import annotations

from collections.abc import Iterable

from workers.pickling.main_module import Definition, Wanted
from workers.pickling.needs import ALL, CODE


class GivenDefinitions:
    """The definitions that a node was given.

    What is asked for and not here is noted as missing: the program sends it, and the worker is told that it was
    rebound.
    """

    def __init__(self) -> None:
        self._by_token: dict[int, Definition] = {}
        self._current: dict[str, Definition] = {}
        self._changed = False
        self._missing: dict[str, int | None] = {}

    def take_in(self, definitions: Iterable[Definition]) -> bool:
        """Keep definitions, and return whether any of them was new."""
        new = False
        for each in definitions:
            if each.token not in self._by_token:
                self._by_token[each.token] = each
                new = True
                before = self._current.get(each.name)
                if each.is_current and (before is None or before.token < each.token):
                    self._current[each.name] = each
        self._changed = self._changed or new
        return new

    def take_missing(self) -> Wanted:
        """Return the names that were asked for in vain since the last time, each with the token that was wanted."""
        found, self._missing = self._missing, {}
        return list(found.items())

    def answer(self, told: dict[str, int], wanted: Wanted) -> list[Definition]:
        """Return what was asked for, as far as it is here."""
        found: list[Definition] = []
        for name, token in wanted:
            if name in {ALL, CODE}:
                told[name] = 0
                found.append(Definition(name, 0, is_current=True, pickled=None))
                found += [each for each in self._current.values() if each.name not in told]
                told.update({each.name: each.token for each in self._current.values()})
                continue
            each = self._current.get(name) if token is None else self._by_token.get(token)
            if each is None:
                self._missing[name] = token
                each = Definition(name, 0, is_current=True, pickled=None)
            if each.is_current:
                told[name] = each.token
            found.append(each)
        return found

    def rebound(self, told: dict[str, int]) -> list[Definition]:
        """Return the definitions that a worker was told otherwise, or asked for in vain."""
        found = [each for name, each in self._current.items() if told.get(name, each.token) != each.token]
        told.update({each.name: each.token for each in found})
        return found

    def noticed(self) -> bool:
        """Whether any definition came since this was last asked."""
        changed, self._changed = self._changed, False
        return changed
