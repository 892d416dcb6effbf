"""The plan of a run, checked against the disk before a worker starts."""

# ruff: noqa: PTH109, PTH112
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.cli.run.dead_letters import LetterSource, check_letters
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.pool.engines import ADDRESSES
from orchestrator.record_formats import format_to_read, format_to_write, refuse_unresumable
from orchestrator.sinks.disk.output_file import output_file
from orchestrator.sinks.files import FileSink, FolderSink, output_names, refuse_input
from orchestrator.sources.block_sizes import SMALLEST_BYTES, block_bytes_for
from orchestrator.sources.files import FileSource
from orchestrator.sources.inputs import STDIN, Input, expand, mean_record_bytes, options_of
from workers.pickling import load
from workers.records import compression, file_names
from workers.records.blocks import Block, ByteRange
from workers.records.reading.block_runner import RecordRunner
from workers.records.remote import is_url

if TYPE_CHECKING:
    from orchestrator.cli.run.options import RunSettings
    from orchestrator.sinks import Sink
    from workers.records.formats.format import Format

_SMALLEST_COMPRESSED = 64 * 1024
"""Each block is compressed by itself: smaller ones compress badly. As records, too, bytes come in no smaller pieces."""
_LARGEST_BLOCK = 2 * 1024 * 1024
"""What a worker makes of a block, decoded and split, should still fit into its CPU's cache."""
_BLOCKS_A_WORKER = 32
"""Enough blocks that all workers end at about the same time."""
_JSON = ".json"
"""No format of ours, but rows of CSV are not wanted there."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The settings of `run`, and what follows from them."""

    settings: RunSettings
    inputs: tuple[Input, ...]
    block_bytes: int
    source: FileSource | LetterSource
    runner: RecordRunner
    to_folder: bool
    names: tuple[str, ...]
    """The files that outputs in a folder are named after."""
    blocks_per_worker: int | None
    """A worker that was given so many is replaced."""

    @property
    def to_stdout(self) -> bool:
        """Whether the output goes to standard output."""
        return self.settings.output == STDIN

    @property
    def counts_files(self) -> bool:
        """Whether progress is counted in files, not in bytes."""
        return self.runner.record_format.unit == "file"


def make_plan(settings: RunSettings) -> RunPlan:
    """Look at the inputs, load the function, check the output.

    Raises:
        ConfigError: anything that can be found wrong without running.
    """
    name, reading = settings.record_format, settings.reading
    named = None if name is None else format_to_read(name, (), **reading)  # before a missing file is told
    inputs = expand(settings.inputs, settings.storage_options)
    record_format = named or format_to_read(None, [entry.path for entry in inputs], **reading)
    output, failing = settings.output, settings.failing
    to_folder = output != STDIN and (output.endswith("/") or os.path.isdir(output))
    letters = None if failing.retry_dead is None else LetterSource(failing.retry_dead, record_format)
    names = [entry.path for entry in inputs] if letters is None else letters.names
    _check_output(output, names, record_format, to_folder=to_folder)
    refuse_input(output, [entry.path for entry in inputs])
    if failing.dead_letter is not None:
        refuse_input(failing.dead_letter, names)
        others = {"the output": output, "the job log": settings.joblog or STDIN}
        check_letters(failing.dead_letter, failing.retry_dead, others, resumes=settings.resuming.resume)
    output_format = _output_format(settings, record_format, to_folder=to_folder)
    if settings.resuming.folder is not None:
        for path in output_names(output, names) if to_folder else [output]:
            refuse_unresumable(output_format or format_to_write(None, path), path)
    kind = None if to_folder else file_names.compression_of(output)
    try:
        compression.require(kind)
        with contextlib.redirect_stdout(sys.stderr) if output == STDIN else contextlib.nullcontext():
            load.load(settings.target)
    except (load.HandlerError, compression.CompressionError) as mistake:
        raise ConfigError(str(mistake)) from None
    block_bytes = _block_bytes(settings, inputs, record_format)
    paths_a_chunk = (settings.chunk_records or 1) if not to_folder else 1
    source = letters or FileSource(
        inputs,
        record_format,
        block_bytes,
        paths_a_chunk=paths_a_chunk,
        max_record_bytes=settings.max_record_bytes,
        names_end=b"\0" if settings.null else b"\n",
    )
    runner = RecordRunner(
        target=settings.target,
        folder=os.getcwd(),
        record_format=record_format,
        output_format=output_format,
        flat=settings.flat,
        on_error=failing.on_error,
        compression=kind,
        retries=bool(failing.retries),
        keep_failed=failing.dead_letter is not None,
    )
    limited = settings.limits.records is not None
    per_worker = _blocks_per_worker(settings, inputs, block_bytes, record_format) if limited else None
    return RunPlan(settings, tuple(inputs), block_bytes, source, runner, to_folder, tuple(names), per_worker)


def pool_options(plan: RunPlan) -> dict[str, Any]:
    """Return the arguments of the `Pool` that runs the plan."""
    settings, limits = plan.settings, plan.settings.limits
    options: dict[str, Any] = {
        "workers": settings.sizing,
        "start_method": settings.start_method,
        "engine": settings.engine,
        "memory_limit": limits.memory_bytes,
        "memfree": limits.memfree_bytes,
        "threads_per_worker": limits.threads,
        "items_per_worker": plan.blocks_per_worker,
    }
    if settings.buffer_bytes is not None:
        options["buffer_bytes"] = settings.buffer_bytes
    if limits.nice is not None:
        options |= {"initializer": os.nice, "initargs": (limits.nice,)}
    if limits.finish is not None:
        options["finalizer"] = partial(load.call, limits.finish, os.getcwd())
    return options


