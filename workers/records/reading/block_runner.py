"""Runs the user's function over the records of one chunk, and reports the outcome.

Runs in the workers. The function is loaded once a process; everything else lives as long as one chunk.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from functools import partial
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

from workers.pickling import load
from workers.process import context
from workers.records import compression
from workers.records.blocks import (
    KEPT_FAILURES,
    Block,
    BlockResult,
    Chunk,
    FailedRecord,
    PartlyFailedError,
    Paths,
    RecordError,
    RecordFailure,
)
from workers.records.formats import registry
from workers.records.formats.format import FormatError
from workers.records.formats.output import FAILED, Output, ResultError
from workers.records.ranges import Raw
from workers.records.reading.positions import Located, UnreadableError, read
from workers.records.record_errors import describe, described
from workers.records.records import Records, SplitError
from workers.transport.forks import present
from workers.transport.watch import watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workers.errors.capture import ExceptionRecord
    from workers.records.blocks import Place
    from workers.records.formats.format import Format
    from workers.transport.watch import Watch

INLINE_BYTES = 4096
"""A failed record up to this size is kept itself, where failures are to be run again; larger ones by their place."""
_loaded: dict[tuple[str, str], Callable[[Any], Any]] = {}
"""The functions that this process has loaded, by target and folder."""


@dataclass(frozen=True, slots=True)
class RecordRunner:
    """The function that runs a chunk of blocks, sent to each worker once."""

    target: str
    folder: str
    """Where `target` is looked for: the directory in which the command was started."""
    record_format: Format
    output_format: Format | None
    """None: as the name of the chunk's file says, else lines."""
    flat: bool = False
    on_error: str = "raise"
    compression: str | None = None
    """How the output is compressed; None: not at all."""
    retries: bool = False
    """Whether records whose function raises may be retried: they are handed back then."""
    keep_failed: bool = False
    """Whether every failure is kept, and what it takes to run its record again."""

    def __load_in_worker__(self) -> None:
        """Load the function before any deadline runs, as imports may take long."""
        _function(self.target, self.folder)

    def __call__(self, chunk: Chunk) -> BlockResult:
        """Read the chunk, call the function with each record and return the output.

        Raises:
            RecordError: a record failed and `on_error` is "raise".
            PartlyFailedError: records failed that may be retried.
            HandlerError: the function can't be loaded here.
        """
        began_s, clock = time.time(), time.perf_counter()
        try:
            return self._run(chunk)
        except RecordError as error:
            error.began_s, error.run_s = began_s, time.perf_counter() - clock
            raise

    def _run(self, chunk: Chunk) -> BlockResult:
        watch = watching()
        if watch is not None:
            watch.between()
        run = _ChunkRun(self, chunk)
        payload = run.payload()
        if run.again:
            raise PartlyFailedError(run.pieces())
        if self.compression and payload and not chunk.origin.divided:
            payload = compression.compress(self.compression, payload)
        records_in = len(run.records.values) + len(run.records.bad)
        return run.result(run.output, payload, records_in, run.raw.start, run.raw.size_bytes)


