"""A session with a scheduler of Dask: sends tasks, gathers what they return, and watches who is there.

    send (any thread) -> client.submit ~~~> worker of Dask: on_node.run -> node pool
    _serve (its own thread) <- finished futures, commands; each turn gathers all that have finished at once

Owner of the state: the session, under `_lock`, but for what only `_serve` touches. No lock is held while Dask is asked.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future, KilledWorker

from orchestrator.cluster.carrier import Done, NodeLost, Site, Withdrawn
from orchestrator.cluster.dask import on_node
from orchestrator.cluster.dask.nodes import Node, Nodes, addresses
from orchestrator.cluster.node import serve
from orchestrator.cluster.node.messages import Call, Versions, Work
from orchestrator.errors import ConfigError, EngineLostError, OrchestratorError
from workers.errors.describe import text_of, type_name

_SCATTERED_BYTES = 1 << 20
"""Larger chunks go to their node directly, not with the graph through the scheduler."""
_TURN_S = 0.2
_LOOK_S = 0.5
_END_S = 10.0
_ANSWER_S = 5.0
"""How long a node may take to answer; one that is frozen does not."""

Command = Callable[[], object]
Answer = concurrent.futures.Future[Any]


class _Task:
    """A chunk that Dask has."""

    __slots__ = ("call", "future", "once", "scattered", "work")

    def __init__(self, call: Call, work: Work, *, once: bool) -> None:
        self.call, self.work, self.once = call, work, once
        self.future: Any = None
        self.scattered: Any = None


class Session:
    """A `Carrier` over a client of Dask."""

    def __init__(self, client: Client, *, own: bool) -> None:
        """Greet all workers.

        Args:
            client: connected.
            own: whether to close it at the end.

        Raises:
            ConfigError: one of them has other versions, or lacks this package.
        """
        self._client = client
        self._own = own
        self._mark = os.urandom(4).hex()
        self._lock = threading.Lock()
        self._nodes = Nodes()
        self._tasks: dict[int, _Task] = {}
        self._token = b""
        self._queue: SimpleQueue[Command | int] = SimpleQueue()
        self._stopped = threading.Event()
        self._ending = False
        self._looked_s = 0.0
        refusal = self._greet(self._workers())
        if refusal is not None:
            raise ConfigError(refusal)

    def start(self, done: Done, changed: Callable[[], None], broke: Callable[[OrchestratorError], None]) -> None:
        """Begin to report, in a thread of its own."""
        self._done, self._changed, self._broke = done, changed, broke
        threading.Thread(target=self._serve, name="orchestrator-dask", daemon=True).start()

    @property
    def slots(self) -> int:
        """How many tasks run at once."""
        return self._nodes.slots

    def sites(self) -> list[Site]:
        """Return the worker processes of Dask."""
        with self._lock:
            return [Site(each.host, each.pid, each.slots) for each in self._nodes.all()]

    # ---- out, in any thread -------------------------------------------------------------------------------------

    def carry(self, call: Call) -> Any:
        """Make a call known as a task of its own, which Dask runs again where its result is lost."""
        self._token = call.token
        key = f"orchestrator-call-{self._mark}-{call.number}-{call.version}"
        with self._broken_by("open a call"):
            return self._client.submit(on_node.given, call, key=key, pure=False)

    def send(self, carried: Any, call: Call, work: Work, *, once: bool) -> None:
        """Submit a task, preferably to the node that has least to do."""
        task = _Task(call, work, once=once)
        with self._lock:
            node = self._nodes.next()
            if node is not None:
                node.held.add(work.ident)
            self._tasks[work.ident] = task
        places = None if node is None else [node.address]
        with self._broken_by("send a chunk"):
            what: Any = work
            if _size(work) >= _SCATTERED_BYTES:
                what = task.scattered = self._client.scatter([work], workers=places, direct=True, hash=False)[0]
            task.future = self._client.submit(
                on_node.run,
                carried,
                what,
                key=f"orchestrator-{call.name or 'function'}-{self._mark}-{work.ident}-{work.attempt}",
                pure=False,
                retries=0,
                workers=places,
                allow_other_workers=not once,
            )
            task.future.add_done_callback(partial(self._finished, work.ident))

    def _finished(self, ident: int, _future: Any) -> None:
        self._queue.put(ident)

    def cancel(self, ident: int, *, running: bool = False) -> None:
        """Take a task back, or have its worker ended."""
        self._queue.put(partial(self._take_back, ident, running=running))

    def drop(self, idents: list[int], carried: Any, oldest: int) -> None:
        """Forget the tasks of a call, and have nodes stop what runs of them."""
        self._queue.put(partial(self._drop, idents, carried, oldest))

    # ---- the session's own thread -------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._ending:
                finished = self._turn()
                if self._client.status != "running":
                    self._lost("lost the connection")
                elif finished:
                    self._report(finished)
                if time.monotonic() - self._looked_s > _LOOK_S and not self._ending:
                    with self._broken_by("see its workers"):
                        self._look()
        finally:
            self._stopped.set()

    def _turn(self) -> list[int]:
        """Do what is to be done, and return the tasks that have finished meanwhile."""
        finished: list[int] = []
        timeout: float | None = _TURN_S
        with suppress(Empty):
            while True:
                found = self._queue.get(timeout=timeout) if timeout else self._queue.get_nowait()
                timeout = None
                if isinstance(found, int):
                    finished.append(found)
                    continue
                with self._broken_by("be told what to do"):
                    found()
        return finished

    def _report(self, finished: list[int]) -> None:
        """Gather what has finished, at once, and report it."""
        with self._lock:
            tasks = {ident: task for ident in finished if (task := self._tasks.get(ident)) is not None}
        whole = {ident for ident, task in tasks.items() if task.future.status == "finished"}
        self._gather({ident: tasks[ident] for ident in whole})
        for ident in tasks.keys() - whole:
            self._failed(ident, tasks[ident])

    def _gather(self, tasks: dict[int, _Task]) -> None:
        """Begin to gather what tasks returned, as a node that froze with it must not hold up the others."""
        if tasks:
            futures = {ident: task.future for ident, task in tasks.items()}
            asked = self._asked(lambda: self._client.gather(futures, direct=True))
            asked.add_done_callback(lambda done: self._queue.put(partial(self._gathered, tasks, done)))

    def _gathered(self, tasks: dict[int, _Task], done: Answer) -> None:
        """Report what was gathered.

        If some of it was lost meanwhile, gather the others one by one.
        """
        if done.cancelled() or done.exception() is not None:
            if len(tasks) > 1:
                for ident, task in tasks.items():
                    self._gather({ident: task})
            else:
                for ident, task in tasks.items():
                    self._failed(ident, task)
            return
        for ident, outcome in done.result().items():
            self._settle(ident, outcome)

    def _asked(self, call: Callable[[], Any]) -> Answer:
        """Call a method of the client within its loop, and return what it will give."""

        async def awaited() -> Any:
            return await call()

        return asyncio.run_coroutine_threadsafe(awaited(), self._client.loop.asyncio_loop)

    def _failed(self, ident: int, task: _Task) -> None:
        """Report a task that has brought no outcome."""
        future: Future = task.future
        if self._client.status != "running":
            self._lost("lost the connection")
            return
        error = future.exception() if future.status == "error" else None
        if error is None or isinstance(error, KilledWorker):
            with self._lock:
                node = self._nodes.holder(ident)
            self._settle(ident, NodeLost("", 0) if node is None else NodeLost(node.host, node.pid))
        else:
            self._lost(f"can't run a chunk: {type_name(type(error))}: {text_of(error)}", error)

    def _settle(self, ident: int, result: Any) -> None:
        with self._lock:
            known = self._tasks.pop(ident, None)
            self._nodes.forget(ident)
        if known is not None:
            self._done(ident, result)

    def _take_back(self, ident: int, *, running: bool) -> None:
        with self._lock:
            task, node = self._tasks.get(ident), self._nodes.holder(ident)
        if task is None:
            return
        if running and node is not None:
            asked = task.call.token, ident
            places = [node.address]
            answer = self._asked(lambda: self._client.run(serve.call_off, *asked, workers=places, on_error="ignore"))
            with suppress(TimeoutError):
                if any(answer.result(_ANSWER_S).values()):  # its outcome says so
                    return
        self._client.cancel([task.future], force=True)
        self._settle(ident, Withdrawn())

    def _drop(self, idents: list[int], carried: Any, oldest: int) -> None:
        with self._lock:
            tasks = [self._tasks.pop(ident) for ident in idents if ident in self._tasks]
            for ident in idents:
                self._nodes.forget(ident)
            nodes = addresses(self._nodes.all())
        futures = [each.future for each in tasks if each.future is not None]
        if futures:
            self._client.cancel(futures, force=True)
            if nodes:
                asked = self._token, oldest
                self._asked(lambda: self._client.run(serve.end_calls, *asked, workers=nodes, on_error="ignore"))
        del carried  # the last reference: Dask forgets the call

    # ---- who is there -------------------------------------------------------------------------------------------

    def _workers(self) -> dict[str, Any]:
        try:
            said: Any = self._client.scheduler_info(n_workers=-1)
        except TypeError:  # before Dask 2025.5, which tells of all
            said = self._client.scheduler_info()
        return dict(said["workers"])

    def _look(self) -> None:
        """Take in who came, who left, and who is silent."""
        self._looked_s = time.monotonic()
        workers = self._workers()
        before = self._nodes.slots
        self._greet(workers)
        with self._lock:
            lost = self._nodes.look(workers, time.monotonic())
            gone = [(node, ident) for node in lost for ident in node.held]
            tasks = {ident: self._tasks[ident] for _, ident in gone if ident in self._tasks}
        for node in lost:
            if node.address in workers:  # silent: Dask would wait far longer, also for what others need of its data
                self._asked(partial(self._client.scheduler.unregister, address=node.address, stimulus_id="silent"))
        for node, ident in gone:
            task = tasks.get(ident)
            if task is None or (node.address not in workers and not task.once):
                continue  # Dask runs it elsewhere, as its node is gone
            self._client.cancel([task.future], force=True)
            self._settle(ident, NodeLost(node.host, node.pid))
        if self._nodes.slots != before:
            self._changed()

    def _greet(self, workers: dict[str, Any]) -> str | None:
        """Ask new workers who they are, and return why some can't be used."""
        new = self._nodes.unknown(workers)
        if not new:
            return None
        refusal = None
        answers = self._client.run(on_node.hello, workers=new, on_error="return")
        with self._lock:
            for address in new:
                said = answers.get(address)
                why = _refusal(address, said)
                if why is None:
                    slots = max(1, int(workers[address]["nthreads"]))
                    self._nodes.greeted(address, slots, said.host, said.pid, time.monotonic())
                elif not isinstance(said, OSError | None):  # else it is asked again
                    self._nodes.refuse([address])
                    refusal = refusal or why
        return refusal

    # ---- its end ------------------------------------------------------------------------------------------------

    def _lost(self, what: str, error: BaseException | None = None) -> None:
        where = getattr(self._client.scheduler, "address", "")
        lost = EngineLostError(
            f"the scheduler of Dask {where} {what}. A run with a checkpoint continues once it is there again"
            if error is None
            else f"the cluster of Dask at {where} {what}"
        )
        lost.__cause__ = error
        self._ending = True
        self._broke(lost)

    def _broken_by(self, what: str) -> _Breaks:
        return _Breaks(self, what)

    def stop(self, timeout_s: float | None) -> serve.Farewells:
        """End the node pools, and return what their finalizers gave."""
        found: serve.Farewells = []
        self._queue.put(partial(self._end_nodes, timeout_s, found))
        self._stopped.wait(_END_S if timeout_s is None else timeout_s + _END_S)
        return found

    def _end_nodes(self, timeout_s: float | None, found: serve.Farewells) -> None:
        self._ending = True
        nodes: list[Node] = self._nodes.all()
        if self._client.status == "running" and nodes and self._token:
            within_s = _END_S if timeout_s is None else timeout_s
            asked, places = (self._token, within_s), addresses(nodes)
            answer = self._asked(lambda: self._client.run(serve.end, *asked, workers=places, on_error="ignore"))
            with suppress(TimeoutError):
                for each in answer.result(within_s + _ANSWER_S).values():
                    found += each

    def close(self) -> None:
        """Leave the scheduler, if the client is ours."""
        self._ending = True
        with self._lock:
            self._tasks.clear()
        if not self._own:
            return
        log = logging.getLogger("distributed.client")
        before = log.level
        if self._client.status != "running":  # else it would log what was told already
            log.setLevel(logging.CRITICAL)
        try:
            with suppress(Exception):
                self._client.close(timeout=1)
        finally:
            log.setLevel(before)


class _Breaks:
    """Turns what Dask raises into the end of the session."""

    def __init__(self, session: Session, what: str) -> None:
        self._session = session
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: object) -> bool:
        if not isinstance(error, Exception):
            return False
        if not self._session._ending:  # noqa: SLF001 - its own module
            self._session._lost(f"can't {self._what}: {type_name(type(error))}: {text_of(error)}")  # noqa: SLF001
        return True


def _size(work: Work) -> int:
    body = getattr(work.body, "size", None)
    return (len(work.body) if body is None else body) + sum(each.size for each in work.buffers)


def _refusal(address: str, said: Any) -> str | None:
    """Return why a worker can't be used, None if it can."""
    if isinstance(said, ModuleNotFoundError):
        return f"the worker of Dask at {address} lacks {said.name}: install orchestrator-pool there, as here"
    if not isinstance(said, on_node.Hello):
        return f"the worker of Dask at {address} can't be used: {text_of(said) if said else 'it does not answer'}"
    here, there = Versions.here(), Versions(*said.versions)
    if here == there:
        return None
    return (
        f"the worker of Dask at {address} has {there}, the program has {here}: code and pickles of one can't be read "
        "by the other; install the same versions on both"
    )
