"""Finds out what became of items that are blocks of records, of a file, and of single records of them.

    block lost                -> it runs again, watched: its worker says which record it is at
    lost again, in record k   -> records before k, record k, records behind it: parts of a chunk that divides the block
    what came of all of them  -> joined, the block's outcome                       (`sources/block_splitting.py`)

Holds no state but what knows the records. Used by `Recovery`, in the thread of the stage's consumer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.recovery.assembly import Assembly, FailedItem, InPart, joined, name_of
from orchestrator.engine.recovery.item_errors import item_error
from workers.records.blocks import FailedRecord

if TYPE_CHECKING:
    from orchestrator.errors import ItemError
    from orchestrator.sources.block_splitting import Divider, GivenUpBlock, Parts
    from workers.errors.capture import ExceptionRecord


class Blocks:
    """What is known of a call's items if they are blocks."""

    def __init__(self, divider: Divider) -> None:
        self._divider = divider

    def divide(self, chunk: Chunk, record: int | None) -> Parts | None:
        """Return the parts of a block around a record, or its halves.

        None: it is one record, or can't be read.
        """
        return self._divider.divide(chunk.items[0], record)

    def known(self, failed: FailedRecord) -> GivenUpBlock:
        """Return what is known of a block that is one record."""
        return self._divider.known(failed)

    def of_failed(self, chunk: Chunk, groups: list[list[Any]]) -> list[Any]:
        """Return a block of the records of each group of `grouped`.

        None for one of results.
        """
        return [self._divider.records(chunk.items[0], group) if have_failed(group) else None for group in groups]

    def in_part(self, chunk: Chunk, pieces: list[Any]) -> InPart:
        """Return the outcome of a block with failed records that are not retried."""
        outcomes: list[Any] = []
        for piece in pieces:
            if isinstance(piece, FailedRecord):
                place = self._divider.with_line(piece.place)
                name = name_of(place, piece.value)
                error = item_error(piece.what, piece.value, chunk.first_index, chunk.attempt, name)
                error.place = place
                outcomes.append(FailedItem(error))
            else:
                outcomes.append(piece)
        return InPart(outcomes)

    def error_of(self, record: ExceptionRecord, item: Any, index: int, attempts: int) -> ItemError:
        """Return the error of a block that failed as a whole and is not retried."""
        place = self._divider.describe_block(item).place
        error = item_error(record, item, index, attempts, place.describe())
        error.place = place
        return error

    def given_up(
        self, chunk: Chunk, make: Callable[..., ItemError], more: tuple[Any, ...], block: GivenUpBlock | None
    ) -> Any:
        """Return the outcome of a block that is given up on.

        Args:
            chunk: the block.
            make: returns its error, as for `Recovery.give_up`.
            more: passed to it.
            block: what is known of it already.
        """
        item = chunk.items[0]
        block = block or self._divider.describe_block(item)
        value = item if block.value is None else block.value
        error = make(value, chunk.first_index, *more, name_of(block.place, block.value))
        error.place = block.place
        outcomes = self._divider.outcomes
        return error if outcomes is None else outcomes.gave_up(item, error, block)

    def joined(self, assembly: Assembly) -> Any:
        """Return the outcome of a block whose parts all have theirs."""
        return joined(assembly.chunk, assembly.outcomes, self._divider)


def grouped(pieces: list[Any], runs_at_once: Callable[[FailedRecord], bool]) -> list[list[Any]]:
    """Return the pieces of a block to retry.

    Neighbouring records that run again at once are in one list.
    """
    groups: list[list[Any]] = []
    before: FailedRecord | None = None
    for piece in pieces:
        at_once = isinstance(piece, FailedRecord) and runs_at_once(piece)
        if at_once and before is not None and before.place.end == piece.place.start:
            groups[-1].append(piece)
        else:
            groups.append([piece])
        before = piece if at_once else None
    return groups


def have_failed(group: list[Any]) -> bool:
    """Tell whether a group is of records that failed, not of results."""
    return isinstance(group[0], FailedRecord)


def divided(chunk: Chunk, items: list[Any]) -> Chunk:
    """Return a chunk of the parts of an item, which replaces it from now on."""
    return Chunk(
        chunk.call,
        chunk.seq,
        items,
        chunk.first_index,
        parent=chunk.parent or chunk,
        position=chunk.position,
        attempt=chunk.attempt,
        failures=chunk.failures,
        divides=True,
    )
