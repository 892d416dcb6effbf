"""The runner: runs the nodes of a graph in one thread, turn by turn, and waits in the engine's one wait.

    look:  every millisecond, take what the lanes have brought; does not wait
    turn:  for each node, consumers first:  pump       (sources last: they read while there is room)
    wait:  nothing moved -> for results of the pool, room in it, or a source that blocks

A wait is begun only if a node says who will end it (`is_waiting`). What waits for its consumer doesn't count. Where
only full buffers stand in the way, the smallest grows (`growing.py`).

Owner of the state of all nodes: the thread of whoever iterates the stream or calls `run`. No node has a thread, but for
the readers of sources that block, which only fill buffers and wake the engine. The order in which nodes are pumped is
fixed, so a graph over sources that don't block gives the same every time.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.errors import ClosedError, InternalError, PausedError
from orchestrator.graph.flow.branches import Branches
from orchestrator.graph.flow.growing import grow_smallest
from orchestrator.graph.flow.node import Node, NodeError
from orchestrator.graph.sinks import set_up_dead_letters
from orchestrator.settings import BUFFER_BYTES
from workers.errors.capture import add_note, notes_of

if TYPE_CHECKING:
    from orchestrator.engine.protocol.engine import Engine
    from orchestrator.graph.checkpoints import Checkpoints
    from orchestrator.graph.sinks import ResultsNode

NOT_YET = object()
"""Stands among the results of a run where nothing had come when its consumer would wait no longer."""
_POLL_S = 0.001
"""While there is something to do here, the lanes are looked after this often."""


class Bars(Protocol):
    """The display of a run's progress, as `NodeBars`."""

    interval_s: float
    """Look at least this often."""

    def poll(self) -> None:
        """Update the progress of the nodes, and draw if a picture is due."""

    def close(self) -> None:
        """Draw the last picture."""


