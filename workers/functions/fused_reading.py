"""Runs fused steps of which the first reads the records of a block, record by record.

    blocks -> read -> slice of records -> step over the whole slice -> next step -> ... -> one flat list

A record that fails, in whatever step, gives nothing; the others of its block give what they give. A block of which
records failed comes back as pieces, for the coordinator to put what becomes of those records into their places.

What records give beyond what memory should hold goes to the chunk's file (`spill.py`): of one record slice by slice, of
many records when what is held of their block is too much.

Runs in the worker's main thread, which owns the state.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from workers.errors.capture import ExceptionRecord, capture
from workers.functions.chain import Chain
from workers.functions.columns.flow import Bad, Flow
from workers.functions.columns.slices import Slices
from workers.functions.fused import Tally, Written, no_file, taken
from workers.functions.lazy import SLICE_VALUES, FailedLazily, Room
from workers.functions.runner import CallSpec
from workers.functions.spill import Extent, Parts, Spill
from workers.functions.steps import StepCounts, Steps
from workers.records.blocks import FailedRecord
from workers.transport.forks import present
from workers.transport.watch import watching

if TYPE_CHECKING:
    from workers.records.reading.reader import ReadRecords, RecordReader

_MOST_OF_A_BLOCK = 8
"""A block may hold so many times what one record may: splitting the text of a block goes through memory."""
Failed = list[tuple[int, ExceptionRecord | list[Any]]]
"""By position in the chunk: what reading a block raised, or the pieces of one that failed in part."""


class ReadBlock:
    """The outcome of the records of one block."""

    __slots__ = ("failed", "flows", "good", "read")

    def __init__(self, read: ReadRecords) -> None:
        self.read = read
        self.failed: dict[int, ExceptionRecord] = {}
        """By position among what was read."""
        self.good: Sequence[int] = range(len(read.values))
        """Positions of the records that went through the steps."""
        self.flows: list[Flow | Written] = []

    @property
    def spilled(self) -> bool:
        """Whether some results are on disk."""
        return any(type(flow) is Written for flow in self.flows)

    def values(self) -> list[Any]:
        """Return all results, in order.

        None may be on disk.
        """
        return list(chain.from_iterable(flow.values for flow in self.flows))

    def outcome(self) -> list[Any] | Parts:
        """Return all results of a block of which no record failed, as they are held."""
        return Parts(self.pieces()) if self.spilled else self.values()

    def pieces(self) -> list[Any]:
        """Return a list of results, or an `Extent`, for each run of records.

        The records that failed stand between them.
        """
        groups = dict(zip(self.good, (group for flow in self.flows for group in flow.by_item()), strict=False))
        pieces: list[Any] = [[]]
        for position in range(len(self.read.values)):
            if position in self.failed:
                read, what = self.read, self.failed[position]
                value = read.value(position)
                failed = FailedRecord(read.numbers[position], read.place(position), value, what, value)
                pieces += [failed, []]
            else:
                _add(pieces, groups.get(position, ()))
        return [piece for piece in pieces if type(piece) is not list or piece]

    def refuse(self, why_not: Callable[[Any], Exception | None]) -> None:
        """Count the records as failed whose results `why_not` objects to."""
        at = 0
        for flow in self.flows:
            for number, group in enumerate(flow.by_item()):
                error = why_not(group)
                if error is not None:
                    self.failed.setdefault(self.good[at + number], capture(error))
            at += flow.size


def _add(pieces: list[Any], group: Any) -> None:
    """Add what a record gave to the run of records that ends the pieces."""
    last = pieces[-1]
    if type(group) is not Extent:
        if type(last) is not list:
            pieces.append([])
        pieces[-1] += group
    elif type(last) is Extent and last.end == group.start:
        pieces[-1] = Extent(last.start, group.end)
    else:
        pieces.append(group)


class ReadResults:
    """The outcome of a chunk of blocks."""

    def __init__(self, blocks: list[ReadBlock | ExceptionRecord], tally: Tally) -> None:
        self._blocks = blocks
        self.tally = tally
        self.spilled = any(block.spilled for block in self._whole())
        """Whether results may be an `Extent` of the chunk's file."""

    @property
    def failures(self) -> Failed:
        """The blocks that failed, or records of which did, by position in the chunk."""
        found: Failed = []
        for position, block in enumerate(self._blocks):
            if isinstance(block, ExceptionRecord):
                found.append((position, block))
            elif block.failed:
                found.append((position, block.pieces()))
        return found

    def flat(self) -> list[Any]:
        """Return all results, in order."""
        return list(chain.from_iterable(block.values() for block in self._whole()))

    def by_item(self, *, stop: bool) -> list[list[Any] | Parts]:  # noqa: ARG002 - as of FusedResults; nothing stands behind
        """Return the results of each block that did not fail, not even in part."""
        return [block.outcome() for block in self._whole() if not block.failed]

    def refuse(self, why_not: Callable[[Any], Exception | None]) -> None:
        """Count the records as failed whose results `why_not` objects to."""
        for block in self._whole():
            block.refuse(why_not)

    def _whole(self) -> list[ReadBlock]:
        return [block for block in self._blocks if isinstance(block, ReadBlock)]


