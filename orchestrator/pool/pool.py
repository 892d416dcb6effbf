"""The pool: what programs use."""

from __future__ import annotations

import atexit
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from multiprocessing.util import Finalize
from operator import length_hint
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from orchestrator.engine.protocol.engine import Engine, OutputCallback, unable
from orchestrator.engine.protocol.functions import label_of
from orchestrator.engine.protocol.reentrancy import calls_around, run_in_thread
from orchestrator.engine.protocol.status import PoolStatus, WorkerInfo, describe_item
from orchestrator.engine.recovery.dead_letter_sinks import LetterSink
from orchestrator.engine.recovery.dead_letters import DeadLetter
from orchestrator.errors import ClosedError, ConfigError
from orchestrator.graph.source_stage import FeedNode, in_step
from orchestrator.machine.memory import refuse_unreachable, within_reach
from orchestrator.option_values import arguments, variables, wait_seconds, whole
from orchestrator.pool.calls.futures import FutureDriver
from orchestrator.pool.calls.submitted import check_priority, options_of, take_options
from orchestrator.pool.engines import engine_of, kind_of, refuse_of
from orchestrator.pool.internals import Internals
from orchestrator.pool.map_results import MapResults
from orchestrator.pool.peer_names import MAP_ARGUMENTS, POOL_ARGUMENTS, missing_attribute, refuse_peer_arguments
from orchestrator.pool.size.resizing import MachineFollower, follower_of
from orchestrator.pool.size.sizing import Sizing, sizing_of
from orchestrator.pool.stats import PoolStats
from orchestrator.pool.sync.share import Shared
from orchestrator.pool.workflow import Workflow
from orchestrator.settings import (
    BUFFER_BYTES,
    MAX_WORKERS,
    MapOptions,
    Memory,
    OnError,
    PoolSettings,
    Retries,
    StartMethod,
    parse_size,
    refuse_fork_with_threads,
)
from workers.errors.describe import describe, type_name
from workers.functions.steps import Steps

if TYPE_CHECKING:
    from concurrent.futures import Future

    from orchestrator.graph.bars import ItemBar, NodeBars
    from orchestrator.graph.flow.node import Node
    from orchestrator.pool.calls.pool_future import PoolFuture
    from orchestrator.pool.close_report import CloseReport
    from orchestrator.pool.sync.rate_limit import RateLimit


DeadLetters = str | os.PathLike[str] | Callable[[DeadLetter], object] | LetterSink
"""The sinks that items that are given up may have."""
_HANDLER_GRACE_S = 0.4
"""For what workers are at when a signal handler closes the pool; programs that get SIGTERM are to end soon."""
_open_pools: weakref.WeakSet[Engine] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    for coordinator in list(_open_pools):
        coordinator.terminate()


# `multiprocessing.get_logger()` moves multiprocessing's exit function, which waits for all children, ahead of ours.
Finalize(None, _end_all, exitpriority=100)


