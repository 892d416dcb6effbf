"""Reruns items of chunks that were lost or refused, and items that failed and may be retried.

    chunk lost, refused, or failed in part
      -> its items as chunks of one ("parts"), an assembly in the chunk's place
      -> each part's outcome, in any order, put into the assembly
      -> the assembly whole: it takes the chunk's turn in the order of results

A part is alone by construction, so the item at fault is known. If an item is a block of records,
of a file, it is divided until the record at fault is known, too (`blocks.py`).

Owner: the stage, in its consumer's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.core.retry import RetryPolicy, Verdict
from orchestrator.engine.protocol.counts import StageCounts
from orchestrator.engine.protocol.events import Ended, Lost
from orchestrator.engine.recovery.again import Again
from orchestrator.engine.recovery.assembly import (
    Assembly,
    FailedItem,
    InPart,
    part_of,
    same_chunk,
    same_item,
)
from orchestrator.engine.recovery.blocks import Blocks, divided, grouped, have_failed
from orchestrator.engine.recovery.item_errors import death_error, how_it_ended, item_error, timeout_error
from orchestrator.errors import ItemError, ItemTimeoutError, WorkerStartError
from workers.errors.capture import ExceptionRecord
from workers.errors.describe import class_names
from workers.records.blocks import FailedRecord

if TYPE_CHECKING:
    from orchestrator.sources.block_splitting import Divider, GivenUpBlock
    from workers.functions.runner import Failures

_TIMEOUT = class_names(ItemTimeoutError)
_LOADING_DEATHS = 3
_MOST_LOSSES = 3
"""How often a chunk may be lost with a node before it is suspected of that."""


class Recovery:
    """The retries, due now or later, and the assemblies that wait for them."""

    def __init__(
        self,
        policy: RetryPolicy,
        counts: StageCounts,
        whole: Callable[[Assembly], None],
        divider: Divider | None = None,
    ) -> None:
        """Start with nothing to retry.

        Args:
            policy: of the call.
            counts: where retries and deaths are counted.
            whole: told about each assembly that has all its outcomes.
            divider: knows the records of items that are blocks of them; None: they are none.
        """
        self._policy = policy
        self._blocks = None if divider is None else Blocks(divider)
        self._counts = counts
        self._whole = whole
        self.again = Again()
        """What waits to run again."""
        self._assemblies: dict[Chunk, Assembly] = {}
        self.died_loading: set[int] = set()
        """Pids of the workers that died while they loaded the function, since one has last run it."""

    def clear(self) -> None:
        """Forget everything: the call has ended."""
        self._assemblies.clear()
        self.again.clear()

    # ---- what happened ----------------------------------------------------------------------------------------

    def split(self, chunk: Chunk, size_bytes: int = 0, *, ran: bool = False) -> Assembly:
        """Run the items of a chunk each on its own.

        Args:
            chunk: a whole one.
            size_bytes: what it still holds.
            ran: whether its items have run, or may have.
        """
        assembly = self._assemblies[chunk] = Assembly(chunk, size_bytes)
        self.again.extend(self._suspect(part_of(chunk, position, ran=ran)) for position in range(len(chunk.items)))
        return assembly

    def _suspect(self, part: Chunk) -> Chunk:
        """Make a worker report its position in an item that is a block of records."""
        part.watched = self._blocks is not None
        return part

    def retry_failed(self, chunk: Chunk, results: Iterable[Any], failures: Failures) -> None:
        """Keep the results of a chunk, and run the items that failed again."""
        assembly = self._assemblies[chunk] = Assembly(chunk, chunk.size_bytes)
        failed = dict(failures)
        values = iter(results)
        for position in range(len(chunk.items)):
            if position in failed:
                self.item_failed(part_of(chunk, position), failed[position])
            else:
                assembly.put(position, next(values))
        self._finish(assembly)

    def item_failed(self, chunk: Chunk, what: ExceptionRecord | list[Any]) -> None:
        """Handle an item whose function raised: retry it if the policy says so, else keep the failure.

        Args:
            chunk: the item.
            what: what it raised; or the pieces of a block of which records failed.
        """
        if isinstance(what, list):
            if len(what) > 1:
                self._records_failed(chunk, what)
            else:
                self._record_failed(chunk, what[0])
        elif not self._tried_again(chunk, what.classes):
            self.give_up(chunk, partial(item_error, what), chunk.attempt)

    def _record_failed(self, chunk: Chunk, failed: FailedRecord) -> None:
        """Do as `item_failed`, for a block that is one record."""
        assert self._blocks is not None  # noqa: S101 - for the type checker: only blocks come in pieces
        if not self._tried_again(chunk, failed.what.classes):
            self.give_up(chunk, partial(item_error, failed.what), chunk.attempt, block=self._blocks.known(failed))

    def _records_failed(self, chunk: Chunk, pieces: list[Any]) -> None:
        """Keep the results of a block, and retry its failed records, neighbours together if due now."""
        assert self._blocks is not None  # noqa: S101 - as above
        groups = grouped(pieces, lambda record: self._delay(chunk, record.what.classes) == 0.0)
        whole = divided(chunk, self._blocks.of_failed(chunk, groups))
        assembly = self._assemblies[whole] = Assembly(whole)
        for position, group in enumerate(groups):
            if not have_failed(group):
                assembly.put(position, group[0])
        for position, group in enumerate(groups):
            part = part_of(whole, position)
            if len(group) > 1:
                self._counts.retries += len(group) - 1
                self._tried_again(part, group[0].what.classes)
            elif have_failed(group):
                self._record_failed(part, group[0])

    def _delay(self, chunk: Chunk, classes: tuple[str, ...]) -> float | None:
        index = chunk.first_index
        if chunk.parent is not None and chunk.parent.divides:
            index = (index << 32) + chunk.position  # the jitter of each record is its own
        return self._policy.delay_after(chunk.failures + 1, classes, index)

    def in_part(self, chunk: Chunk, pieces: list[Any]) -> InPart:
        """Return the outcome of a block with failed records that are not retried."""
        assert self._blocks is not None  # noqa: S101 - as above
        return self._blocks.in_part(chunk, pieces)

    def error_of(self, record: ExceptionRecord, item: Any, index: int, attempts: int) -> ItemError:
        """Return the error of an item or block that failed and is not retried."""
        if self._blocks is None:
            return item_error(record, item, index, attempts)
        return self._blocks.error_of(record, item, index, attempts)

    def give_up(
        self, chunk: Chunk, make: Callable[..., ItemError], *more: Any, block: GivenUpBlock | None = None
    ) -> None:
        """Settle a single item with its error.

        `make` returns it for the item, its index, `more` and its name.

        `block`: what is known of a block already.
        """
        if self._blocks is None:
            self.settle(chunk, make(chunk.items[0], chunk.first_index, *more))
        else:
            self.settle(chunk, self._blocks.given_up(chunk, make, more, block))

    def _tried_again(self, chunk: Chunk, classes: tuple[str, ...]) -> bool:
        """Retry a single item that failed, now or later, if the policy says so."""
        delay = self._delay(chunk, classes)
        if delay is None:
            return False
        self._counts.retries += 1
        again = same_item(chunk)
        again.failures = chunk.failures + 1
        self.again.add(again, delay)
        return True

    def send_again(self, chunk: Chunk) -> None:
        """Send a chunk before what was not sent yet."""
        self.again.add(chunk)

    def returned(self, chunk: Chunk, *, ran: bool = False) -> None:
        """Send a chunk again as it is.

        If it `ran`, nothing else may be in its worker, which it might kill.
        """
        again = same_chunk(chunk, ran=ran)
        again.alone = again.alone or ran
        self.again.add(again)

    def function_ran(self) -> None:
        """Take in that a worker has loaded and run the function.

        Workers that died of that before don't count any more.
        """
        self.died_loading.clear()

    def lost(self, event: Lost) -> None:
        """Handle the loss of a chunk with its worker.

        It, or its items, run again, or are given up.
        """
        chunk, ended = event.chunk, event.ended
        if ended is not None and ended.reason == "node":
            self._lost_with_node(event, chunk)
            return
        cancelled = ended is not None and ended.reason == "cancelled" and chunk.ident == ended.ident
        if cancelled or not (event.to_blame or (event.begun and self._policy.at_most_once)):
            self.returned(chunk, ran=event.begun > 0)
        elif event.to_blame and ended is not None and ended.reason in {"timeout", "pressure"}:
            self._ended(event, chunk, ended)
        elif not event.to_blame:
            self._apart(event, chunk)
        else:
            self._counts.deaths += 1
            if ended is None and event.reading is not None and event.reading.loads is not None:
                self._died_loading(event, chunk)
            elif self._blocks is None or not self._divide_lost(event, chunk):
                self._apart(event, chunk)

    def _lost_with_node(self, event: Lost, chunk: Chunk) -> None:
        """Run a chunk again whose node is gone: as it is, but its items apart if that happens too often.

        An item that is alone by then counts as the one that worker deaths are counted for.
        """
        chunk.losses += 1
        if event.begun and self._policy.at_most_once:
            self._apart(event, chunk)
        elif chunk.losses < _MOST_LOSSES:
            self.returned(chunk, ran=event.begun > 0)
        elif chunk.parent is None and len(chunk.items) > 1:
            self._apart(event._replace(to_blame=False), chunk)
        else:
            self._counts.deaths += 1
            self._apart(event._replace(to_blame=True), chunk)

    def _apart(self, event: Lost, chunk: Chunk) -> None:
        """Run the items of a chunk that a worker died with again, each on its own, or give them up."""
        if chunk.parent is not None:
            part = same_item(chunk, ran=event.begun > 0)
            self._once_more(event, part, suspect=event.to_blame, known=True)
            return
        reading = event.reading
        at = reading.position if reading is not None and reading.ident == chunk.ident else None
        known = at is not None or len(chunk.items) == 1
        self._assemblies[chunk] = Assembly(chunk)
        for position in range(len(chunk.items)):
            begun = position < event.begun
            part = self._suspect(part_of(chunk, position, ran=begun))
            suspect = event.to_blame and at in {None, position}
            self._once_more(event._replace(begun=int(begun), to_blame=suspect), part, suspect=suspect, known=known)

    def _once_more(self, event: Lost, part: Chunk, *, suspect: bool, known: bool) -> None:
        """Run a single item again that was lost with a worker, unless that was its last try.

        Args:
            event: what happened.
            part: the item, not sent yet.
            suspect: whether the worker may have died of it.
            known: whether it did, if it is a suspect.
        """
        part.deaths += suspect
        part.alone = part.alone or part.deaths > 0
        verdict = self._policy.after_death(part.deaths, single=suspect and known)
        if verdict is Verdict.GIVE_UP or (event.begun and self._policy.at_most_once):
            tries = max(1, part.attempt - (event.begun > 0))
            self.give_up(part, partial(death_error, event), max(1, part.deaths), tries)
        else:
            self.again.add(part)

    def _died_loading(self, event: Lost, chunk: Chunk) -> None:
        """A worker died before it had the function.

        No item is to blame, and the next worker will die of it, too.

        Raises:
            WorkerStartError: so many did, and none ran anything.
        """
        self.died_loading.add(event.pid)
        if len(self.died_loading) >= max(_LOADING_DEATHS, self._policy.max_deaths):
            raise WorkerStartError(
                f"{len(self.died_loading)} workers in a row died while they loaded the function; the last one (pid "
                f"{event.pid}) {how_it_ended(event).rstrip(',')}. Check what its module does on import, "
                "and what the function refers to"
            )
        self.returned(chunk)

    def _divide_lost(self, event: Lost, chunk: Chunk) -> bool:
        """Divide a block that a worker died with, if it is more than one record: around the one that ran, or in halves.

        The death counts for that record only, and what is known of the block before it casts no suspicion on it.
        """
        reading = event.reading if event.reading is not None and event.reading.ident == chunk.ident else None
        if reading is None and not chunk.watched:
            return False
        found = self._divide(chunk, None if reading is None else reading.record)
        if found is None:
            return False
        parts, suspect = found
        for position, part in enumerate(parts):
            begun = event.begun > 0 and (suspect is None or position <= suspect)
            part.deaths, part.alone = 0, True
            seen = event._replace(begun=int(begun), to_blame=position == suspect)
            self._once_more(seen, part, suspect=position == suspect, known=True)
        return True

    def _divide(self, chunk: Chunk, record: int | None) -> tuple[list[Chunk], int | None] | None:
        """Replace a block by its parts, none of them sent yet.

        None: it is one record, or can't be read.
        """
        found = None if self._blocks is None else self._blocks.divide(chunk, record)
        if found is None:
            return None
        whole = divided(chunk, found.parts)
        self._assemblies[whole] = Assembly(whole)
        last = len(found.parts) if found.suspect is None else found.suspect  # those behind had not begun
        parts = [self._suspect(part_of(whole, at, ran=at <= last)) for at in range(len(found.parts))]
        return parts, found.suspect

    def halve(self, chunk: Chunk, size_bytes: int = 0) -> Assembly | None:
        """Run a block again in halves, as an unknown record of it is at fault.

        Returns:
            What stands in place of the chunk; None: it is one item and can't be divided.
        """
        found = self._divide(chunk, None)
        if found is None:
            return None
        self.again.extend(found[0])
        whole = chunk.parent or chunk
        if whole is chunk:
            self._assemblies[chunk] = Assembly(chunk, size_bytes)
        return self._assemblies.get(whole)

    def _ended(self, event: Lost, chunk: Chunk, ended: Ended) -> None:
        """The worker was killed because of one item, which may be of this chunk.

        All others are innocent.
        """
        position = ended.position if ended.ident == chunk.ident else None
        if position is None and ended.ident == chunk.ident and len(chunk.items) == 1:
            position = 0  # before or behind the function: unpickling the item, pickling its result
        if chunk.parent is not None or (len(chunk.items) == 1 and position is not None):
            if position is None:
                self.again.add(same_item(chunk, ran=event.begun > 0))
            else:
                self._overdue(event, chunk, ended)
            return
        self._assemblies[chunk] = Assembly(chunk)
        for at in range(len(chunk.items)):
            if at == position:
                self._overdue(event, part_of(chunk, at), ended)
            else:
                part = part_of(chunk, at, ran=at < event.begun)
                seen = event._replace(begun=int(at < event.begun), to_blame=False)
                self._once_more(seen, part, suspect=False, known=False)

    def _overdue(self, event: Lost, chunk: Chunk, ended: Ended) -> None:
        """A single item timed out, or a record of it if it is a block."""
        found = self._divide(chunk, ended.record)
        if found is not None:
            parts, suspect = found
            for position, part in enumerate(parts):
                if position != suspect:
                    self.again.add(part)
                else:
                    part.attempt = chunk.attempt
                    self._overdue(event, part, ended)
        elif not self._tried_again(chunk, _TIMEOUT):
            self.give_up(chunk, partial(timeout_error, event), chunk.attempt)

    def settle(self, chunk: Chunk, outcome: Any) -> None:
        """Enter the outcome of a single item: its result, or its `ItemError`."""
        parent = chunk.parent or chunk
        assembly = self._assemblies.get(parent)
        if assembly is None:
            assembly = self._assemblies[parent] = Assembly(parent, parent.size_bytes)
        assembly.put(chunk.position, FailedItem(outcome) if isinstance(outcome, ItemError) else outcome)
        self._finish(assembly)

    def _finish(self, assembly: Assembly) -> None:
        chunk = assembly.chunk
        if assembly.missing or self._assemblies.pop(chunk, None) is None:
            return
        if chunk.divides:
            assert self._blocks is not None  # noqa: S101 - as above
            self.settle(chunk, self._blocks.joined(assembly))
        else:
            self._whole(assembly)