class _ChunkRun:
    """One run of a chunk through the function.

    Owns the list of failures.
    """

    def __init__(self, runner: RecordRunner, chunk: Chunk) -> None:
        self._began = time.time(), time.perf_counter(), time.process_time()
        self._runner = runner
        self._chunk = chunk
        self.failed = 0
        self.failures: list[RecordFailure] = []
        self.again: dict[int, ExceptionRecord] = {}
        """What records raised that may be retried, by index."""
        self._unreadable = False
        self._results: list[Any] = []
        self._names: tuple[str, ...] | None = None
        """The columns of the input."""
        self.output = self._new_output()
        self.raw = self._read()
        self.records = self._split()
        self._located = Located(chunk, self.raw, self.records, runner.record_format)

    def payload(self) -> bytes:
        """Run the function over all records and encode what it returns."""
        runner = self._runner
        for error in self.records.bad:
            self._bad_line(error)
        function = _function(runner.target, runner.folder)
        call = partial(_call_flat, function) if runner.flat else function
        watch = watching()
        if watch is not None:
            payload = self.output.one_by_one(self._watched(call, watch), self._record_failed)
            watch.between()
            return payload
        self._results = apply(call, self.records, self._record_failed)
        return self.output.encode(self._results, self._record_failed)

    def pieces(self) -> list[BlockResult | FailedRecord]:
        """Return the results run by run, and between them the records to be retried."""
        pieces: list[BlockResult | FailedRecord] = []
        at, count = 0, len(self.records.values)
        for index in (*sorted(self.again), count):
            if at < index or (at == 0 and self.records.bad):
                pieces.append(self._piece(at, index))
            if index < count:
                place, value = self._located.place(index), self.records.value(index)
                pieces.append(FailedRecord(index, place, value, self.again[index], self.records.values[index]))
            at = index + 1
        return pieces

    def result(
        self, output: Output, payload: bytes, records_in: int, start: int, read_bytes: int
    ) -> BlockResult:
        """Return the report of the chunk, or of one piece of it.

        The failures come with the first.
        """
        failed, self.failed = self.failed, 0
        failures, self.failures = tuple(self.failures), []
        started_s, clock, cpu = self._began
        return BlockResult(
            origin=self._chunk.origin,
            payload=PickleBuffer(payload) if payload else None,
            records_in=records_in,
            records_out=output.records_out,
            dropped=output.dropped,
            failed=failed,
            failures=failures,
            names=output.names if payload else self._names,
            worker=_worker_id(),
            pid=os.getpid(),
            started_s=started_s,
            run_s=time.perf_counter() - clock,
            cpu_s=time.process_time() - cpu,
            start=start,
            read_bytes=read_bytes,
        )

    # ---- inside -----------------------------------------------------------------------------------------------

    def _new_output(self) -> Output:
        runner = self._runner
        found = runner.output_format or registry.of_name(self._chunk.origin.path)
        head = None if isinstance(self._chunk, Paths) else self._chunk.head
        self._names = None if head is None else head.names
        made = found if found is not None and found.writes else registry.find("lines")
        return Output(made.encoder, flat=runner.flat, raw=runner.record_format.is_raw)

    def _read(self) -> Raw:
        path = self._chunk.origin.path
        try:
            return read(self._chunk, self._runner.record_format)
        except (UnreadableError, FormatError) as error:
            said, name = str(error), "OSError"
        except MemoryError:
            said, name = "can't be read: there is not enough memory", "MemoryError"
        except OSError as error:
            said, name = f"can't be read: {error.strerror or error}", type(error).__name__
        self._keep(RecordFailure(path, None, None, name, said, ""))
        self._unreadable = True
        return Raw(path, b"", getattr(self._chunk, "start", 0), None, self._chunk.origin.last_of_file)

    def _split(self) -> Records:
        chunk, runner = self._chunk, self._runner
        if self._unreadable:
            return Records([])
        if isinstance(chunk, Paths):
            return Records(list(chunk.paths))
        skip = runner.on_error == "skip"
        try:
            return runner.record_format.split(self.raw, chunk.head, skip=skip)
        except SplitError as error:
            self._located = Located(chunk, self.raw, Records([]), runner.record_format)
            raise RecordError(self._no_record(error), chunk.origin) from None
        except MemoryError:
            said = "there is not enough memory for its records"
            failure = RecordFailure(chunk.origin.path, None, None, "MemoryError", said, "")
            raise RecordError(failure, chunk.origin) from None

    def _watched(self, call: Callable[[Any], Any], watch: Watch) -> Iterator[Any]:
        """Yield the result of each record, or FAILED.

        The watch is told about each before it runs.

        What is done with a result before the next is asked for is part of that record, too.
        """
        parse, present.values = self.records.parse, self.records.values
        for index, value in enumerate(self.records.values):
            watch.record(index)
            try:
                result = call(value if parse is None else parse(value))
            except BaseException as error:
                self._record_failed(index, error)
                result = FAILED
            self._results.append(result)
            yield result

    def _piece(self, at: int, end: int) -> BlockResult:
        """Encode the results of records `at` to `end` on their own."""
        output, raw = self._new_output(), self.raw
        payload = output.encode(self._results[at:end], _can_not_fail)
        spans = [] if isinstance(self._chunk, Paths) else self._located.spans[at:end]
        start, size = (spans[0].start, spans[-1].end - spans[0].start) if spans else (0, 0)
        bad = 0 if at else len(self.records.bad)
        result = self.result(output, payload, end - at + bad, raw.start + start, size)
        self._began = time.time(), time.perf_counter(), time.process_time()
        return result

    # ---- failures ---------------------------------------------------------------------------------------------

    def _record_failed(self, index: int, error: BaseException) -> None:
        """Note a failed record, or end the chunk with it."""
        if index < len(self._results):
            self._results[index] = FAILED
        if self._runner.retries:
            self.again[index] = described(error)
        elif self._has_enough():
            self.failed += 1
        else:
            place = self._located.place(index)
            kept = self.records.values[index] if self._is_kept(place) else None
            self._keep(describe(place, error, kept))

    def _bad_line(self, error: SplitError) -> None:
        if self._has_enough():
            self.failed += 1
        else:
            self._keep(self._no_record(error))

    def _has_enough(self) -> bool:
        """Whether failures are only counted, to bound the cost of describing them."""
        runner = self._runner
        return self.failed >= KEPT_FAILURES and runner.on_error == "skip" and not runner.keep_failed

    def _keep(self, failure: RecordFailure) -> None:
        if self._runner.on_error != "skip":
            raise RecordError(failure, self._chunk.origin) from None
        self.failed += 1
        self.failures.append(failure)

    def _no_record(self, error: SplitError) -> RecordFailure:
        """Describe a line that is not a record, by the byte at fault."""
        place = self._located.line_place(error)
        kept = self._located.record_bytes(place) if self._is_kept(place) else None
        return replace(describe(place, error, kept), byte_offset=self.raw.start + error.byte_index)

    def _is_kept(self, place: Place) -> bool:
        return self._runner.keep_failed and keeps(place, is_read=isinstance(self._chunk, Block))