def open_sink(plan: RunPlan) -> Sink:
    """Open the output.

    Raises:
        ConfigError: it can't be written to.
    """
    if plan.to_folder:
        return FolderSink(plan.settings.output, plan.names, plan.runner.output_format)
    sink = FileSink(plan.settings.output, plan.runner.output_format, options_of(plan.settings.storage_options))
    if plan.settings.resuming.folder is None:  # else what an earlier run has left is opened
        try:
            sink.open()
        except OrchestratorError as error:
            raise ConfigError(str(error)) from None
    return sink


def describe(plan: RunPlan) -> str:
    """Return the text of `--dry-run`."""
    settings, count = plan.settings, plan.source.chunk_count()
    size = plan.source.total_bytes
    amount = "of unknown size" if size is None else f"{size:,} bytes"
    chunks = "unknown until it is read" if count is None else f"{count:,}"
    if not plan.counts_files:
        chunks += f", of about {plan.block_bytes:,} bytes"
    names = "\n".join(f"              {entry.path}" for entry in plan.inputs[:20])
    more = f"\n              … and {len(plan.inputs) - 20} more" if len(plan.inputs) > 20 else ""
    output = "standard output" if plan.to_stdout else settings.output + (" (a file each)" if plan.to_folder else "")
    return (
        f"function:     {settings.target}\n"
        f"inputs:       {len(plan.inputs)} ({amount}), read as {plan.runner.record_format.name}\n{names}{more}\n"
        f"chunks:       {chunks}\n"
        f"workers:      {_workers(settings)}\n"
        f"output:       {output}, {'in order' if settings.ordered else 'as ready'}, "
        f"as {form.name if (form := plan.runner.output_format) else 'the name of each says'}\n"
        f"on error:     {settings.failing.describe()}\n"
        f"limits:       {settings.limits.describe()}\n"
    )


def _workers(settings: RunSettings) -> str:
    if settings.engine == "local":
        return f"{settings.sizing} ({settings.start_method})"
    if settings.engine.startswith(tuple(ADDRESSES)):
        return f"{'all' if settings.sizing.by_default else f'at most {settings.sizing}'} of {settings.engine}"
    return f"those of the {settings.engine} engine"


def describe_chunk(chunk: Any) -> str | None:
    """Describe what a worker was given, for the status of a run."""
    if isinstance(chunk, ByteRange):
        return f"{chunk.origin.path}, bytes {chunk.start:,} to {chunk.end:,}"
    if isinstance(chunk, Block):
        return f"{chunk.origin.path}, from line {chunk.first_line:,}"
    more = f" and {len(chunk.paths) - 1} more" if len(chunk.paths) > 1 else ""
    return f"{chunk.paths[0]}{more}"


def _check_output(output: str, names: list[str], record_format: Format, *, to_folder: bool) -> None:
    """Refuse impossible outputs, before anything is loaded or made."""
    if output == STDIN:
        return
    if to_folder and is_url(output):
        raise ConfigError(f"{output} would be a folder of outputs, which can't be behind a URL; name one output")
    if is_url(output):
        return
    if to_folder:
        if record_format.unit == "file" and STDIN in names:
            raise ConfigError("paths from standard input can't be written to a folder; name an output file")
        output_names(output, names)
        return
    refuse_input(output, names)
    output_file(output)


def _output_format(settings: RunSettings, record_format: Format, *, to_folder: bool) -> Format | None:
    """Return how results are written.

    None: as the name of each output in the folder says.
    """
    if settings.output_format or not to_folder:
        form = format_to_write(settings.output_format, settings.output)
        if settings.output_format or form.name != "lines":
            return form
    if record_format.name == "csv" and not file_names.without_compression(settings.output).endswith(_JSON):
        return format_to_write("csv", settings.output)
    return None if to_folder else form


def _blocks_per_worker(settings: RunSettings, inputs: list[Input], block_bytes: int, form: Format) -> int:
    """Return how many blocks hold about as many records as a worker may run."""
    records = settings.limits.records or 1
    if settings.failing.retry_dead is not None:
        return records
    if form.unit == "file":
        return max(1, records // (settings.chunk_records or 1))
    if form.unit == "block":
        return records
    return max(1, records * mean_record_bytes(inputs, form) // block_bytes)


def _block_bytes(settings: RunSettings, inputs: list[Input], form: Format) -> int:
    """Choose how much a worker gets at a time, at most what it may run in its life."""
    found = _wanted_block_bytes(settings, inputs, form)
    records = settings.limits.records
    if records is None or settings.block_bytes is not None or form.unit in {"block", "file"}:
        return found
    return min(found, records * mean_record_bytes(inputs, form))


def _wanted_block_bytes(settings: RunSettings, inputs: list[Input], form: Format) -> int:
    if settings.block_bytes is not None:
        return settings.block_bytes
    if settings.chunk_records is not None and form.unit != "file":
        return settings.chunk_records * mean_record_bytes(inputs, form)
    coarse = form.unit == "block" or file_names.compression_of(settings.output) is not None
    least = max(_SMALLEST_COMPRESSED if coarse else SMALLEST_BYTES, form.least_block_bytes)
    return block_bytes_for(inputs, settings.workers * _BLOCKS_A_WORKER, _LARGEST_BLOCK, least)
