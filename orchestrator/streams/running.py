"""Runs graphs: `run` for terminals, `iterate` for a stream's consumer.

Makes a pool where none is given.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.graph.bars import NodeBars
from orchestrator.graph.checkpoints import EVERY_S, Checkpoints
from orchestrator.graph.runner import Runner
from orchestrator.graph.sinks import ResultsNode
from orchestrator.machine.terminal import for_stream
from orchestrator.pool.engines import kind_of
from orchestrator.pool.internals import internals_of
from orchestrator.streams.plan import Op, Plan, Port
from orchestrator.streams.report import Report, report_on
from workers.errors.describe import type_name

if TYPE_CHECKING:
    from orchestrator.pool.pool import Pool


class Terminal:
    """The end of a flow, for `run`."""

    def __init__(self, op: Op) -> None:
        self.op = op

    def explain(self) -> str:
        """Describe what would run, with a line for each node, its fused steps and where it runs."""
        return Plan([self.op], whole=False).explain()


def run(
    *terminals: Terminal,
    pool: Pool | None = None,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every_s: float = EVERY_S,
    engine: object = None,
) -> Report:
    """Run flows together until all have ended, and return a report.

    Args:
        terminals: the ends that `stream.to(sink)` returns; all connected ones must be here.
        pool: the pool to use; it stays open. None: one is made, if something runs in workers, and closed.
        progress: whether to draw a bar a node on stderr.
        checkpoint: a folder to save the run's progress in. After a crash at any instant, the same call resumes it, and
            the sinks hold what those of an undisturbed run do. A run that ended starts anew. Sinks must be paths (or
            have `keep`, `snapshot` and `restore`), and sources must give the same items again. The folder is read as
            data; items that are objects of some class are pickled there, and loaded when the run is resumed, which runs
            code: that is refused unless the folder is this user's alone.
        checkpoint_every_s: the least seconds between two checkpoints, which take at most two percent of the run.
        engine: the engine of the pool that is made, as for `Pool`: "serial" runs all functions in this process.

    Raises:
        ConfigError: the graph can't run; nothing was started.
        ResumeMismatchError: the folder holds a different run.
        Exception: what a function, a source or a sink raised, the node named in a note. Sinks are aborted then.
    """
    if engine is not None and pool is not None:
        raise ConfigError("pool and engine exclude each other: a pool has its engine, Pool(engine=...)")
    plan = plan_of(*terminals)
    if checkpoint is None:
        return run_plan(plan, pool, progress=progress, engine=engine)
    with closing(_checkpoints(plan, os.fspath(checkpoint), checkpoint_every_s)) as kept:
        return run_plan(plan, pool, progress=progress, kept=kept, engine=engine)


def _checkpoints(plan: Plan, folder: str, every_s: float) -> Checkpoints:
    kept = Checkpoints(folder, plan.fingerprint(), every_s, libraries=plan.libraries())
    if kept.note is not None:
        warnings.warn(kept.note, stacklevel=3)
    return kept


def plan_of(*terminals: Terminal) -> Plan:
    """Return the checked graph that leads to these.

    Raises:
        ConfigError: it can't run.
    """
    for terminal in terminals:
        if not isinstance(terminal, Terminal):
            hint = "; end the stream in a sink first: stream.to(sink)" if hasattr(terminal, "to") else ""
            raise ConfigError(f"run takes terminals, not {type_name(type(terminal))}{hint}")
    if not terminals:
        raise ConfigError("run needs at least one terminal: run(stream.to(sink))")
    return Plan([terminal.op for terminal in dict.fromkeys(terminals)])


def run_plan(
    plan: Plan,
    pool: Pool | None,
    *,
    progress: bool = False,
    kept: Checkpoints | None = None,
    starting: Callable[[Runner], object] | None = None,
    engine: object = None,
) -> Report:
    """Run a plan once, to its end, as `run` does.

    Args:
        plan: of `plan_of`.
        pool: as of `run`.
        progress: as of `run`.
        kept: its checkpoints; the caller closes them.
        starting: is given the runner before it runs, to be able to stop it.
        engine: as of `run`.
    """
    started = perf_counter()
    with ExitStack() as stack:
        workers = stack.enter_context(_Workers(plan, pool, engine))
        drawn: list[NodeBars] = []
        if progress and workers is not None and _prints_elsewhere(workers):  # before the calls are opened
            workers.on_output = partial(_print_above, drawn)
            stack.callback(setattr, workers, "on_output", None)
        nodes, _ = plan.nodes(workers)
        shown = [node for node in nodes if node.is_shown]
        bars = stack.enter_context(closing(NodeBars(shown))) if progress else None
        drawn += [] if bars is None else [bars]
        runner = Runner(nodes, None if workers is None else internals_of(workers).engine, bars, kept)
        if starting is not None:
            starting(runner)
        runner.run()
        return report_on(nodes, perf_counter() - started)


def _prints_elsewhere(pool: Pool) -> bool:
    """Whether functions run in other processes whose prints nobody shows."""
    return pool.on_output is None and "processes" in internals_of(pool).engine.capabilities


def _print_above(drawn: list[NodeBars], _worker: int, stream: str, text: str) -> None:
    """Print what user code printed above the bars, if they are drawn by now.

    Other threads may use the pool, too.
    """
    if drawn:
        drawn[0].write(text, stream)
    else:
        target = sys.stdout if stream == "stdout" else sys.stderr
        target.write(for_stream(text, target))


def explain(*terminals: Terminal) -> str:
    """Describe what `run` would do with these: a line for each node, its fused steps and where it runs."""
    return plan_of(*terminals).explain()


def iterate(port: Port, engine: object = None) -> Iterator[Any]:
    """Return an iterator over the items of a port.

    Nothing starts before the first item is asked for.
    """
    plan = Plan([], [port])
    return chain.from_iterable(_lists(plan, port, engine))


def lists_of(
    port: Port, pool: Pool | None, starting: Callable[[Runner], object]
) -> Generator[list[Any], None, None]:
    """Return what gives the items of a port list by list.

    Nothing starts before the first list is asked for.

    Args:
        port: of the stream.
        pool: the pool to use; it stays open. None: one is made, if something runs in workers, and closed.
        starting: is given the runner before it runs.
    """
    return _lists(Plan([], [port]), port, None, pool, starting)


def _lists(
    plan: Plan,
    port: Port,
    engine: object,
    pool: Pool | None = None,
    starting: Callable[[Runner], object] | None = None,
) -> Generator[list[Any], None, None]:
    with _Workers(plan, pool, engine) as workers:
        nodes, consumed = plan.nodes(workers)
        results = ResultsNode("results")
        node, number = consumed[port]
        node.outlets[number].to(results)
        runner = Runner([*nodes, results], None if workers is None else internals_of(workers).engine)
        if starting is not None:
            starting(runner)
        yield from runner.results(results)


class _Workers:
    """The pool of one run: the given one, a new one, or none."""

    def __init__(self, plan: Plan, pool: Pool | None, engine: object) -> None:
        if engine is not None:
            kind_of(engine)
        self._engine = engine
        self._plan = plan
        self._given = pool
        self._made: Pool | None = None

    def __enter__(self) -> Pool | None:
        if self._given is None and self._plan.needs_pool:
            from orchestrator.pool.pool import Pool  # noqa: PLC0415 - only for a graph with work for workers

            self._made = Pool() if self._engine is None else Pool(engine=self._engine)
        return self._given if self._made is None else self._made

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._made is not None:
            self._made.close() if kind is None else self._made.terminate()