class Pool:
    """Worker processes that run functions over items lazily, in order, in bounded memory.

    Args:
        workers: how many processes; None: as many as this process may use CPUs (affinity, cgroup quota). Or what `-j`
            takes: "50%", "+1", the name of a file with such a number in it, which is read again while the pool is used,
            or "auto", "auto:8", "auto:2-8": within these bounds (by default 1 and the usable CPUs) it grows while all
            workers are busy and CPUs are idle, and shrinks where memory gets short, other programs want the CPUs, or
            workers are idle. Where functions wait rather than compute, give a bound above the number of CPUs.
        start_method: "forkserver" (default: quick, and safe with threads), "spawn" or "fork".
        initializer: called with `initargs` once in each worker before its first item.
        initargs: its arguments.
        buffer_bytes: the most bytes in flight: items on the way, results waiting for their turn or for the consumer.
        max_deaths: how many workers an item may kill before it is given up. A death counts only for the item that the
            worker was running, whatever else it held. With 1, no item that has begun is begun again.
        memory_limit: bytes (or "2G") of unshared resident memory that a worker may use. Above it a worker is replaced
            when it has finished what it has, above it by a quarter at once; an item that does so to `max_deaths`
            workers alone is given up. The limit is lowered, with a warning, if the machine has less.
        items_per_worker: replace a worker that was given so many items (or up to a chunk more). Its successor starts
            while it finishes, and begins when it has: at most `workers` run something at once, and at most twice as
            many exist, whatever is recycled, killed or resized meanwhile.
        memfree: bytes (or "2G") that must be free, on the machine and in its control group, before anything is sent, as
            with GNU parallel. Below half of it the newest work is stopped and retried later, which does not count as
            a failure. One worker always keeps running, however little is free.
        memory: where to look up what is free, if not in the machine: has `total_bytes()` and `available_bytes()`.
        seed: a whole number that seeds the workers' random numbers (`random`, `numpy.random`, `current().seed`). An
            item gets the same numbers in any worker, chunk, retry or resumed run; each call gets others. Steps of a
            stream run item by item then, which is slower. None: they differ in each worker.
        threads_per_worker: how many threads BLAS, OpenMP, MKL, numexpr and numba may use in a worker; None: its share
            of the usable CPUs, where the environment (`OMP_NUM_THREADS` ...) says nothing else; 0: no limit.
        env: variables of the workers' environment by name, the others are this process's; a value of None unsets one.
            A worker has them before it imports anything of yours, and so has each that replaces it. They come before
            `threads_per_worker`. What Python itself reads when it starts (`PYTHONHASHSEED`), and what was imported here
            before a "fork", has seen the old ones.
        finalizer: called without arguments in each worker that exits gracefully (by `close`, `resize` or
            `items_per_worker`), not when it is killed or dies. `close()` returns its results. After it the worker's
            exit functions run (`atexit`, `multiprocessing.util.Finalize`), threads are joined, and files are flushed.
        engine: "local" (default: worker processes), or "serial": functions run in this process and in the thread that
            asks for results, one item after another, for `breakpoint()` and `pdb`. Nothing is pickled or copied: a
            function gets the very item, and what it changes stays changed. `submit` returns when its call is done.
            `workers` is ignored; what needs processes (`timeout`, `memory_limit`, `resize` ...) is refused.
            Or any `concurrent.futures.Executor`, which stays the program's: chunks are its tasks. Or the address of a
            scheduler of Dask, "dask://host:8786", or a `distributed.Client`: chunks are tasks of Dask, and each of its
            worker processes has worker processes of ours. There `workers` is how many run at once, None: all.

    Raises:
        ConfigError: an argument can't be used; nothing was started.
    """

    _refuses_threads: ClassVar[bool] = True
    """Whether it refuses to fork while other threads run."""

    @refuse_peer_arguments("Pool", POOL_ARGUMENTS)
    def __init__(
        self,
        workers: int | str | Sizing | None = None,
        *,
        start_method: StartMethod = "forkserver",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        buffer_bytes: int | str = BUFFER_BYTES,
        max_deaths: int = 3,
        memory_limit: int | str | None = None,
        items_per_worker: int | None = None,
        memfree: int | str | None = None,
        memory: Memory | None = None,
        seed: int | None = None,
        threads_per_worker: int | None = None,
        env: Mapping[str, str | None] | None = None,
        finalizer: Callable[[], object] | None = None,
        engine: str | object = "local",
    ) -> None:
        kind = kind_of(engine)
        sizing = sizing_of(workers)
        if sizing.by_default and kind.is_elsewhere:
            sizing = Sizing(MAX_WORKERS)
        if (sizing.auto or sizing.file) is not None and kind.name != "serial":
            refuse_of(kind, [(f"workers={sizing}", "machine watch")])
        settings = PoolSettings(
            workers=1 if sizing.file is not None and sizing.workers == 0 else sizing.workers,
            start_method=start_method,
            initializer=initializer,
            initargs=arguments("initargs", initargs),
            buffer_bytes=min(parse_size(buffer_bytes), sys.maxsize),
            max_deaths=max_deaths,
            memory_limit=None if memory_limit is None else within_reach(parse_size(memory_limit), memory),
            items_per_worker=items_per_worker,
            memfree=None if memfree is None else refuse_unreachable(parse_size(memfree), memory),
            memory=memory,
            seed=seed,
            threads_per_worker=threads_per_worker,
            env=None if env is None else variables("env", env),
            finalizer=finalizer,
        )
        if start_method == "fork" and engine == "local" and self._refuses_threads:
            refuse_fork_with_threads()
        self._settings = settings
        self._made_inside = calls_around(sys._getframe())  # noqa: SLF001 - as in `close`
        self._close_report: CloseReport | None = None
        if settings.finalizer is not None:
            from orchestrator.pool.close_report import CloseReport  # noqa: PLC0415 - most pools have no finalizer

            self._close_report = CloseReport()
        self._coordinator = engine_of(kind, settings)
        self._futures = FutureDriver(self._coordinator, settings)
        self._internals = Internals(self._coordinator, settings, self._futures)
        self._follower = None
        if "resizing" in self._coordinator.capabilities:
            self._follower = follower_of(sizing, self._coordinator, memory)
            if sizing.workers != settings.workers:
                self._coordinator.resize(sizing.workers)
        _open_pools.add(self._coordinator)
        self._finalizer = weakref.finalize(self, _end_if_ours, self._coordinator, self._futures, os.getpid())
        self._finalizer.atexit = False  # _end_all does it

    # ---- work -------------------------------------------------------------------------------------------------

    @refuse_peer_arguments("Pool.map", MAP_ARGUMENTS)
    def map(
        self,
        fn: Callable[..., Any] | Workflow | Steps,
        *iterables: Iterable[Any],
        ordered: bool = True,
        chunk: int | Literal["auto"] = "auto",
        timeout: float | None = None,
        retries: Retries = 0,
        retry_delay: float = 0.0,
        on_error: OnError = "raise",
        dead_letters: DeadLetters | None = None,
        at_most_once: bool = False,
        drop_none: bool = False,
        rate: float | RateLimit | None = None,
        progress: bool = False,
        desc: str | None = None,
    ) -> MapResults:
        """Run `fn` over the items in the workers, and return a lazy iterator over the results.

        Nothing is read from the iterables before the iterator is advanced, and then only as far ahead as the workers
        and `buffer_bytes` take. Iterables are read in the consumer's thread; `fn` runs in the workers.

        Args:
            fn: called with one item, or with one item of each iterable; or a workflow, run over one iterable.
            iterables: one or more; the shortest ends it, as with `map`.
            ordered: whether results come in the order of the items, or as they are ready.
            chunk: items that travel together; "auto" measures and adapts.
            timeout: seconds that an item may take, pickling both ways included. Then its worker is killed and replaced,
                with the processes that the function started, and the item counts as tried once. It is enforced while
                nobody waits for results, too.
            retries: how often to retry an item whose function raised, or that timed out. By class of exception:
                `{ConnectionError: 5, TimeoutError: 2}`. Subclasses count too; the nearest class of the latest exception
                decides how many retries are allowed in all; an `ItemTimeoutError` is a `TimeoutError`; other exceptions
                are not retried. `max_deaths` limits deaths of workers.
            retry_delay: seconds before the first retry, doubled for each further one, up to ten minutes. A random part
                of the second half is left out, so that items that failed together are not retried together.
            on_error: "raise" ends with `ItemError` at the item's place, "skip" leaves it out, "return" puts a
                `Failure` in its place.
            dead_letters: where to keep the items that are given up, whatever `on_error` does with them: the path of a
                file, to which a line of JSON is appended for each, or a function that is called with each `DeadLetter`
                in the thread that consumes the results. `read_dead_letters(path)` yields them.
            at_most_once: whether no item is begun a second time when its worker dies. An item that had begun fails with
                `WorkerDiedError`, even if only its result was lost with the worker. `max_deaths=1` is the same for all
                calls of a pool. It excludes `retries`.
            drop_none: whether results that are None are left out, in the workers, as the command `run` does. By
                default None is a result like any other.
            rate: how many calls a second there may be in all workers together, or a `RateLimit`, which several maps may
                share. A retry is a call, too. What an item waits for its turn counts as its time.
            progress: whether to draw a bar on stderr.
            desc: the bar's label.

        Raises:
            ConfigError: an option can't be used, or dead letters can't be written there.
            ClosedError: the pool is closed.
            ItemError: while iterating: an item failed, or can't be pickled.
            ItemTimeoutError: while iterating: an item took longer than `timeout`.
            WorkerDiedError: while iterating: an item killed `max_deaths` workers.
        """
        if not iterables:
            raise ConfigError("map needs at least one iterable: pool.map(fn, items)")
        if isinstance(fn, Workflow | Steps):
            if len(iterables) > 1:
                raise ConfigError("a workflow takes one item at a time: pool.map(workflow, zip(xs, ys))")
        elif not callable(fn):
            raise ConfigError(f"map needs a function first, not {type_name(type(fn))}: pool.map(fn, items)")
        options = MapOptions(
            ordered, chunk, retries, retry_delay, on_error, timeout, dead_letters, at_most_once=at_most_once,
            ahead=True, drop_none=drop_none, rate=rate,
        )  # fmt: skip
        if rate is not None:
            from orchestrator.pool.sync.rate_limit import rated  # noqa: PLC0415 - only for maps that have one

            fn = rated(fn, rate)
        star = len(iterables) > 1
        total = _known_length(iterables)
        source = in_step(iterables) if star else iterables[0]
        first, *behind = fn.stages if isinstance(fn, Workflow) else (fn,)
        barriers = fn.barriers if isinstance(fn, Workflow) else ()
        if drop_none and behind:
            behind[-1] = behind[-1].dropping_none()
        elif drop_none and isinstance(first, Steps):
            first = first.dropping_none()
        inside = self._internals
        stage = inside.open_stage(first, options, star=star, total=total, forward_output=progress)
        name = "+".join(first.names) if isinstance(first, Steps) and behind else ""
        nodes: list[Node] = [FeedNode(name, source, lambda: stage)]
        for steps, barrier in zip(behind, barriers, strict=True):
            nodes.append(inside.barrier_node("barrier", barrier.each_worker, barrier.then))
            nodes.append(inside.stage_node(steps, options, forward_output=progress))
        for node in nodes:
            node.set_up(None)
        bars = self._bars(nodes, total, desc) if progress else None
        return MapResults(self._coordinator, nodes, bars, self, desc or label_of(first) or "a map")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn(*args, **kwargs)` in a worker, and return its future.

        A thread of the pool drives it.

        The arguments are pickled before this returns. `timeout`, `retries` and `priority` are options of the call, as
        `call` explains, unless `fn` has a parameter of that name: then they go to `fn`. A function that takes them in
        its `**kwargs` gets them with `call`.

        The future raises what the function raised (with the worker's traceback as a note), `WorkerDiedError` if it
        killed `max_deaths` workers, `ItemTimeoutError` after its timeout. `future.cancel(running=True)`, or
        `cancel`, ends a call that runs.

        Raises:
            ClosedError: the pool is closed.
            ConfigError: an option can't be used.
        """
        options = take_options(fn, kwargs) if kwargs and callable(fn) else {}
        return self.call(fn, args, kwargs, **options)

    def call(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        retries: Retries = 0,
        retry_delay: float = 0.0,
        priority: int = 0,
        at_most_once: bool = False,
        future: PoolFuture | None = None,
    ) -> Future[Any]:
        """Run `fn(*args, **kwargs)` in a worker, with options that can't be mistaken for arguments.

        Args:
            fn: the function.
            args: its arguments.
            kwargs: its keyword arguments.
            timeout: seconds that the call may run, not counting its wait for a worker. Then its worker is killed and
                replaced, and the future raises `ItemTimeoutError` if no retry is left.
            retries: how often to retry it if it raises or times out; a number, or by class of exception.
            retry_delay: seconds before the first retry, doubled for each further one.
            priority: waiting calls of a higher priority go first; equal ones in their order. Calls that a worker was
                sent already are not overtaken.
            at_most_once: whether the call never begins a second time. If its worker ends after it has begun, it fails
                with `WorkerDiedError`.
            future: the future to resolve, for fronts that tell failures in their own way; None: a new one.

        Raises:
            ClosedError: the pool is closed.
            ConfigError: an option can't be used.
        """
        if not callable(fn):
            raise ConfigError(f"submit needs a function first, not {type_name(type(fn))}: pool.submit(fn, *args)")
        check_priority(priority)
        options = options_of(timeout, retries, retry_delay, at_most_once=at_most_once)
        return self._futures.submit(fn, arguments("args", args), _keywords(kwargs), options, priority, future)

    def cancel(self, future: Future[Any]) -> bool:
        """Cancel a submitted call, killing its worker if it runs.

        Returns False if the call had finished.

        Other calls that the worker held run again in another worker.
        """
        cancel: Any = future.cancel
        try:
            return bool(cancel(running=True))
        except TypeError:
            raise ConfigError("cancel needs a future that submit or call of a pool returned") from None

    def cancel_waiting(self) -> None:
        """Cancel the submitted calls for which no worker has room.

        Returns at once; the thread that drives the futures does it.
        """
        self._futures.cancel_waiting()

    def run_on_all(self, fn: Callable[..., Any], *args: Any) -> list[Any]:
        """Run `fn(*args)` once in every worker, all together, and return the results by worker id.

        Inside `fn`, `workers.current()` has a `.barrier` for all of them, and `.all_gather` and `.all_reduce`, which
        exchange values through shared memory. If a worker dies, those who wait for it get a `BrokenBarrierError`, and
        `fn` is run again in all workers, from its start. A worker takes its part when it has done what it was given
        before, and from a second thread another `run_on_all` waits until this one is through.

        Raises:
            ItemError: it failed in a worker; `.index` is the worker's id.
            WorkerDiedError: `max_deaths` times a worker died of it.
        """
        if not callable(fn):
            given = type_name(type(fn))
            raise ConfigError(f"run_on_all needs a function first, not {given}: pool.run_on_all(fn, *args)")
        step = self._internals.together.begin(fn, args)
        assert step is not None  # noqa: S101 - for the type checker
        return step.run()

    def share(self, obj: object) -> Shared:
        """Put `obj` into shared memory once for all present and future workers.

        Returns a small handle.

        The handle may be an argument, an item, or part of a function; `.get()` gives the object, in the workers and
        here. Arrays and other large buffers inside it are read-only views of that one memory. The memory is freed when
        the handle here is closed or dropped, calls that it was sent with have ended, and no worker holds a view.

        Raises:
            ClosedError: the pool is closed.
            SharedMemoryError: there is no memory for it.
        """
        self._coordinator.check_usable()
        if "shared memory" not in self._coordinator.capabilities:
            raise unable(self._coordinator.name, "share", "shared memory")
        return Shared(obj, self._coordinator.token, self._coordinator.drop_shared)

    # ---- looking ----------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """The wanted number of workers.

        Right after `resize` some may still be starting or leaving.
        """
        return 0 if self._coordinator.closed else self._coordinator.size

    def resize(self, workers: int) -> None:
        """Change the number of workers, from any thread and while maps run.

        Returns at once.

        New workers take chunks as soon as they are ready. Those with the highest ids leave: they take nothing more,
        finish what they have, and go, or stay if they are wanted again before; nothing is lost, repeated or reordered.
        While more are at work than are wanted, nothing new begins. With 0 the pool pauses, until it is given
        workers again. A pool of "auto" size stays at this size from now on.

        Raises:
            ConfigError: it is not a whole number of at least 0.
            ClosedError: the pool is closed.
        """
        whole("workers", workers, 0, MAX_WORKERS)
        if "resizing" not in self._coordinator.capabilities:
            raise unable(self._coordinator.name, "resize", "resizing")
        self._coordinator.resize(workers)
        if isinstance(self._follower, MachineFollower):
            self._follower.stop()

    def reread_size(self) -> None:
        """Reread the file that sets the number of workers, if one does.

        Safe in a signal handler.
        """
        if self._follower is not None:
            self._follower.hurry()

    def status(self, describe: Callable[[Any], str | None] = describe_item) -> PoolStatus:
        """Return what each worker runs and for how long, from any thread.

        `str()` makes it readable.

        Args:
            describe: gives an item in words, None if it has none; called under the pool's lock.
        """
        self._poll()
        return self._coordinator.status(describe)

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """The workers now, by id."""
        self._poll()
        return self._coordinator.workers()

    def _poll(self) -> None:
        """Handle the workers' messages, except in a signal handler that interrupted just that."""
        if not (self._coordinator.closed or self._coordinator.is_interrupted):
            self._coordinator.poll()

    def stats(self) -> PoolStats:
        """Return the pool's counters so far."""
        self._coordinator.refuse_if_foreign()
        return self._internals.totals.stats(self._coordinator, self._futures.counts)

    @property
    def on_output(self) -> OutputCallback | None:
        """The callback for what user code prints, called in the iterating thread.

        It gets (worker id, "stdout" or "stderr", text).
        """
        return self._coordinator.output_callback

    @on_output.setter
    def on_output(self, callback: OutputCallback | None) -> None:
        self._coordinator.show_output_by(callback)

    # ---- ending -----------------------------------------------------------------------------------------------

    def close(self, timeout: float | None = None) -> CloseReport | None:
        """Finish submitted futures, end open maps and stop the workers gracefully.

        A second call does nothing.

        Returns what the workers' finalizers gave; None where the pool has no finalizer.

        A signal handler may call it, too. If it interrupted this thread in a moment when the pool's state was half
        changed, a thread closes the pool as soon as the handler returns or raises.

        Args:
            timeout: seconds after which workers that have not left are ended; None: as long as it takes, but in a
                signal handler that interrupted a call on the pool, which can't continue meanwhile, 0.4 seconds.
        """
        timeout = wait_seconds("timeout", timeout)
        if not (self._finalizer.alive and os.getpid() == self._coordinator.owner_pid):
            return self._close_report
        if calls_around(sys._getframe()) > self._made_inside:  # noqa: SLF001 - the one way to see what was interrupted
            timeout = _HANDLER_GRACE_S if timeout is None else timeout
        if self._is_interrupted:
            run_in_thread(partial(self._close, timeout))
        else:
            self._close(timeout)
        return self._close_report

    def _close(self, timeout: float | None) -> None:
        ends = None if timeout is None else time.monotonic() + timeout
        self._coordinator.take_over()
        self._futures.close(timeout)
        self._coordinator.stop(None if ends is None else max(0.0, ends - time.monotonic()))
        self._finalizer.detach()
        if self._coordinator.farewells or self._settings.finalizer is not None:
            from orchestrator.pool.close_report import close_report  # noqa: PLC0415 - most pools have no finalizer

            self._close_report = close_report(self._coordinator.farewells)

    @property
    def _is_interrupted(self) -> bool:
        """Whether a signal handler asks while its interrupted thread holds one of the pool's locks."""
        return self._coordinator.is_interrupted or self._futures.is_interrupted

    def terminate(self) -> None:
        """Kill every worker now.

        Unfinished futures get `ClosedError`. A signal handler may call it.
        """
        if not (self._finalizer.alive and os.getpid() == self._coordinator.owner_pid):
            return
        if self._is_interrupted:
            self._coordinator.kill()
            run_in_thread(self._terminate)
        else:
            self._terminate()

    def _terminate(self) -> None:
        self._coordinator.terminate()
        self._futures.abort(ClosedError("the pool was terminated before this call finished"))
        self._finalizer.detach()

    if not TYPE_CHECKING:  # type checkers find misspelt names by themselves

        def __getattr__(self, name: str) -> object:
            raise missing_attribute(name, (each for each in dir(Pool) if not each.startswith("_")))

    def __repr__(self) -> str:
        """Return the number of workers, and of busy ones, without waiting."""
        coordinator = self.__dict__.get("_coordinator")
        if coordinator is None or coordinator.closed:
            return "Pool(closed)"
        size = coordinator.size
        return f"Pool({size} worker{'s' * (size != 1)}, {coordinator.busy_workers} busy)"

    def __enter__(self) -> Self:
        self._coordinator.refuse_if_foreign()
        if self._coordinator.closed:
            raise ClosedError("the pool is closed; make a new one")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.terminate()

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Pool can't be sent to another process; make one inside the function that needs it (nested pools work)"
        )

    # ---- inside -----------------------------------------------------------------------------------------------

    def _bars(self, nodes: list[Node], total: int | None, desc: str | None) -> Callable[[], Any]:
        def open_bars() -> NodeBars | ItemBar:
            from orchestrator.graph.bars import ItemBar, NodeBars  # noqa: PLC0415 - tqdm, only when a bar is drawn

            feed, *behind = nodes
            bars = NodeBars(nodes) if behind or not isinstance(feed, FeedNode) else ItemBar(feed, total, desc)
            if not self._coordinator.forwards_output and "processes" in self._coordinator.capabilities:
                self._coordinator.show_output_by(lambda _, stream, text: bars.write(text, stream))
            return bars

        return open_bars


def _keywords(given: Any) -> dict[str, Any]:
    """Return the keyword arguments of a call, or raise ConfigError."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ConfigError(f'kwargs must be a dict of keyword arguments, such as {{"k": 4}}, not {describe(given)}')
    return dict(given)


def _known_length(iterables: tuple[Iterable[Any], ...]) -> int | None:
    """Return how many items will come, None where an iterable does not know."""
    try:
        lengths = [length_hint(iterable, -1) for iterable in iterables]
    except OverflowError:  # range(10**30)
        return None
    return None if min(lengths) < 0 else min(lengths)


def _end_if_ours(coordinator: Engine, futures: FutureDriver, pid: int) -> None:
    """End a pool that was dropped without `close`.

    A forked child only forgets it.
    """
    if os.getpid() == pid:
        coordinator.terminate()
        futures.abort(ClosedError("the pool was dropped before this call finished"))
