"""Delivers a chunk to the consumer: applies `on_error`, and keeps items that are given up.

Owner: the stage, in its consumer's thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.counts import SHOWN_FAILURES, StageCounts
from orchestrator.engine.protocol.functions import name_of
from orchestrator.engine.protocol.spilled import Spilled
from orchestrator.engine.recovery.assembly import FailedItem, InPart
from orchestrator.engine.recovery.dead_letter_sinks import open_dead_letters
from orchestrator.engine.recovery.item_errors import Failure, dead_letter, headline
from orchestrator.engine.recovery.recovery import Recovery
from orchestrator.errors import ItemError
from orchestrator.settings import MapOptions
from orchestrator.sinks.given import NodeSink
from workers.errors.capture import ExceptionRecord

if TYPE_CHECKING:
    from workers.functions.runner import Failures


class Delivery(NamedTuple):
    """The results of one chunk in item order, then perhaps the error that ends the call."""

    results: list[Any]
    error: ItemError | None
    items: int
    first_index: int
    size_bytes: int
    """Of the items and the results together, as they travelled."""
    pieces: list[tuple[int, Any]] | None = None
    """In the place of `results`, if some are on disk: by the item's position, lists of results or `Spilled`."""


class Deliveries:
    """Makes the deliveries of one call."""

    def __init__(
        self, options: MapOptions, function: object, recovery: Recovery, counts: StageCounts, *, grouped: bool
    ) -> None:
        """Open the dead letters, if they are kept.

        Args:
            options: of the call.
            function: what it runs.
            recovery: knows the errors of items that are blocks of records.
            counts: where what comes out is counted.
            grouped: whether an item's outcome is a list of results, as of fused steps.

        Raises:
            ConfigError: dead letters can't be written where they are to go.
        """
        self._on_error = options.on_error
        self._function = function
        self._recovery = recovery
        self._counts = counts
        self._grouped = grouped
        self._drops_none = options.drop_none and not grouped
        self.dead_letters: NodeSink | None = None
        """The sink of the items that are given up."""
        if options.dead_letters is not None:
            self.dead_letters = open_dead_letters(options.dead_letters)

    def of(self, chunk: Chunk, outcomes: list[Any]) -> Delivery:
        """Apply `on_error` to a chunk of which some items failed."""
        if self._grouped and any(type(outcome) is Spilled for _, outcome in _one_by_one(outcomes)):
            return self._in_pieces(chunk, outcomes)
        results: list[Any] = []
        error = self._collect(chunk, outcomes, results)
        return Delivery(results, error, len(chunk.items), chunk.first_index, chunk.size_bytes)

    def _in_pieces(self, chunk: Chunk, outcomes: list[Any]) -> Delivery:
        pieces: list[tuple[int, Any]] = []
        error = None
        for position, outcome in _one_by_one(outcomes):
            if type(outcome) is Spilled:
                self._counts.items += 1
                pieces.append((position, outcome))
                continue
            results: list[Any] = []
            error = self._collect(chunk, [outcome], results, position)
            pieces.append((position, results))
            if error is not None:
                break
        return Delivery([], error, len(chunk.items), chunk.first_index, chunk.size_bytes, pieces)

    def _collect(
        self, chunk: Chunk, outcomes: list[Any], results: list[Any], first: int = 0
    ) -> ItemError | None:
        """Add the results of outcomes, and return what ends the call.

        `position` is that of the first in the chunk.
        """
        add = results.extend if self._grouped else results.append
        for at, outcome in _one_by_one(outcomes):
            position = first + at
            if not isinstance(outcome, FailedItem):
                self._counts.items += 1
                if outcome is not None or not self._drops_none:
                    add(outcome)
                continue
            error = self._complete_error(outcome, chunk, position)
            self._counts.failures += 1
            if len(self._counts.first_failures) < SHOWN_FAILURES:
                self._counts.first_failures.append(headline(error))
            if self.dead_letters is not None:
                item, index = chunk.items[position], chunk.first_index + position
                self.dead_letters.write(dead_letter(error, item, index, name_of(self._function)))
            if self._on_error == "raise":
                return error
            if self._on_error == "return":
                self._counts.items += 1
                item = chunk.items[position] if error.place is None else error.item
                results.append(Failure(item, chunk.first_index + position, error))
        return None

    def _complete_error(self, failed: FailedItem, chunk: Chunk, position: int) -> ItemError:
        if isinstance(failed.what, ItemError):
            return failed.what
        index = chunk.first_index + position
        return self._recovery.error_of(failed.what, chunk.items[position], index, chunk.attempt)

    def merged(self, chunk: Chunk, results: list[Any], failures: Failures) -> list[Any]:
        """Return results and failures by position.

        A chunk that stopped at a failure has a shorter list.
        """
        failed = {position: self._failed(chunk, what) for position, what in failures}
        values = iter(results)
        positions = range(len(results) + len(failures))
        return [failed[position] if position in failed else next(values) for position in positions]

    def _failed(self, chunk: Chunk, what: ExceptionRecord | list[Any]) -> FailedItem | InPart:
        return self._recovery.in_part(chunk, what) if isinstance(what, list) else FailedItem(what)

    def close(self) -> None:
        """Close the dead letters, and drop the function."""
        self._function = None
        if self.dead_letters is not None:
            self.dead_letters.close()


def _one_by_one(outcomes: list[Any]) -> Iterator[tuple[int, Any]]:
    """Yield outcomes with the positions of their items.

    Those of a block of which records failed come one after another.
    """
    for position, outcome in enumerate(outcomes):
        if isinstance(outcome, InPart):
            for piece in outcome.pieces:
                yield position, piece
        else:
            yield position, outcome
