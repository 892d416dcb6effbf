"""Reassembles chunks whose items run one by one.

Pure but for what items are.

    chunk of items   -> a part an item                     an assembly: the outcomes by position
    block of records -> a chunk that divides it, of parts  an assembly too; whole, it is joined to the block's outcome

Owner of an assembly: the recovery of its stage.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.spilled import Spilled
from workers.errors.describe import describe

if TYPE_CHECKING:
    from orchestrator.errors import ItemError
    from orchestrator.sources.block_splitting import Divider
    from workers.errors.capture import ExceptionRecord
    from workers.records.blocks import Place

_MISSING: Any = object()


class FailedItem:
    """An outcome of an item that failed."""

    __slots__ = ("what",)

    def __init__(self, what: ItemError | ExceptionRecord) -> None:
        self.what = what


class InPart:
    """An outcome of a block of which records failed, or whose results are partly on disk."""

    __slots__ = ("pieces",)

    def __init__(self, pieces: list[Any]) -> None:
        self.pieces = pieces
        """In order: lists of results, or `Spilled`; and a `FailedItem` for each record that failed."""


class Assembly:
    """A chunk whose items come back one by one."""

    __slots__ = ("chunk", "missing", "outcomes", "size_bytes")

    def __init__(self, chunk: Chunk, size_bytes: int = 0) -> None:
        self.chunk = chunk
        self.outcomes: list[Any] = [_MISSING] * len(chunk.items)
        self.missing = len(chunk.items)
        self.size_bytes = size_bytes

    def put(self, position: int, outcome: Any) -> None:
        """Enter the outcome of one item: a result or a `FailedItem`."""
        self.outcomes[position] = outcome
        self.missing -= 1


def joined(divided: Chunk, outcomes: list[Any], divider: Divider) -> Any:
    """Return the outcome of a block from those of its parts, as its call joins them."""
    assert divided.parent is not None  # noqa: S101 - for the type checker: it stands for one of its parent's items
    if divider.outcomes is not None:
        told = [each.what if isinstance(each, FailedItem) else each for each in outcomes]
        return divider.outcomes.join(divided.parent.items[divided.position], told)
    pieces: list[Any] = []
    for outcome in outcomes:
        pieces += outcome.pieces if isinstance(outcome, InPart) else [outcome]
    if any(isinstance(piece, (FailedItem, Spilled)) for piece in pieces):
        return InPart(pieces)
    return list(chain.from_iterable(pieces))


def same_chunk(chunk: Chunk, *, ran: bool) -> Chunk:
    """Return a chunk, or part of it, for another attempt, with its history.

    `ran`: it has run, or may have.
    """
    if chunk.parent is not None:
        again = same_item(chunk, ran=ran)
        again.encoded = None if ran else chunk.encoded
        return again
    again = Chunk(chunk.call, chunk.seq, chunk.items, chunk.first_index, attempt=chunk.attempt + ran)
    again.failures, again.deaths, again.watched, again.alone = chunk.failures, chunk.deaths, chunk.watched, chunk.alone
    again.encoded, again.losses = None if ran else chunk.encoded, chunk.losses
    return again


def same_item(chunk: Chunk, *, ran: bool = True) -> Chunk:
    """Return a single item for another attempt, with its history.

    `ran`: it has run once more, or may have.
    """
    again = part_of(chunk.parent or chunk, chunk.position, ran=ran)
    again.attempt, again.failures = chunk.attempt + ran, chunk.failures
    again.deaths, again.losses = chunk.deaths, chunk.losses
    again.alone = chunk.deaths > 0 or chunk.alone
    again.watched = chunk.watched
    return again


def part_of(chunk: Chunk, position: int, *, ran: bool = False) -> Chunk:
    """Return the item at `position` of a whole chunk as a chunk of its own.

    `ran`: it has run, or may have.
    """
    return Chunk(
        chunk.call,
        chunk.seq,
        [chunk.items[position]],
        chunk.first_index + (0 if chunk.divides else position),
        parent=chunk,
        position=position,
        attempt=chunk.attempt + ran,
        failures=chunk.failures if chunk.divides else 0,
        deaths=chunk.deaths,
    )


def name_of(place: Place, value: Any) -> str:
    """Return what messages call a record, or a block of them."""
    return place.describe() + ("" if value is None or value == place.path else f" ({describe(value)})")
