"""Run the user's function over the records of one chunk, and say what came of it.

Runs in the workers. The function is loaded once a process; everything else lives as long as one chunk.
"""

from __future__ import annotations

import os
import time
import traceback
from dataclasses import dataclass
from functools import partial
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

from workers import compression, context, handler
from workers.chunks import (
    KEPT_FAILURES,
    Block,
    BlockResult,
    Chunk,
    Paths,
    RecordError,
    RecordFailure,
)
from workers.formats import Records, SplitError, split
from workers.ranges import Raw, read_block, read_range
from workers.results import FAILED, Output, ResultError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_OUR_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120
_loaded: dict[tuple[str, str], Callable[[Any], Any]] = {}
"""The functions that this process has loaded, by target and folder."""


@dataclass(frozen=True, slots=True)
class RecordRunner:
    """What a worker does with a chunk; travels to each worker once."""

    target: str
    folder: str
    """Where `target` is looked for: the directory in which the command was started."""
    record_format: str = "lines"
    output_format: str = "lines"
    flat: bool = False
    errors: str = "strict"
    on_error: str = "raise"
    compression: str | None = None
    """How the output is compressed; None: not at all."""

    def __call__(self, chunk: Chunk) -> BlockResult:
        """Read the chunk, call the function with each record and return the output.

        Raises:
            RecordError: a record failed and `on_error` is "raise".
            HandlerError: the function can't be loaded here.
        """
        started_s, clock, cpu = time.time(), time.perf_counter(), time.process_time()
        run = _ChunkRun(self, chunk)
        payload = run.payload()
        if self.compression and payload:
            payload = compression.compress(self.compression, payload)
        return BlockResult(
            origin=chunk.origin,
            payload=PickleBuffer(payload) if payload else None,
            records_in=len(run.records.values) + len(run.records.bad),
            records_out=run.output.records_out,
            dropped=run.output.dropped,
            failed=run.failed,
            failures=tuple(run.failures),
            csv_fields=run.output.csv_fields,
            worker=_worker_id(),
            pid=os.getpid(),
            started_s=started_s,
            run_s=time.perf_counter() - clock,
            cpu_s=time.process_time() - cpu,
            start=run.raw.start,
            read_bytes=len(run.raw.data),
        )


class _ChunkRun:
    """One chunk's way through the function; owns the list of what failed."""

    def __init__(self, runner: RecordRunner, chunk: Chunk) -> None:
        self._runner = runner
        self._chunk = chunk
        self.failed = 0
        self.failures: list[RecordFailure] = []
        self._starts: list[int] | None = None
        self.output = Output(
            runner.output_format, flat=runner.flat, raw=runner.record_format in ("blocks", "files")
        )
        self.raw = self._read()
        self.records = self._split()

    def payload(self) -> bytes:
        """Run the function over all records and encode what it returns."""
        runner = self._runner
        for error in self.records.bad:
            self._fail(error.line_index, error, error.byte_index)
        function = _function(runner.target, runner.folder)
        call = partial(_call_flat, function) if runner.flat else function
        results = apply(call, self.records, self._record_failed)
        return self.output.encode(results, self._record_failed)

    def _read(self) -> Raw:
        chunk, text = self._chunk, self._runner.record_format != "blocks"
        if isinstance(chunk, Paths):
            return Raw(chunk.origin.path, b"", 0, None, last_of_file=True)
        if isinstance(chunk, Block):
            return read_block(chunk, text=text)
        try:
            return read_range(chunk, text=text)
        except OSError as error:
            said = f"can't be read: {error.strerror}"
            failure = RecordFailure(chunk.origin.path, None, None, type(error).__name__, said, "")
            raise RecordError(failure, self._chunk.origin) from None

    def _split(self) -> Records:
        chunk, runner = self._chunk, self._runner
        if isinstance(chunk, Paths):
            return Records(list(chunk.paths))
        skip = runner.on_error == "skip"
        try:
            return split(self.raw, runner.record_format, runner.errors, chunk.fieldnames, skip=skip)
        except SplitError as error:
            failure = self._failure(error.line_index, error, error.byte_index)
            raise RecordError(failure, chunk.origin) from None

    def _record_failed(self, index: int, error: BaseException) -> None:
        """Note a failed record, or end the chunk with it."""
        if isinstance(self._chunk, Paths):
            self._keep(_failure(self._chunk.paths[index], None, None, error))
        else:
            self._fail(self.records.line_index(index), error, None)

    def _fail(self, line_index: int, error: BaseException, byte_index: int | None) -> None:
        if self.failed >= KEPT_FAILURES and self._runner.on_error == "skip":
            self.failed += 1  # counted only: what it costs to describe a failure must not grow without bound
        else:
            self._keep(self._failure(line_index, error, byte_index))

    def _keep(self, failure: RecordFailure) -> None:
        if self._runner.on_error != "skip":
            raise RecordError(failure, self._chunk.origin) from None
        self.failed += 1
        if len(self.failures) < KEPT_FAILURES:
            self.failures.append(failure)

    def _failure(self, line_index: int, error: BaseException, byte_index: int | None) -> RecordFailure:
        """Describe a failure at a line of the block, or at a byte of it where that is known better."""
        raw = self.raw
        at = raw.start + (self._start_of(line_index) if byte_index is None else byte_index)
        whole = self._runner.record_format == "blocks"  # a block of bytes has no lines
        line = None if raw.first_line is None or whole else raw.first_line + line_index
        return _failure(raw.path, line, at, error)

    def _start_of(self, line_index: int) -> int:
        if self._starts is None:
            self._starts = [0]
            for line in bytes(self.raw.data).split(b"\n"):
                self._starts.append(self._starts[-1] + len(line) + 1)
        return self._starts[min(line_index, len(self._starts) - 1)]


