"""Streams describe flows of items step by step, and run together over a pool.

    lines = Stream.read("logs/*.jsonl.gz", format="jsonl")
    good, bad = lines.map(clean, retries=2).route({"good": is_good}, default="bad").values()
    report = run(good.window(100).map_inline(mean).to("means.txt"), bad.to("bad.jsonl"), progress=True)

A stream only describes: nothing is read and nothing starts before it is iterated, collected or run. It never changes,
and each of its outputs is consumed once; `broadcast` gives several. Functions of `map`, `filter`, `flat_map` and
`through` run in the workers, neighbours as one; all others run in the coordinator, which is this process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from orchestrator.errors import ConfigError
from orchestrator.graph.barrier import BarrierNode
from orchestrator.graph.sinks import SinkNode, as_sink
from orchestrator.graph.sources import may_block
from orchestrator.pool.internals import internals_of
from orchestrator.pool.workflow import Workflow, check_hook
from orchestrator.record_formats import format_to_read
from orchestrator.settings import MAP_OPTIONS, map_options, parse_limit
from orchestrator.streams.described import (
    Files,
    apart,
    check,
    port_of,
    rated,
    refuse_uncallable,
    sink_behind,
    source_op,
)
from orchestrator.streams.dividing import Dividing
from orchestrator.streams.gathering import Gathering
from orchestrator.streams.patterns import inline
from orchestrator.streams.picking import Picking
from orchestrator.streams.plan import Op, Plan, Port
from orchestrator.streams.running import Terminal, iterate, lists_of
from orchestrator.streams.uniting import Uniting
from orchestrator.streams.windowing import Windowing
from workers.errors.describe import type_name
from workers.errors.nearest import did_you_mean
from workers.records.reading.reader import RecordReader

if TYPE_CHECKING:
    from os import PathLike

    from orchestrator.event_loops.results import AsyncResults
    from orchestrator.graph.flow.node import Node
    from orchestrator.pool.pool import Pool
    from orchestrator.settings import Retries

_BLOCK_BYTES = 1 << 20
_BLOCKS = 256
"""Of all files together, at least; the same on every machine, so that a run can be resumed on another one."""


class Stream(Dividing, Uniting, Windowing, Picking, Gathering):
    """A flow of items, made from an iterable, or by `read` and the merging methods.

    Args:
        iterable: what gives the items. Queues (up to None), connections, sockets, pipes and async iterables, which make
            their reader wait, are read by a thread into a bounded buffer; everything else is read inline.
        name: what reports and errors call it.
        blocking: True to have any other iterable read by a thread, too.
    """

    __slots__ = ()

    def __init__(self, iterable: Iterable[Any] | Any, *, name: str = "source", blocking: bool | None = None) -> None:
        threaded = may_block(iterable) and not isinstance(iterable, Stream) if blocking is None else blocking
        if not threaded and not hasattr(iterable, "__iter__") and not hasattr(iterable, "__getitem__"):
            raise ConfigError(f"a stream needs an iterable, not {type_name(type(iterable))}: Stream(items)")
        self._port = Port(source_op(iterable, name, threaded=threaded), 0)

    @classmethod
    def read(
        cls,
        paths: str | PathLike[str] | Iterable[str | PathLike[str]],
        format: str | None = None,  # noqa: A002 - the contract's name
        *,
        encoding: str | None = None,
        errors: str | None = None,
        delimiter: str | None = None,
        quote: str | None = None,
        header: bool | str | Sequence[str] | None = None,
        columns: str | Sequence[str] | None = None,
        as_: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        block_bytes: int | None = None,
        max_record: int | str = "256M",
    ) -> Self:
        """Read the records of files, URLs, patterns and standard input ("-"), plain or compressed.

        Compressed is .gz, .bz2, .xz, and .zst as an extra.

        Plain files travel as byte ranges: the workers read them, and run the steps that follow at once. Pipes and the
        like are read here, as they come; nothing else in the graph waits for them. Each run reads what the files hold
        when it begins; one that changes meanwhile gives that, or fails by name.

        Args:
            paths: one or several.
            format: "lines" (str), "jsonl" (what it means), "csv" (a dict a row), "blocks" (bytes), "files" (paths), or
                another that `orchestrator run --help` tells of; None: "lines", or what the files' names say where that
                is not text.
            encoding: of text: "latin-1", "utf-16" or any other that Python knows; UTF-8 by default.
            errors: bytes that are not of the encoding: "strict" (as by default) fails, "replace" puts U+FFFD there.
            delimiter: of CSV: one character, or "auto": as the beginning of each file tells; a comma by default, a tab
                in files .tsv.
            quote: of CSV: one character, or "none": fields are never quoted; a double quotation mark by default.
            header: of CSV: False: the first row is a record, and a record is a list; a list of names (or "a,b,c"):
                these are the columns, and the first row is a record.
            columns: of Parquet and Arrow: those that are read, as a list or "a,b".
            as_: of Parquet and Arrow: "dicts", one a row; "table", "pandas" or "polars": all rows of a range as one
                item.
            storage_options: of fsspec's file systems, for URLs.
            block_bytes: how much of a file goes to a worker at a time, and the size of a record of "blocks"; None: by
                the size of the files, at most 1 MiB.
            max_record: bytes (or "1G"); a longer record is not read, and fails. 0: no limit.

        Raises:
            ConfigError: a file is missing or can't be read, or there is no such format.
        """
        from orchestrator.sources.block_sizes import SMALLEST_BYTES, block_bytes_for  # noqa: PLC0415 - only for those who read
        from orchestrator.sources.files import FileSource  # noqa: PLC0415 - as above
        from orchestrator.sources.inputs import columns_of, expand, looked_at_again, of_inputs  # noqa: PLC0415 - as above

        named = [paths] if isinstance(paths, str) or hasattr(paths, "__fspath__") else list(paths)
        names = [str(name) for name in named]
        inputs = expand(names, storage_options)
        form = format_to_read(
            format,
            [entry.path for entry in inputs],
            encoding=encoding,
            errors=errors,
            delimiter=delimiter,
            quote=quote,
            header=header,
            columns=columns,
            as_=as_,
        )
        least = _BLOCK_BYTES if form.unit == "block" else max(SMALLEST_BYTES, form.least_block_bytes)
        size = block_bytes or block_bytes_for(inputs, _BLOCKS, _BLOCK_BYTES, least)
        most = parse_limit(max_record)

        def open_files(on_columns: Callable[[tuple[str, ...]], None]) -> FileSource:
            again = looked_at_again(inputs)
            return FileSource(again, form, size, max_record_bytes=most, on_columns=on_columns)

        source = Files(open_files, lambda: of_inputs(inputs), lambda: columns_of(inputs, form))
        chunks = cls(source, name="files")
        return chunks._work("flat_map", RecordReader(form), "read", None)

    # ---- in the workers ---------------------------------------------------------------------------------------

    def map(self, fn: Callable[[Any], Any], *, desc: str | None = None, **options: Any) -> Self:
        """Replace each item by `fn(item)`, in the workers.

        The options are those of `Pool.map`.

        Neighbouring steps run as one function if their options are the same, or one has none.

        None is a value like any other: it is passed to the next step, and a file gets `null`. With `drop_none=True`
        results that are None are dropped in the worker, as the command `run` does.

        Args:
            fn: called with one item; a `Workflow` is run as by `through`.
            desc: what reports, bars and errors call the step; by default the function's name.
            options: ordered, chunk, timeout, retries, retry_delay, on_error, dead_letters, at_most_once, drop_none,
                rate.

        Raises:
            ConfigError: an option can't be.
        """
        if isinstance(fn, Workflow):
            return self.through(fn, **options)
        return self._work("map", fn, desc, options or None)

    def filter(self, pred: Callable[[Any], Any], *, desc: str | None = None, **options: Any) -> Self:
        """Keep the items for which `pred(item)` is true, in the workers, as `map`."""
        return self._work("filter", pred, desc, options or None)

    def flat_map(self, fn: Callable[[Any], Iterable[Any]], *, desc: str | None = None, **options: Any) -> Self:
        """Replace each item by the items of `fn(item)`, in the workers, as `map`.

        An item that fails gives nothing, so all that it gives is made first: beyond 65,536 results it waits in a
        temporary file (`TMPDIR`), not in memory. For an endless iterable there is `flat_map_inline`.
        """
        return self._work("flat_map", fn, desc, options or None)

    def through(self, workflow: Workflow, **options: Any) -> Self:
        """Run a workflow's steps in the workers.

        A barrier in it holds all items until every one has arrived.
        """
        if not isinstance(workflow, Workflow):
            raise ConfigError(f"through needs a Workflow, not {type_name(type(workflow))}; for a function there is map")
        check(options)
        if options.get("rate") is not None:
            rated(workflow, options["rate"])  # refuses it
        drop_none, options_of_stage = apart(options)
        stream, stages = self, list(workflow.stages)
        if drop_none:
            stages[-1] = stages[-1].dropping_none()
        for number, steps in enumerate(stages):
            if number:
                barrier = workflow.barriers[number - 1]
                stream = stream.barrier(barrier.each_worker, then=barrier.then)
            name = workflow.name or "+".join(step.name for step in steps.steps)
            op = Op("workflow", name, (port_of(stream),), None, ("",), steps.steps, options_of_stage)
            stream = self._at(Port(op, 0))
        return stream

    # ---- in the coordinator -----------------------------------------------------------------------------------

    def map_inline(self, fn: Callable[[Any], Any], *, retries: Retries = 0, **options: Any) -> Self:
        """Replace each item by `fn(item)`, in the coordinator.

        Args:
            fn: called with one item.
            retries: how often it is called again, at once, for an item that it fails for, as of `Pool.map`.
            options: none; those of `map` are refused, with the reason.

        Raises:
            ConfigError: an option is for workers only.
        """
        _refuse_options("map_inline", retries, options)
        refuse_uncallable("map_inline", "fn", fn)
        return self._node("map_inline", fn, lambda name: inline.MapInline(inline.retried(fn, retries), name=name))

    def filter_inline(self, pred: Callable[[Any], Any], *, retries: Retries = 0, **options: Any) -> Self:
        """Keep the items for which `pred(item)` is true, in the coordinator, as `map_inline`."""
        _refuse_options("filter_inline", retries, options)
        refuse_uncallable("filter_inline", "pred", pred)
        return self._node(
            "filter_inline", pred, lambda name: inline.FilterInline(inline.retried(pred, retries), name=name)
        )

    def flat_map_inline(self, fn: Callable[[Any], Iterable[Any]], **options: Any) -> Self:
        """Replace each item by the items of `fn(item)`, in the coordinator.

        It has no retries: what an iterable gave before it failed is passed on already.
        """
        _refuse_options("flat_map_inline", 0, options)
        refuse_uncallable("flat_map_inline", "fn", fn)
        return self._node("flat_map_inline", fn, lambda name: inline.FlatMapInline(fn, name=name))

    def barrier(
        self,
        each_worker: Callable[[], Any] | None = None,
        *,
        then: Callable[[list[Any]], object] | None = None,
        desc: str | None = None,
    ) -> Self:
        """Hold all items until every one has passed the steps so far, in every worker.

        What functions keep in a worker's memory is lost with that worker: where one dies, is replaced or leaves, and in
        a run that is resumed. So `each_worker` sees all of it only in a run without these. A run that is resumed runs
        it again unless a checkpoint was made after it.

        Args:
            each_worker: called once in every worker before the first item continues, in all of them together, as by
                `Pool.run_on_all`: `workers.current()` has the barrier and the collectives. If a worker dies in it, it
                runs again in all of them.
            then: called here with its results by worker id, before the first item continues.
            desc: what reports and errors call the barrier.

        Raises:
            ConfigError: one of them can't be called.
        """
        check_hook("barrier", each_worker, then)
        name = desc or "barrier"
        if each_worker is None:
            return self._then(Op("barrier", name, (self._port,), BarrierNode))

        def make_on(name: str, pool: Pool) -> Node:
            return internals_of(pool).barrier_node(name, each_worker, then)

        return self._then(Op("barrier", name, (self._port,), make_on=make_on))

    # ---- ends -------------------------------------------------------------------------------------------------

    def to(self, sink: Any, *, name: str | None = None, format: str | None = None) -> Terminal:  # noqa: A002 - as of `read`
        """End the stream in a sink.

        Args:
            sink: a path (whole under its name, or not there; compressed if the name ends in .gz .bz2 .xz .zst; "-",
                /dev/stdout, a FIFO and the like are written to in place, as a stream), an open
                file of text or bytes, such as sys.stdout (flushed at the end, and left open), a list, a function that
                gets each item, None to discard, or anything with `write(items)` and `close()`.
            name: what reports and errors call it.
            format: of a file. "lines": text and bytes as they are, a line each, anything else as JSON; "jsonl": one
                JSON value a line, text too; "csv": dicts and lists as rows, under the keys of the first dict;
                "parquet", "arrow": dicts and tables as rows. By default what the name says (.jsonl, .csv …), else
                "lines".

        Raises:
            ConfigError: it is none of these, or its folder isn't there.
        """
        as_sink(sink, format)  # refuses what can't be
        called = name or ("sink" if not isinstance(sink, str) else sink)

        def make(name: str) -> Node:
            return SinkNode(name, sink_behind(self._port, sink, format))

        return Terminal(Op("sink", called, (self._port,), make, ()))

    def __iter__(self) -> Iterator[Any]:
        """Run, and yield the items.

        A pool is made for it if one is needed. Leaving early frees everything.
        """
        return iterate(self._port)

    def __aiter__(self) -> AsyncIterator[Any]:
        """Run, and yield the items in an event loop.

        As by `for`, with a thread that waits. Async iterables among the sources are read in this loop. `async with`
        or `aclose` ends it early.
        """
        return self.iterate_async()

    def iterate_async(self, pool: Pool | None = None) -> AsyncResults:
        """Return what `async for` takes the items of, with a pool that stays open, or one that is made for it."""
        from orchestrator.event_loops.results import AsyncResults  # noqa: PLC0415 - asyncio, only for those who use it

        return AsyncResults(partial(lists_of, self._port, pool))

    def collect(self, *, engine: object = None) -> list[Any]:
        """Run, and return all items.

        `engine` is that of `Pool`: "serial" runs all functions in this process, for pdb.
        """
        return list(iterate(self._port, engine))

    def explain(self) -> str:
        """Describe what would run, with a line for each node, its fused steps and where it runs."""
        return Plan([], [self._port], whole=False).explain()

    if not TYPE_CHECKING:  # type checkers find misspelt names by themselves

        def __getattr__(self, name: str) -> object:
            hint = did_you_mean(name, (each for each in dir(Stream) if not each.startswith("_")))
            raise AttributeError(f"'{type(self).__name__}' object has no attribute {name!r}{hint}", name=name, obj=self)

    def __repr__(self) -> str:
        """Return the steps so far, by name.

        Nothing is run.
        """
        names, op = [], self._port.op
        while True:
            names.append(op.name)
            if len(op.inputs) != 1:
                break
            op = op.inputs[0].op
        return f"<Stream {' > '.join(reversed(names))}: not started, iterate it or pass its ends to run()>"


def _refuse_options(kind: str, retries: Retries, options: dict[str, Any]) -> None:
    """Refuse options that code which runs in this process can't have.

    Raises:
        ConfigError: there are some.
    """
    map_options({"retries": retries})  # refuses what can't be
    in_workers = kind.removesuffix("_inline")
    why = {
        "timeout": "nothing can stop a function in this process",
        "retries": "what an iterable gave before it failed is passed on already",
    }
    for name in options:
        if name not in MAP_OPTIONS:
            raise TypeError(f"{kind}() got an unexpected keyword argument {name!r}{did_you_mean(name, ('retries',))}")
        reason = why.get(name, "its function runs in this process")
        raise ConfigError(f"{kind} has no {name}: {reason}; {in_workers}(fn, {name}=...) runs it in the workers")