def keeps(place: Place, *, is_read: bool) -> bool:
    """Tell whether a failed record is kept itself.

    So if it is small, or its place can't be read a second time.

    `is_read`: the coordinator has read the block, from a compressed file or a pipe.
    """
    if place.unit == "row":
        return False  # of any types; its file is there
    return is_read or place.start is None or place.end is None or place.end - place.start <= INLINE_BYTES


def _can_not_fail(_index: int, error: BaseException) -> None:
    """Do nothing where results are encoded a second time, without those that failed."""
    raise error


def apply(
    function: Callable[[Any], Any], records: Records, on_failure: Callable[[int, BaseException], None]
) -> list[Any]:
    """Call `function` with each record.

    FAILED stands where it raised and `on_failure` didn't.

    The loop is `list.extend(map(...))`, which runs in C. It keeps what came before an exception, so the
    number of results is the index of the record at fault; and one result too few without an exception means
    StopIteration, which `map` would otherwise pass off as the end of the records.
    """
    results: list[Any] = []
    values = present.values = records.values
    feed = iter(values) if records.parse is None else map(records.parse, iter(values))
    while True:
        try:
            results.extend(map(function, feed))
            if len(results) == len(values):
                return results
            error: BaseException = StopIteration("raised by the function")
        except BaseException as raised:
            error = raised
        index = len(results)
        results.append(FAILED)
        on_failure(index, error)
        if index + 1 == len(values):
            return results


def _call_flat(function: Callable[[Any], Any], record: Any) -> list[Any] | None:
    """Call a function that returns an iterable of records, and read it where failures are caught."""
    result = function(record)
    if result is None:
        return None
    if isinstance(result, (str, bytes, dict)) or not hasattr(result, "__iter__"):
        kind = type(result).__name__
        raise ResultError(
            f"with --flat the function must return an iterable of records, such as a list, not {kind}"
        )
    return [value for value in result if value is not None]


def _function(target: str, folder: str) -> Callable[[Any], Any]:
    key = (target, folder)
    if key not in _loaded:
        _loaded[key] = load.load(target, folder)
    return _loaded[key]


def _worker_id() -> int:
    try:
        return context.current().id
    except RuntimeError:  # not in a pool's worker, as in tests
        return 0