class RecordsRunner:
    """One call of such steps in this worker."""

    def __init__(
        self, spec: CallSpec, steps: Steps, ask_file: Callable[[], tuple[str, str]] | None = None
    ) -> None:
        """Prepare the steps.

        Without `ask_file` (see `Spill`), all results are held in memory.
        """
        self.spec = spec
        self._step = steps.steps[0]
        self._reader = cast("RecordReader", self._step.function)
        self._counts = [StepCounts()]
        self._most_held = sys.maxsize if ask_file is None else steps.most_held
        self._room = Room(self._most_held)
        self._spill = Spill(ask_file or no_file)
        self._chain = Chain(steps.steps[1:], self._counts, stop=spec.stop_at_failure, room=self._room)
        self._slices = Slices()

    def run(
        self, items: Sequence[Any], abandoned: Callable[[], bool], began: Callable[[int], None] | None = None
    ) -> ReadResults:
        """Read the blocks and run all steps over their records, or fewer if abandoned.

        With `began`, record by record; it is told the position of each block before it is read.
        """
        blocks: list[ReadBlock | ExceptionRecord] = []
        for position, item in enumerate(items):
            if began is not None:
                began(position)
            block = self._block(item, abandoned)
            blocks.append(block)
            failed = isinstance(block, ExceptionRecord) or block.failed
            if (failed and self.spec.stop_at_failure) or abandoned():
                break
        self._spill.close()
        present.values = ()
        return ReadResults(blocks, taken(self._counts))

    def _block(self, item: Any, abandoned: Callable[[], bool]) -> ReadBlock | ExceptionRecord:
        counts = self._counts[0]
        counts.items_in += 1
        started = perf_counter()
        watch = watching()
        if watch is not None:
            watch.between()
        try:
            read = self._reader.open(item)
        except BaseException as error:
            counts.failed += 1
            return self._captured(error)
        counts.items_out += len(read.values) - len(read.failed)
        counts.failed += len(read.failed)
        counts.seconds += perf_counter() - started
        block = ReadBlock(read)
        if read.failed:
            self._leave_out(block)
        self._through(block, abandoned)
        return block

    def _captured(self, error: BaseException) -> ExceptionRecord:
        return replace(capture(error), step=self._step.name, workflow=self._step.workflow)

    def _leave_out(self, block: ReadBlock) -> None:
        """Enter the records that can't be read.

        With `stop`, what stands behind the first is not run.
        """
        failed = block.read.failed
        end = len(block.read.values)
        if self.spec.stop_at_failure:
            end = min(failed)
            failed = {end: failed[end]}
        block.failed = {position: self._captured(error) for position, error in failed.items()}
        block.good = [position for position in range(end) if position not in failed]

    def _through(self, block: ReadBlock, abandoned: Callable[[], bool]) -> None:
        good, values = block.good, block.read.values
        if block.failed:
            values = [values[position] for position in good]
        watch = watching()
        total, held = len(values), 0

        def run(done: int, wanted: int) -> tuple[int, bool]:
            nonlocal held
            flow = self._slice(values if wanted == total else values[done : done + wanted], abandoned)
            block.flows.append(flow)
            failures = {done + position: what for position, what in flow.failures.items()}
            held += self._room.weight(flow.values, wanted)
            if held > _MOST_OF_A_BLOCK * self._most_held:
                failures.update(self._relieve(block, abandoned))
                held = 0
            if failures and self.spec.stop_at_failure:
                block.failed = {}
            block.failed.update((good[position], what) for position, what in failures.items())
            return wanted, not (failures and self.spec.stop_at_failure)

        def began(at: int) -> None:
            if watch is not None:
                watch.record(block.read.numbers[good[at]])

        self._slices.run(values, run, abandoned, None if watch is None else began)
        if watch is not None:
            watch.between()

    def _slice(self, records: Sequence[Any], abandoned: Callable[[], bool]) -> Flow | Written:
        flow = Flow(records)
        self._room.exceeded = False
        self._chain.run(flow)
        if not self._room.exceeded:
            return flow
        return Written(flow, self._spill, abandoned, stop=self.spec.stop_at_failure)

    def _relieve(self, block: ReadBlock, abandoned: Callable[[], bool]) -> Bad:
        """Write what is held of a block.

        Returns what can't be written, by position among the good records.
        """
        failures: Bad = {}
        at = 0
        for number, flow in enumerate(block.flows):
            end = at + flow.size
            if type(flow) is Flow:
                together = not flow.failures and block.good[end - 1] - block.good[at] == flow.size - 1
                block.flows[number] = written = self._written(flow, abandoned, together=together)
                failures.update((at + position, what) for position, what in written.failures.items())
            at = end
        return failures

    def _written(self, flow: Flow, abandoned: Callable[[], bool], *, together: bool) -> Written:
        """Write the results of all records of a slice.

        `together` if none of them is at fault, or stands between them.
        """
        if together:
            values = flow.values
            slices = (list(values[at : at + SLICE_VALUES]) for at in range(0, len(values), SLICE_VALUES))
            try:
                extent = self._spill.write(slices, abandoned)
            except FailedLazily:
                pass  # one by one, to find whose results are at fault
            else:
                flow = Flow([()] * flow.size)
                flow.spread((), [0] * (flow.size + 1))
                written = Written(flow, self._spill, abandoned, stop=False)
                written.groups[0] = extent
                return written
        return Written(flow, self._spill, abandoned, stop=False, everything=True)


def reader_of(steps: Steps) -> RecordReader | None:
    """Return the reader of blocks, if the first of these steps is one."""
    first = steps.steps[0]
    reading = sys.modules.get("workers.records.reading.reader")  # loaded by whoever made the steps, or unpickled them
    if reading is None or first.when is not None or not isinstance(first.function, reading.RecordReader):
        return None
    return cast("RecordReader", first.function)