def apply(
    function: Callable[[Any], Any], records: Records, on_failure: Callable[[int, BaseException], None]
) -> list[Any]:
    """Call `function` with each record; FAILED stands where it raised and `on_failure` didn't.

    The loop is `list.extend(map(...))`, which runs in C. It keeps what came before an exception, so the
    number of results is the index of the record at fault; and one result too few without an exception means
    StopIteration, which `map` would otherwise pass off as the end of the records.
    """
    results: list[Any] = []
    values = records.values
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
    """Call a function that returns an iterable of records, and run through it where failures are caught."""
    result = function(record)
    if result is None:
        return None
    if isinstance(result, (str, bytes, dict)) or not hasattr(result, "__iter__"):
        kind = type(result).__name__
        raise ResultError(
            f"with --flat the function returns an iterable of records, such as a list, not {kind}"
        )
    return [value for value in result if value is not None]


def _function(target: str, folder: str) -> Callable[[Any], Any]:
    key = (target, folder)
    if key not in _loaded:
        _loaded[key] = handler.load(target, folder)
    return _loaded[key]


def _worker_id() -> int:
    try:
        return context.current().id
    except RuntimeError:  # not in a pool's worker, as in tests
        return 0


def _failure(path: str, line: int | None, at: int | None, error: BaseException) -> RecordFailure:
    name, trace = type(error).__name__, _users_part(error.__traceback__)
    try:
        text = str(error)
    except Exception:
        text = "(its text can't be had: __str__ raised)"
    if isinstance(error, SplitError):
        return RecordFailure(
            path, line, at, "UnicodeDecodeError" if "UTF-8" in text else "CsvError", text, ""
        )
    if trace is None:
        return RecordFailure(path, line, at, name, text, "")
    try:
        shown = "".join(traceback.TracebackException(type(error), error, trace).format())
    except Exception:
        shown = "".join(traceback.format_tb(trace)) + name + "\n"
    return RecordFailure(path, line, at, name, text, shown)


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    """Leave out our own frames, and those of the JSON parser that we called."""
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if not filename.startswith(_OUR_FOLDER) and not _is_our_parser(trace):
            return trace
        trace = trace.tb_next
    return None


def _is_our_parser(trace: TracebackType) -> bool:
    return str(trace.tb_frame.f_globals.get("__name__")).startswith("json.")
