"""Streams describe flows of items step by step, and run together over a pool.

    lines = Stream.read("logs/*.jsonl.gz", format="jsonl")
    good, bad = lines.map(clean, retries=2).route({"good": is_good}, default="bad").values()
    report = run(good.window(100).map_inline(mean).to("means.txt"), bad.to("bad.jsonl"), progress=True)

A stream only describes: nothing is read and nothing starts before it is iterated, collected or run. It never changes,
and each of its outputs is consumed once; `broadcast` gives several. Functions of `map`, `filter`, `flat_map` and
`through` run in the workers, neighbours as one; all others run in the coordinator, which is this process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from orchestrator.engine.recovery.dead_letter_sinks import refuse_unwritable
from orchestrator.errors import ConfigError
from orchestrator.graph.barrier import BarrierNode
from orchestrator.graph.sinks import SinkNode, as_sink
from orchestrator.graph.sources import BlockingSource, SourceNode, may_block
from orchestrator.option_values import one_of
from orchestrator.pool.internals import internals_of
from orchestrator.pool.workflow import Workflow, check_hook
from orchestrator.settings import map_options, parse_limit
from orchestrator.sinks.given import NodeSink
from orchestrator.sinks.items import ItemFile
from orchestrator.streams.patterns import inline, joining, merging, sorted_merging, splitting, windows
from orchestrator.streams.plan import Op, Plan, Port
from orchestrator.streams.running import Terminal, iterate, lists_of
from workers.errors.describe import short_name, type_name
from workers.errors.nearest import did_you_mean
from workers.functions.steps import Step, StepKind
from workers.records.line_ends import FORMATS
from workers.records.reader import RecordReader

if TYPE_CHECKING:
    from datetime import timedelta
    from os import PathLike

    from orchestrator.event_loops.results import AsyncResults
    from orchestrator.graph.flow.node import Node
    from orchestrator.pool.pool import Pool

_BLOCK_BYTES = 1 << 20
_BLOCKS = 256
"""Of all files together, at least; the same on every machine, so that a run can be resumed on another one."""
DECODING = ("strict", "replace")


class Stream:
    """A flow of items, made from an iterable, or by `read` and the merging methods.

    Args:
        iterable: what gives the items. Queues (up to None), connections, sockets, pipes and async iterables, which make
            their reader wait, are read by a thread into a bounded buffer; everything else is read inline.
        name: what reports and errors call it.
        blocking: True to have any other iterable read by a thread, too.
    """

    __slots__ = ("_port",)

    def __init__(self, iterable: Iterable[Any] | Any, *, name: str = "source", blocking: bool | None = None) -> None:
        threaded = may_block(iterable) and not isinstance(iterable, Stream) if blocking is None else blocking
        if not threaded and not hasattr(iterable, "__iter__") and not hasattr(iterable, "__getitem__"):
            raise ConfigError(f"a stream needs an iterable, not {type_name(type(iterable))}: Stream(items)")
        kind = BlockingSource if threaded else SourceNode
        inline = None if threaded else iterable
        self._port = Port(Op("source", name, (), lambda node: kind(node, iterable), iterable=inline), 0)

    @classmethod
    def read(
        cls,
        paths: str | PathLike[str] | Iterable[str | PathLike[str]],
        format: str = "lines",  # noqa: A002 - the contract's name
        *,
        errors: str = "strict",
        block_bytes: int | None = None,
        max_record: int | str = "256M",
    ) -> Self:
        """Read the records of files, patterns and standard input ("-"), plain or compressed.

        Compressed is .gz, .bz2, .xz, and .zst as an extra.

        Plain files travel as byte ranges: the workers read them, and run the steps that follow at once. Pipes and the
        like are read here, as they come; nothing else in the graph waits for them. Each run reads what the files hold
        when it begins; one that changes meanwhile gives that, or fails by name.

        Args:
            paths: one or several.
            format: "lines" (str), "jsonl" (what it means), "csv" (a dict a row), "blocks" (bytes), "files" (paths), or
                another that `orchestrator run --help` tells of.
            errors: bytes that are not UTF-8: "strict" fails, "replace" puts U+FFFD there.
            block_bytes: how much of a file goes to a worker at a time, and the size of a record of "blocks"; None: by
                the size of the files, at most 1 MiB.
            max_record: bytes (or "1G"); a longer record is not read, and fails. 0: no limit.

        Raises:
            ConfigError: a file is missing or can't be read, or there is no such format.
        """
        from orchestrator.sources.block_sizes import SMALLEST_BYTES, block_bytes_for  # noqa: PLC0415 - only for those who read
        from orchestrator.sources.files import FileSource  # noqa: PLC0415 - as above
        from orchestrator.sources.inputs import columns_of, expand, looked_at_again, of_inputs  # noqa: PLC0415 - as above

        one_of("format", format, tuple(FORMATS))
        one_of("errors", errors, DECODING)
        names = [paths] if isinstance(paths, str) or hasattr(paths, "__fspath__") else list(paths)
        inputs = expand([str(name) for name in names])
        least = _BLOCK_BYTES if format == "blocks" else SMALLEST_BYTES
        size = block_bytes or block_bytes_for(inputs, _BLOCKS, _BLOCK_BYTES, least)
        most = parse_limit(max_record)

        def open_files(on_columns: Callable[[tuple[str, ...]], None]) -> FileSource:
            again = looked_at_again(inputs)
            return FileSource(again, format, size, max_record_bytes=most, on_columns=on_columns)

        source = _Files(open_files, lambda: of_inputs(inputs), lambda: columns_of(inputs) if format == "csv" else ())
        chunks = cls(source, name="files")
        return chunks._work("flat_map", RecordReader(format, errors), "read", None)

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
            options: ordered, chunk, timeout, retries, retry_delay, on_error, dead_letters, at_most_once, drop_none.

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
        _check(options)
        drop_none, options_of_stage = _apart(options)
        stream, stages = self, list(workflow.stages)
        if drop_none:
            stages[-1] = stages[-1].dropping_none()
        for number, steps in enumerate(stages):
            if number:
                barrier = workflow.barriers[number - 1]
                stream = stream.barrier(barrier.each_worker, then=barrier.then)
            name = workflow.name or "+".join(step.name for step in steps.steps)
            op = Op("workflow", name, (_port_of(stream),), None, ("",), steps.steps, options_of_stage)
            stream = self._at(Port(op, 0))
        return stream

    # ---- in the coordinator -----------------------------------------------------------------------------------

    def map_inline(self, fn: Callable[[Any], Any]) -> Self:
        """Replace each item by `fn(item)`, in the coordinator."""
        return self._node("map_inline", fn, lambda name: inline.MapInline(fn, name=name))

    def filter_inline(self, pred: Callable[[Any], Any]) -> Self:
        """Keep the items for which `pred(item)` is true, in the coordinator."""
        return self._node("filter_inline", pred, lambda name: inline.FilterInline(pred, name=name))

    def flat_map_inline(self, fn: Callable[[Any], Iterable[Any]]) -> Self:
        """Replace each item by the items of `fn(item)`, in the coordinator."""
        return self._node("flat_map_inline", fn, lambda name: inline.FlatMapInline(fn, name=name))

    def tee(self, *sinks: Any, format: str | None = None) -> Self:  # noqa: A002 - as of `read`
        """Pass the items on and write them to sinks too.

        Sinks and format are those of `to`.
        """

        def make(name: str) -> Node:
            return splitting.Tee(*(_sink_behind(self._port, sink, format) for sink in sinks), name=name)

        make("tee")  # refuses what can't be
        return self._node("tee", None, make)

    def broadcast(self, n: int, *, on_failure: str = "raise") -> tuple[Self, ...]:
        """Return `n` streams that each have every item.

        The slowest sets the pace.

        Args:
            n: how many.
            on_failure: "raise": a branch that fails ends all; "drop": the others continue without it. What that branch
                alone leads to is closed, its outputs are given up, and `Report.dropped` tells it; if the last branch
                fails too, the run does.
        """
        labels = tuple(map(str, range(n)))
        return self._split(
            "broadcast", labels, lambda name: splitting.Broadcast(n, on_failure=on_failure, name=name)
        )

    def route(
        self, predicates: Mapping[str, Callable[[Any], Any]], default: str = "rest", match: str = "all"
    ) -> dict[str, Self]:
        """Split by predicates into named streams.

        Returns {name: stream}, the default's too.

        Args:
            predicates: looked at in order.
            default: where items go that match none.
            match: "all" that match, or the "first" only.
        """
        splitting.Route(predicates, default=default, match=match)  # refuses what can't be
        labels = (*predicates, default)
        made = self._split(
            "route", labels, lambda name: splitting.Route(predicates, default=default, match=match, name=name)
        )
        return dict(zip(labels, made, strict=True))

    def demultiplex(
        self,
        key: Callable[[Any], Hashable],
        *,
        keys: Sequence[Hashable] | None = None,
        to: Callable[[Any], Any] | None = None,
        unknown: str = "error",
        format: str | None = None,  # noqa: A002 - as of `read`
    ) -> Any:
        """Split by key into a stream for each of `keys`, or a sink for each key as it appears.

        Args:
            key: item to key.
            keys: the keys there are; gives {key: stream}. With unknown="default" also {None: stream} for all others.
            to: key to sink (whatever `to` takes); gives a terminal.
            unknown: what an item with another key gets: "error" or "default".
            format: of the outputs that `to` makes, as of the method `to`.
        """
        if (keys is None) == (to is None):
            raise ConfigError("demultiplex needs either keys=[...], for streams, or to=lambda key: sink, for outputs")
        if to is not None:
            end = Op(
                "demultiplex", "demultiplex", (self._port,),
                lambda name: splitting.Demultiplex(key, make=lambda found: as_sink(to(found), format), name=name), (),
            )  # fmt: skip
            return Terminal(end)
        declared = tuple(keys or ())
        others = ("others",) if unknown == "default" else ()
        made = self._split(
            "demultiplex",
            (*map(str, declared), *others),
            lambda name: splitting.Demultiplex(key, declared, unknown=unknown, name=name),
        )
        return dict(zip((*declared, *(None for _ in others)), made, strict=True))

    def window(self, size: int, step: int = 1, partial: bool = True) -> Self:
        """Collect items into lists of `size`, starting at items 0, step, 2·step ….

        With `partial`, lists that are cut short too.
        """
        windows.CountWindow(size, step, partial=partial)
        return self._node("window", None, lambda name: windows.CountWindow(size, step, partial=partial, name=name))

    def window_by_time(
        self,
        length_s: float | timedelta,
        at: Callable[[Any], Any],
        step_s: float | timedelta | None = None,
        lateness_s: float | timedelta = 0.0,
        late: Any = None,
    ) -> Self:
        """Collect items into a `Window(start_s, end_s, items)` by event time.

        Empty windows are left out.

        Args:
            length_s: seconds a window, or a timedelta, as `step_s` and `lateness_s` may be too.
            at: item to its time: seconds (a number or Decimal), a timedelta, or a datetime, which is counted in seconds
                from 1970-01-01 UTC, or from that day by its own clock if it has no zone.
            step_s: seconds from start to start; by default the length.
            lateness_s: how far behind the latest time seen an item may come.
            late: a sink (whatever `to` takes) for items that come later than that: whose windows were given all. The
                report counts them. `window_by_time_and_late` gives them as a stream.
        """
        windows.TimeWindow(length_s, at, step_s=step_s, lateness_s=lateness_s)  # refuses what can't be

        def make(name: str) -> Node:
            aside = None if late is None else _sink_behind(self._port, late)
            return windows.TimeWindow(length_s, at, step_s=step_s, lateness_s=lateness_s, late=aside, name=name)

        return self._node("window_by_time", None, make)

    def window_by_time_and_late(
        self,
        length_s: float | timedelta,
        at: Callable[[Any], Any],
        step_s: float | timedelta | None = None,
        lateness_s: float | timedelta = 0.0,
    ) -> tuple[Self, Self]:
        """Return what `window_by_time` returns, and a second stream of the items that came too late."""

        def make(name: str) -> Node:
            return windows.TimeWindow(
                length_s, at, step_s=step_s, lateness_s=lateness_s, late_outlet=True, name=name
            )

        make("window_by_time")  # refuses what can't be
        given, late = self._split("window_by_time", ("", "late"), make)
        return given, late

    def join(  # noqa: PLR0917 - the contract's order
        self,
        other: Stream,
        key: Callable[[Any], Any],
        right_key: Callable[[Any], Any] | None = None,
        how: str = "inner",
        many: bool = False,
        combine: Callable[[Any, Any], Any] | None = None,
        within_s: float | timedelta | None = None,
        at: Callable[[Any], Any] | None = None,
        max_items: int | None = None,
        overflow: str = "error",
        unmatched: Any = None,
    ) -> Self:  # fmt: skip
        """Join with another stream by key.

        See `streams.patterns.joining.Join` for each argument.
        """
        options: dict[str, Any] = {
            "how": how, "many": many, "combine": combine, "within_s": within_s, "at": at,
            "max_items": max_items, "overflow": overflow,
        }  # fmt: skip

        def make(name: str) -> Node:
            aside = None if unmatched is None else _sink_behind(self._port, unmatched)
            return joining.Join(key, right_key, **options, unmatched=aside, name=name)

        joining.Join(key, right_key, **options).close()  # refuses what can't be
        return self._then(Op("join", "join", (self._port, _port_of(other)), make))

    def in_step(self, *others: Stream, missing: Any = None) -> Self:
        """Combine the k-th items of all branches into tuples, with `missing` for a branch that has ended."""
        ports = (self._port, *map(_port_of, others))
        return self._then(
            Op("in_step", "in_step", ports, lambda name: merging.InStep(len(ports), missing=missing, name=name))
        )

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

    # ---- merging ----------------------------------------------------------------------------------------------

    @classmethod
    def merge(cls, *streams: Stream) -> Self:
        """Merge streams as their items are ready, each in turn.

        Of no streams, nothing comes.
        """
        return cls._merged("merge", streams, lambda name: merging.Merge(len(streams), name=name))

    @classmethod
    def merge_sorted(cls, *streams: Stream, key: Callable[[Any], Any] | None = None) -> Self:
        """Merge sorted streams into a sorted one, as `heapq.merge` does.

        Of equal keys the earlier stream's come first. Of no streams, nothing comes.
        """
        return cls._merged(
            "merge_sorted", streams, lambda name: sorted_merging.MergeSorted(len(streams), key=key, name=name)
        )

    @classmethod
    def merge_by_priority(cls, streams: Iterable[tuple[Stream, float]], *, ageing: int | None = None) -> Self:
        """Merge streams, those of the highest priority that have items ready first.

        Args:
            streams: pairs of a stream and its priority; the greater goes first.
            ageing: after so many items of others an input that waits counts one priority more, so that none starves.
        """
        pairs = list(streams)
        ranks = [priority for _, priority in pairs]
        return cls._merged(
            "merge_by_priority",
            [stream for stream, _ in pairs],
            lambda name: merging.PriorityMerge(ranks, ageing=ageing, name=name),
        )

    @classmethod
    def multiplex(cls, streams: Mapping[Hashable, Stream]) -> Self:
        """Merge streams into (tag, item), as they are ready."""
        return cls._merged(
            "multiplex", list(streams.values()), lambda name: merging.Multiplex(list(streams), name=name)
        )

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
                JSON value a line, text too; "csv": dicts and lists as rows, under the keys of the first dict. By
                default what the name says (.jsonl, .csv), else "lines".

        Raises:
            ConfigError: it is none of these, or its folder isn't there.
        """
        as_sink(sink, format)  # refuses what can't be
        called = name or ("sink" if not isinstance(sink, str) else sink)

        def make(name: str) -> Node:
            return SinkNode(name, _sink_behind(self._port, sink, format))

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

    def collect(self, *, engine: str | None = None) -> list[Any]:
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

    # ---- inside -----------------------------------------------------------------------------------------------

    def _then(self, op: Op) -> Self:
        return self._at(Port(op, 0))

    @classmethod
    def _at(cls, port: Port) -> Self:
        stream = cls.__new__(cls)
        stream._port = port  # noqa: SLF001 - its own kind
        return stream

    def _node(self, kind: str, fn: Any, make: Callable[[str], Node]) -> Self:
        if fn is not None and not callable(fn):
            raise ConfigError(f"{kind} needs a function, not {type_name(type(fn))}: stream.{kind}(fn)")
        return self._then(Op(kind, kind if fn is None else _name_of(fn, kind), (self._port,), make))

    def _work(self, kind: StepKind, fn: Any, desc: str | None, options: dict[str, Any] | None) -> Self:
        if not callable(fn):
            raise ConfigError(f"{kind} needs a function, not {type_name(type(fn))}: stream.{kind}(fn)")
        _check(options)
        name = desc or _name_of(fn, kind)
        drop_none, rest = _apart(options or {})
        step = Step(name, kind, fn, drop_none=drop_none)
        return self._then(Op(kind, name, (self._port,), None, ("",), (step,), rest))

    def _split(self, kind: str, labels: tuple[str, ...], make: Callable[[str], Node]) -> tuple[Self, ...]:
        op = Op(kind, kind, (self._port,), make, labels)
        return tuple(self._at(Port(op, number)) for number in range(len(labels)))

    @classmethod
    def _merged(cls, kind: str, streams: Sequence[Stream], make: Callable[[str], Node]) -> Self:
        if not streams:
            return cls((), name=kind)
        return cls._at(Port(Op(kind, kind, tuple(map(_port_of, streams)), make), 0))


