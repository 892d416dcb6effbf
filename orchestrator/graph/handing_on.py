"""Passes on a chunk's results piece by piece, as some are on disk.

Owner: the stage's node.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from orchestrator.engine.protocol.spilled import Spilled
from orchestrator.engine.recovery.item_errors import Failure

if TYPE_CHECKING:
    from orchestrator.engine.recovery.delivery import Delivery


class HandingOn:
    """A delivery on its way to the consumer."""

    def __init__(self, delivery: Delivery, skip: int = 0) -> None:
        """Start the delivery.

        A run that this one resumes had passed on `skip` results of the first item.
        """
        self.delivery = delivery
        self.index = delivery.first_index
        """Of the item whose results are passed on."""
        self.given = skip
        """How many of its results are passed on."""
        # The generator doesn't refer to this object: the file is given back when the last holder is gone, not when the
        # collector of cycles comes by.
        self._lists = _lists_of(delivery, skip)

    def next(self) -> list[Any] | None:
        """Return the next list of results, or None at the end."""
        found = next(self._lists, None)
        if found is None:
            return None
        self.index, self.given, values = found
        return values


def _lists_of(delivery: Delivery, skip: int) -> Iterator[tuple[int, int, list[Any]]]:
    """Yield the results in lists, each with its item's index and how many results of it are passed on then."""
    for position, pieces in groupby(delivery.pieces or (), itemgetter(0)):
        given = skip
        for values in _slices([results for _, results in pieces], skip):
            given += len(values)
            yield delivery.first_index + position, given, values
        skip = 0


def _slices(pieces: list[list[Any] | Spilled], skip: int) -> Iterator[list[Any]]:
    """Yield the results of an item in lists, without the first `skip`."""
    if len(pieces) == 1 and type(pieces[0]) is list:
        yield without(pieces[0], skip)
        return
    for results in pieces:
        for values in results.slices() if isinstance(results, Spilled) else (results,):
            left = values[skip:] if skip else values
            skip = max(0, skip - len(values))
            if left:
                yield left


def without(results: list[Any], skip: int) -> list[Any]:
    """Return results without those that were passed on before.

    A failure now is reported all the same.
    """
    return results if len(results) == 1 and type(results[0]) is Failure else results[skip:]
