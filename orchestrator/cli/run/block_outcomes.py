"""Makes one `BlockResult` of a block of the command that was divided or given up.

Runs in the coordinator, only for blocks that a worker was lost with or of which records are retried.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

from orchestrator.engine.recovery.item_errors import describe_failure
from orchestrator.errors import ItemError, OrchestratorError, WorkerDiedError
from orchestrator.record_formats import format_to_write
from workers.pickling.load import HandlerError
from workers.records import compression
from workers.records.blocks import Block, BlockResult, Chunk, RecordError, RecordFailure
from workers.records.formats.composing import MisfitError
from workers.records.reading.block_runner import keeps

if TYPE_CHECKING:
    from orchestrator.sources.block_splitting import GivenUpBlock
    from workers.records.formats.composing import Composer
    from workers.records.reading.block_runner import RecordRunner


class BlockOutcomes:
    """Joins the outcomes of parts, and those given up, in the form of the command's function."""

    def __init__(self, runner: RecordRunner) -> None:
        self._runner = runner

    def gave_up(self, block: Chunk, error: ItemError, given_up: GivenUpBlock) -> Any:
        """Return a result that counts the records as failed, or the error without `--on-error skip`."""
        if isinstance(error.__cause__, RecordError | HandlerError):
            return error  # no record is to blame: the file can't be read, or the function not loaded
        failure = self._failure(block, error, given_up)
        if self._runner.on_error != "skip":
            error.__cause__ = RecordError(failure, block.origin)
            return error
        worker = -1 if error.worker is None else error.worker
        return BlockResult(
            origin=block.origin,
            payload=None,
            records_in=given_up.records,
            records_out=0,
            dropped=0,
            failed=given_up.records,
            failures=(failure,),
            names=None,
            worker=worker,
            pid=error.pid or -1,
            started_s=time.time(),
            run_s=0.0,
            cpu_s=0.0,
            start=given_up.place.start or 0,
            read_bytes=(given_up.place.end or 0) - (given_up.place.start or 0),
        )

    def _failure(self, block: Chunk, error: ItemError, given_up: GivenUpBlock) -> RecordFailure:
        place = given_up.place
        name, text, trace = describe_failure(error)
        extent = None if place.start is None or place.end is None else (place.start, place.end)
        kept = given_up.raw if self._runner.keep_failed and keeps(place, is_read=isinstance(block, Block)) else None
        return RecordFailure(
            place.path,
            place.line,
            place.start,
            name,
            text,
            trace,
            error.attempts,
            extent,
            kept,
            error.worker,
            error.pid,
            error.exitcode if isinstance(error, WorkerDiedError) else None,
        )

    def join(self, block: Chunk, outcomes: list[Any]) -> Any:
        """Return the parts' results as one, in order, or the first error among them."""
        failed = next((outcome for outcome in outcomes if isinstance(outcome, ItemError)), None)
        if failed is not None:
            return failed
        form = self._runner.output_format or format_to_write(None, block.origin.path)
        columns = form.composer(None)
        fitted = [_fitted(result, columns) for result in outcomes]
        payload = b"".join(data for _, data in fitted)
        if payload and self._runner.compression and not block.origin.divided:
            payload = compression.compress(self._runner.compression, payload)
        results = [result for result, _ in fitted]
        last = results[-1]
        return replace(
            last,
            origin=block.origin,
            payload=PickleBuffer(payload) if payload else None,
            records_in=sum(each.records_in for each in results),
            records_out=sum(each.records_out for each in results),
            dropped=sum(each.dropped for each in results),
            failed=sum(each.failed for each in results),
            failures=tuple(failure for each in results for failure in each.failures),
            names=columns.fields,
            started_s=min(each.started_s for each in results),
            run_s=sum(each.run_s for each in results),
            cpu_s=sum(each.cpu_s for each in results),
            start=min(each.start for each in results),
            read_bytes=sum(each.read_bytes for each in results),
        )


def _fitted(result: BlockResult, columns: Composer) -> tuple[BlockResult, bytes]:
    """Return a part's result, and its output with the columns of the parts before.

    A record with other columns has failed.

    Raises:
        OrchestratorError: the columns of a part with more records differ.
    """
    if result.payload is None:
        return result, b""
    data = memoryview(result.payload)
    if result.names is None:
        return result, bytes(data)
    try:
        return result, bytes(columns.add(data, result.names, result.origin.path)[1])
    except MisfitError as error:
        if result.records_in != 1:
            raise OrchestratorError(str(error)) from None
        failure = RecordFailure(result.origin.path, None, result.start, "ResultError", str(error), "")
        return replace(result, payload=None, records_out=0, failed=1, failures=(failure,)), b""