def _sink_behind(port: Port, target: Any, output_format: str | None = None) -> NodeSink:
    """Return the sink that a target means.

    A file knows the columns of the CSV files that the stream is read from.
    """
    sink, op = as_sink(target, output_format), port.op
    while len(op.inputs) == 1:
        op = op.inputs[0].op
    if isinstance(sink, ItemFile) and isinstance(op.iterable, _Files):
        sink.expect(op.iterable.columns)
    return sink


class _Files:
    """Opens the files anew for each run."""

    def __init__(
        self,
        open_source: Callable[[Callable[[tuple[str, ...]], None]], Iterator[Any]],
        fingerprint: Callable[[], dict[str, str]],
        columns_of_plain: Callable[[], tuple[str, ...]],
    ) -> None:
        self._open = open_source
        self._columns: tuple[str, ...] = ()
        self._columns_of_plain = columns_of_plain
        self.fingerprint = fingerprint

    def __iter__(self) -> Iterator[Any]:
        return self._open(self._note_columns)

    def _note_columns(self, columns: tuple[str, ...]) -> None:
        self._columns = self._columns or columns

    def columns(self) -> tuple[str, ...]:
        """Return the columns of the first CSV file that a run has read.

        Those of a plain file are known whether it was read or not.
        """
        return self._columns or self._columns_of_plain()


def _check(options: dict[str, Any] | None) -> None:
    """Refuse invalid options of a map, before anything starts."""
    refuse_unwritable(map_options(options or {}).dead_letters)


def _apart(options: dict[str, Any]) -> tuple[bool, dict[str, Any] | None]:
    """Return whether a step drops None, and the options that fused neighbours must share."""
    rest = {name: value for name, value in options.items() if name != "drop_none"}
    return options.get("drop_none", False), rest or None


def _port_of(stream: Any) -> Port:
    if not isinstance(stream, Stream):
        raise ConfigError(f"a stream is needed here, not {type_name(type(stream))}: Stream(items)")
    return stream._port  # noqa: SLF001 - its own kind


def _name_of(fn: Any, kind: str) -> str:
    name = short_name(fn) or type_name(type(fn))
    return kind if name == "<lambda>" else name