class Runner:
    """Runs one graph once."""

    def __init__(
        self,
        nodes: list[Node],
        coordinator: Engine | None,
        bars: Bars | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        """Take the nodes, each behind those that it gets items from."""
        self._checkpoints = checkpoints
        self.nodes = nodes
        self.bars = bars
        self._look_through(nodes)
        self._branches = Branches(nodes, self._forget)
        self._coordinator = coordinator if any(node.needs_engine for node in nodes) else None
        budget_bytes = BUFFER_BYTES if self._coordinator is None else self._coordinator.buffer_bytes
        self._share_bytes = budget_bytes // max(1, sum(len(node.inlets) for node in self._meeting))
        """How many bytes may wait in memory at each edge that may have to grow."""
        self._news = threading.Event()  # stands in for the coordinator's wake-up where there is no pool
        self._look_at = 0.0
        self._interrupted = False
        self._pause_until: float | None = None
        """Nothing more is read, and what runs may finish until this time."""
        self.started = False
        self.closed = False
        self._is_doomed = False
        """A source has raised. No checkpoint is written any more: in it, the source would have ended."""
        self._waits_until: float | None = None
        """The consumer waits no longer, by `perf_counter`."""
        self._left = False
        """The consumer has closed the results in the middle of the iteration."""

    def _look_through(self, nodes: list[Node]) -> None:
        """Sort the nodes by what is to be done with them."""
        self._order = list(reversed(nodes))
        self._stages = [node for node in nodes if node.is_stage]
        self._sources = [node for node in nodes if node.is_source]
        self._terminals = [node for node in nodes if not node.outlets]
        self._meeting = [node for node in nodes if len(node.inlets) > 1]
        self._may_be_left = any(node.leaves_early for node in nodes)

    def _forget(self, dropped: frozenset[Node]) -> None:
        """Continue without these nodes, which are closed."""
        self._look_through([node for node in reversed(self._order) if node not in dropped])

    def start(self) -> None:
        """Open the calls on the pool, and start the readers of sources that block.

        A second call does nothing.
        """
        if self.started:
            return
        self.started = True
        graph = object()
        for node in self.nodes:
            node.set_up(graph)
        set_up_dead_letters(sink for node in self.nodes for sink in node.own_sinks())
        if self._checkpoints is not None:
            self._checkpoints.begin(self.nodes)
            self._branches.resume()
        wake = self._news.set if self._coordinator is None else self._coordinator.wake
        for node in self.nodes:
            if not node.closed:  # in a branch that had been dropped
                node.start(wake)

    def limit_wait(self, seconds: float | None) -> None:
        """Give the consumer `NOT_YET` if nothing has come in so many seconds."""
        self._waits_until = None if seconds is None else perf_counter() + seconds

    def supply(self) -> None:
        """Send what the workers take now, without waiting."""
        self._look_at = 0.0
        self._poll()

    def run(self) -> None:
        """Run to the end.

        Raises:
            Exception: what the function of a node raised, the node named in a note; everything is released.
        """
        for _ in self.results(None):
            raise InternalError("a graph without a consumer produced results")

    def results(self, terminal: ResultsNode | None) -> Generator[list[Any], None, None]:
        """Run, and yield what the consumer's terminal gets, list by list.

        Leaving early ends the run.

        What the terminal had got before a node failed is given first.
        """
        try:
            self.start()
            while self._goes_on():
                if terminal is not None:
                    found = terminal.take()
                    for items in found:
                        yield items
                        self._poll()
                    if not found and self._is_over:
                        yield [NOT_YET]
            self._raise_source_error()
            self._save()
        except NodeError as carrier:
            error = _named(carrier)
        except BaseException:
            self.close(failed=True)
            raise
        else:
            self.close(failed=False)
            self._branches.discard()
            if self._checkpoints is not None:
                self._checkpoints.finish()
            return
        # Out of the `except`, so that the error keeps its own cause and context.
        try:
            if terminal is not None:
                yield from terminal.take()
        finally:
            self.close(failed=True)
        raise error

    def _goes_on(self) -> bool:
        """Run a turn, and wait if nothing moved.

        Returns False at the end of the run.
        """
        if self.turn() or any(node.has_results for node in self._terminals):
            return True
        if all(node.ended[0] for node in self._terminals):
            return False
        if self._pause_until is not None and self._has_come_to_rest(self._pause_until):
            self._save()
            raise PausedError("the run was asked to stop")
        if self._meeting and self._pause_until is None and grow_smallest(self._meeting, self._share_bytes):
            return True
        # Sources first: one that finds no room, as another thread has just taken it, has the stage behind it wait.
        if any(node.is_waiting for node in reversed(self._order)):
            self._wait()
        else:
            self._refuse_to_hang()
        return True

    def turn(self) -> bool:
        """Pump every node once, consumers first, and return whether anything moved."""
        self._poll()
        if self._left:
            raise ClosedError(
                "the results were closed, by a signal handler or another thread, while they were read"
            )
        self._interrupted = False
        moved = False
        for node in self._order:
            try:
                if not node.closed and node.pump():  # closed: a branch was dropped meanwhile
                    moved = True
            except NodeError as error:
                self._drop_or_raise(error)
                moved = True
            except Exception as error:
                self._drop_or_raise(NodeError(node, error))
                moved = True
        if self._may_be_left:
            self._release_left()
        self._notice_source_errors()
        if self.bars is not None:
            self.bars.poll()
        if moved and self._checkpoints is not None and not self._is_doomed:
            self._checkpoints.poll()
        return moved

    def show(self, bars: Bars) -> None:
        """Draw these bars from now on."""
        self.bars = bars

    def _drop_or_raise(self, error: NodeError) -> None:
        if not error.is_unwanted and not self._branches.takes(error):
            raise error from error.cause

    def _release_left(self) -> None:
        """Close the nodes that all their consumers have left, so that what they hold is free while the rest runs.

        One that writes to sinks is closed at the end, when it is known whether these are to be final.
        """
        left = [node for node in self._order if node.outlets and _is_left(node)]
        for node in left:
            if node.closed or node.own_sinks():
                continue
            node.closed = True
            try:
                node.close()
            except Exception as error:
                self._drop_or_raise(NodeError(node, error))
        gone = frozenset(node for node in left if node.closed)
        if gone:
            self._forget(gone)
            self._take_back_doom()

    def stop(self) -> None:
        """Stop reading all sources, so that the run ends well with what was read."""
        for source in self._sources:
            source.stop()
        if self._coordinator is not None:
            self._coordinator.wake()

    def leave(self) -> None:
        """Make the run end with `ClosedError` when it continues.

        Called from a signal handler or another thread.
        """
        self._left = self._interrupted = True
        self._news.set()
        if self._coordinator is not None:
            self._coordinator.wake()

    def pause(self, grace_s: float) -> None:
        """Read nothing more, let what runs finish for `grace_s` seconds, save, and end with `PausedError`.

        May be called from a signal handler, or from another thread.
        """
        self._pause_until = perf_counter() + grace_s
        self._interrupted = True
        for source in self._sources:
            source.pause()
        self._news.set()
        if self._coordinator is not None:
            self._coordinator.wake()

    def close(self, *, failed: bool) -> None:
        """Close every node once, consumers last, so that sinks are made final when all else has ended well."""
        if self.closed:
            return
        self.closed = True
        first: BaseException | None = None
        for node in self.nodes:
            if node.closed:
                for outlet in node.outlets:
                    outlet.close(failed=failed)
                continue
            node.failed = node.failed or failed or first is not None
            try:
                node.closed = True
                node.close()
            except BaseException as error:
                carrier = NodeError(node, error)
                if failed or first is not None or not self._branches.takes(carrier):
                    first = first or _named(carrier)
            for outlet in node.outlets:
                outlet.close(failed=node.failed)
        if first is not None and not failed:
            raise first

    def end_running(self, grace_s: float) -> None:
        """End the workers that still run something of it so many seconds after it was closed.

        Raises:
            OrchestratorError: the pool is broken or closed.
        """
        for node in self.nodes:
            node.end_running(grace_s)

    # ---- inside -----------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        """Keep the workers supplied while there is much to do here, or the consumer is slow."""
        if self._coordinator is not None and perf_counter() >= self._look_at:
            self._coordinator.look()
            for stage in self._stages:
                stage.feed()
            self._look_at = perf_counter() + _POLL_S

    def _notice_source_errors(self) -> None:
        """Note sources that raised: the run fails once their earlier items are through."""
        for source in self._sources:
            if source.error is not None and not source.failed:
                if self._branches.takes(_of_source(source, source.error)):
                    continue
                self._is_doomed = True
                for node in self.nodes:
                    node.failed = True

    def _take_back_doom(self) -> None:
        """Continue as if no source had raised, if those that did were left: nobody wants what they read ahead."""
        if self._is_doomed and all(source.error is None for source in self._sources):
            self._is_doomed = False
            for node in self.nodes:
                node.failed = False

    def _raise_source_error(self) -> None:
        for source in self._sources:
            if source.error is not None:
                raise _of_source(source, source.error)

    def _wait(self) -> None:
        """Wait until a turn would move something, as a node said will happen."""
        started = perf_counter()
        delays = [delay for node in self._order if (delay := node.wait_s) is not None]
        if self.bars is not None:
            delays.append(self.bars.interval_s)
        if self._pause_until is not None:
            delays.append(max(0.0, self._pause_until - perf_counter()))
        if self._waits_until is not None:
            delays.append(max(0.0, self._waits_until - perf_counter()))
        if self._coordinator is not None:
            self._coordinator.drive(self._ready, min(delays, default=None))
        else:
            self._news.wait(min(delays, default=None))
            self._news.clear()
        self._blame_the_full(perf_counter() - started)

    def _ready(self) -> bool:
        return any(node.has_news for node in self._order) or self._interrupted

    @property
    def _is_over(self) -> bool:
        """Whether the consumer wants to wait no longer."""
        return self._waits_until is not None and perf_counter() >= self._waits_until

    def _has_come_to_rest(self, until: float) -> bool:
        """Whether nothing more is to be waited for, now that nothing is read."""
        rested = [node.rest() for node in self._order]
        return all(rested) or perf_counter() >= until

    def _save(self) -> None:
        if self._checkpoints is not None and not self._is_doomed:
            self._checkpoints.save()

    def _refuse_to_hang(self) -> None:
        """Raise an error instead of hanging, as nothing moves and nothing could change that."""
        if self._ready() or any(node.pump() for node in self._order):
            return
        stuck = [node.name for node in self.nodes if node.outlets and any(o.backlog for o in node.outlets)]
        raise InternalError(f"the graph is stuck; items wait behind {', '.join(stuck) or 'a node without room'}")

    def _blame_the_full(self, seconds: float) -> None:
        """Count the wait for the nodes that held others up: those without room whose consumers have some."""
        for held in dict.fromkeys((*self._sources, *self._stages)):
            outlet = held.outlets[0]
            while not outlet.ended and not outlet.cancelled and outlet.capacity() <= 0:
                node = outlet.consumer
                held_up = next((o for o in node.outlets if not o.cancelled and o.capacity() <= 0), None)
                if held_up is None:
                    node.full_s += seconds
                    break
                outlet = held_up


def _is_left(node: Node) -> bool:
    return all(outlet.cancelled for outlet in node.outlets) and all(inlet.cancelled for inlet in node.inlets)


def _of_source(source: Node, error: BaseException) -> NodeError:
    return NodeError(source, error, source.source_name if source.name else "")


def _named(carrier: NodeError) -> BaseException:
    """Return the exception that a node raised, with a note that names the node."""
    error = carrier.cause
    if not carrier.name:
        return error
    note = f"in node {carrier.name!r}"
    if note not in notes_of(error):
        add_note(error, note)
    return error
