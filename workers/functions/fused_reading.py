"""Fused steps of which the first reads the records of a block: then each record is what runs, fails and is timed.

    blocks -> read -> slice of records -> step over the whole slice -> next step -> ... -> one flat list

A record that fails, in whatever step, gives nothing; the others of its block give what they give. A block of which
records failed comes back as pieces, for the coordinator to put what becomes of those records into their places.

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
from workers.functions.flow import Flow
from workers.functions.fused import Chain, Tally, taken
from workers.functions.lazy import Room
from workers.functions.runner import CallSpec, Pace
from workers.functions.steps import StepCounts, Steps
from workers.records.blocks import FailedRecord
from workers.transport.watch import watching

if TYPE_CHECKING:
    from workers.records.reader import ReadRecords, RecordReader

Failed = list[tuple[int, ExceptionRecord | list[Any]]]
"""By position in the chunk: what reading a block raised, or the pieces of one that failed in part."""


class ReadBlock:
    """What came of the records of one block."""

    __slots__ = ("failed", "flows", "good", "read")

    def __init__(self, read: ReadRecords) -> None:
        self.read = read
        self.failed: dict[int, ExceptionRecord] = {}
        """By position among what was read."""
        self.good: Sequence[int] = range(len(read.values))
        """Positions of the records that went through the steps."""
        self.flows: list[Flow] = []

    def values(self) -> list[Any]:
        """Return all results, in order."""
        return list(chain.from_iterable(flow.values for flow in self.flows))

    def pieces(self) -> list[Any]:
        """Return a list of results for each run of records, and between them the records that failed."""
        groups = dict(zip(self.good, (group for flow in self.flows for group in flow.by_item()), strict=False))
        pieces: list[Any] = [[]]
        for position in range(len(self.read.values)):
            if position in self.failed:
                read, what = self.read, self.failed[position]
                value = read.value(position)
                failed = FailedRecord(read.numbers[position], read.place(position), value, what, value)
                pieces += [failed, []]
            else:
                pieces[-1] += groups.get(position, ())
        return [piece for piece in pieces if type(piece) is not list or piece]

    def refuse(self, why_not: Callable[[Any], Exception | None]) -> None:
        """Take the records for failed whose results `why_not` objects to."""
        at = 0
        for flow in self.flows:
            for number, group in enumerate(flow.by_item()):
                error = why_not(group)
                if error is not None:
                    self.failed.setdefault(self.good[at + number], capture(error))
            at += flow.size


class ReadResults:
    """What came of a chunk of blocks."""

    spilled = False

    def __init__(self, blocks: list[ReadBlock | ExceptionRecord], tally: Tally) -> None:
        self._blocks = blocks
        self.tally = tally

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

    def by_item(self, *, stop: bool) -> list[Sequence[Any]]:  # noqa: ARG002 - as of FusedResults; nothing stands behind
        """Return the results of each block that did not fail, not even in part."""
        return [block.values() for block in self._whole() if not block.failed]

    def refuse(self, why_not: Callable[[Any], Exception | None]) -> None:
        """Take the records for failed whose results `why_not` objects to."""
        for block in self._whole():
            block.refuse(why_not)

    def _whole(self) -> list[ReadBlock]:
        return [block for block in self._blocks if isinstance(block, ReadBlock)]


class RecordsRunner:
    """One call of such steps in this worker."""

    def __init__(self, spec: CallSpec, steps: Steps) -> None:
        self.spec = spec
        self._step = steps.steps[0]
        self._reader = cast("RecordReader", self._step.function)
        self._counts = [StepCounts()]
        self._chain = Chain(steps.steps[1:], self._counts, stop=spec.stop_at_failure, room=Room(sys.maxsize))
        self._pace = Pace()

    def run(
        self, items: Sequence[Any], abandoned: Callable[[], bool], began: Callable[[int], None] | None = None
    ) -> ReadResults:
        """Read the blocks and run all steps over their records; over fewer of them if abandoned.

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
        """Enter the records that can't be read; with `stop`, what stands behind the first is not run."""
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
        total, done = len(values), 0
        while done < total:
            wanted = min(self._pace.items, total - done)
            if watch is not None:
                wanted = 1
                watch.record(block.read.numbers[good[done]])
            flow = Flow(values if wanted == total else values[done : done + wanted])
            started = perf_counter()
            self._chain.run(flow)
            self._pace.took(wanted, perf_counter() - started)
            block.flows.append(flow)
            if flow.failures:
                if self.spec.stop_at_failure:
                    block.failed = {}
                for position, what in flow.failures.items():
                    block.failed[good[done + position]] = what
                if self.spec.stop_at_failure:
                    break
            done += wanted
            if done < total and abandoned():
                break
        if watch is not None:
            watch.between()


def reader_of(steps: Steps) -> RecordReader | None:
    """Return what reads the records of blocks, if that is what the first of these steps does."""
    first = steps.steps[0]
    reading = sys.modules.get("workers.records.reader")  # loaded by whoever made the steps, or unpickled them
    if reading is None or first.when is not None or not isinstance(first.function, reading.RecordReader):
        return None
    return cast("RecordReader", first.function)
