"""Nodes and the outlets between them.

Data is pushed in lists, demand is pulled as capacity.

    source --receive(items)--> operator --receive(items)--> sink
           <---capacity()-----          <---capacity()-----

Everything here runs in one thread of the coordinator process, without a lock and without a wait. A node is pushed lists
of items (`receive`) and asked how many more it would take (`capacity`). Items that a consumer can't take yet wait in
the outlet; a node one of whose outlets is backed up has no capacity, so a source above it is not read: backpressure
holds on every branch.

Invariants: `receive` comes only after `capacity` gave more than 0, and may bring more than that; after `end` of a port
nothing comes on it any more; `close` comes exactly once, whatever happens. A list that was pushed belongs to the
receiver, who may change it: the sender never looks at it again. A node's result never depends on how the items were
grouped into lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ItemError
from orchestrator.sinks.given import keep_written

if TYPE_CHECKING:
    from orchestrator.engine.protocol.counts import StageCounts
    from orchestrator.graph.flow.dropped_branch import DroppedBranch
    from orchestrator.graph.flow.overflow import Overflow
    from orchestrator.sinks.given import NodeSink

ROOM = 1024
"""Items that a node with a buffer of its own takes by default."""


class NodeError(Exception):
    """Carries an exception out of a node, with the node's name.

    The graph unwraps it.
    """

    def __init__(self, node: Node, cause: BaseException, name: str | None = None) -> None:
        super().__init__(node.name)
        self.node = node
        self.name = node.name if name is None else name
        """The name of the failed node in messages; a source that a stage cuts from has a name of its own."""
        self.cause = cause

    @property
    def is_unwanted(self) -> bool:
        """Whether an item failed that nobody wants any more: what the node gave before it was enough for all behind it.

        Which items run besides those that are wanted depends on how they were cut.
        """
        outlets = self.node.outlets
        return isinstance(self.cause, ItemError) and bool(outlets) and all(outlet.cancelled for outlet in outlets)


class Outlet:
    """One output of a node, and the input port of the node that it leads to."""

    __slots__ = (
        "backlog", "bound", "cancelled", "consumer", "ended", "guard", "items", "label", "most", "overflow", "owner",
        "place", "port",
    )  # fmt: skip

    def __init__(self, owner: Node) -> None:
        self.owner = owner
        self.consumer: Node = None  # type: ignore[assignment]  # set by `to`, before anything moves
        self.port = 0
        self.backlog: list[Any] = []
        self.ended = False  # the owner will push nothing more
        self.cancelled = False  # the consumer wants nothing more
        self.items = 0  # passed on so far
        self.guard: Callable[[NodeError, Outlet], bool] | None = None
        """Told what fails further on; returns whether the graph continues without that."""
        self.label = ""
        """Which of its owner's outputs this is, if there are several."""
        self.bound = 0
        """How many items may wait here; 0: only those of the last push that the consumer did not take."""
        self.overflow: Overflow | None = None
        """What waits behind the backlog, once this had to grow."""
        self.most = 0
        """Items that ever waited here since then."""
        self.place: str | None = None
        """The beginning of the paths of its files, in a run with checkpoints."""

    def __str__(self) -> str:
        """Tell from where to where it leads."""
        return f"{self.owner.name}{self.label and '.'}{self.label} -> {self.consumer.name}"

    def to(self, consumer: Node, port: int = 0) -> None:
        """Lead to an input port of a node."""
        self.consumer, self.port = consumer, port
        consumer.inlets[port] = self

    def capacity(self) -> int:
        """Return how many items could be pushed now and be taken at once.

        A cancelled outlet takes any number.
        """
        if self.cancelled:
            return ROOM
        room = 0 if self.backlog else self.consumer.capacity(self.port)
        if room <= 0 and self.bound:
            return self.bound - self.waiting
        return room

    @property
    def waiting(self) -> int:
        """Items that were pushed and that the consumer has not taken yet."""
        return len(self.backlog) + (0 if self.overflow is None else self.overflow.items)

    def grow(self, share_bytes: int) -> None:
        """Take more items than the consumer has room for from now on, twice as many each time.

        Args:
            share_bytes: what is more than this waits on disk.
        """
        self.bound = max(2 * self.bound, self.waiting + ROOM)
        if self.overflow is None:
            from orchestrator.graph.flow.overflow import Overflow  # noqa: PLC0415 - most graphs never need it

            self.overflow = Overflow(f"the edge {self}", share_bytes, self.place)

    def drop(self) -> None:
        """Drop what waits, as nobody wants it any more."""
        self.cancelled = True
        self.backlog = []
        if self.overflow is not None:
            self.overflow.close(failed=True)  # the last checkpoint may need its files

    def close(self, *, failed: bool) -> None:
        """Free what waits, and its files unless a later run needs them."""
        if self.overflow is not None:
            self.overflow.close(failed=failed)

    def push(self, items: list[Any]) -> None:
        """Pass items on, or keep them until the consumer has room.

        The consumer owns the list from now on.
        """
        if self.cancelled or not items:
            return
        if not self.backlog and self.consumer.capacity(self.port) > 0:
            self._deliver(items)
        elif self.overflow is not None:
            self._keep(items, self.overflow)
        elif self.backlog:
            self.backlog += items
        else:
            self.backlog = items

    def _keep(self, items: list[Any], overflow: Overflow) -> None:
        if self.backlog:
            overflow.put(items)
        else:
            self.backlog = items
        self.most = max(self.most, self.waiting)

    def end(self) -> None:
        """Say that nothing more comes.

        The consumer gets this after the backlog.
        """
        if not self.ended:
            self.ended = True
            if not self.backlog and not self.cancelled:
                self._tell_end()

    def flush(self) -> bool:
        """Pass on what waits, if the consumer has room, and return whether anything moved."""
        if not self.backlog:
            return False
        room = self.consumer.capacity(self.port)
        if room <= 0:
            return False
        if room >= len(self.backlog):
            items, self.backlog = self.backlog, []
        else:
            items = self.backlog[:room]
            del self.backlog[:room]
        if not self.backlog and self.overflow is not None:
            self.backlog = self.overflow.get()
        self._deliver(items)
        if self.ended and not self.backlog and not self.cancelled:
            self._tell_end()
        return True

    def cancel(self) -> None:
        """Drop what waits, and tell the owner, as the consumer leaves."""
        if not self.cancelled:
            self.drop()
            self.owner.cancelled(self)

    def snapshot(self) -> tuple[Any, ...]:
        """Return all that is needed to resume from here in another process."""
        overflow = None if self.overflow is None else self.overflow.snapshot()
        return list(self.backlog), self.ended, self.cancelled, self.items, self.bound, self.most, overflow

    def restore(self, state: tuple[Any, ...]) -> None:
        """Take up a state that `snapshot` gave."""
        self.backlog, self.ended, self.cancelled, self.items, bound, self.most, overflow = state
        if overflow is not None:
            self.grow(0)
            self.bound = bound
            self.overflow.restore(overflow)  # type: ignore[union-attr]  # `grow` made it

    def _deliver(self, items: list[Any]) -> None:
        self.items += len(items)
        consumer = self.consumer
        try:
            consumer.receive(items, self.port)
        except NodeError as error:
            self._failed(error)
        except BaseException as error:
            self._failed(NodeError(consumer, error))

    def _tell_end(self) -> None:
        consumer = self.consumer
        try:
            consumer.end(self.port)
        except NodeError as error:
            self._failed(error)
        except BaseException as error:
            self._failed(NodeError(consumer, error))

    def _failed(self, error: NodeError) -> None:
        if error.is_unwanted:
            return
        if self.guard is None or not self.guard(error, self):
            raise error from error.cause


class Node:
    """One step of a graph, with numbered input ports and outlets.

    The defaults suit a node of one input and one outlet.

    A subclass gives `receive`; it overrides the rest where its pattern needs it. Its docstring ends with four lines:
    *Emits when*, *Backpressures when*, *Completes when*, *Fails when*.
    """

    __slots__ = ("__weakref__", "closed", "copies", "ended", "failed", "full_s", "inlets", "name", "outlets", "secret")

    is_source = False
    """Whether items begin here: then `stop`, `pause` and `error` mean something."""
    is_stage = False
    """Whether its items go to workers."""
    leaves_early = False
    """Whether it may leave an input that has not ended."""
    is_shown = True
    """Whether reports and bars show it."""
    takes_turns = False
    """Whether the results depend on which input comes first, unless it takes them in turn."""
    drops_branches = False
    """Whether what one of its outlets leads to may fail without the rest."""
    dropped: Sequence[DroppedBranch] = ()
    """Which branches did."""
    late_items: int = 0
    """Items that came too late for all their windows."""

    def __init__(self, name: str, *, inputs: int = 1, outputs: int = 1) -> None:
        self.name = name
        self.inlets: list[Outlet] = [None] * inputs  # type: ignore[list-item]  # each is set by its `Outlet.to`
        self.outlets = [Outlet(self) for _ in range(outputs)]
        self.ended = [False] * inputs
        self.closed = False
        self.copies = False
        """Whether items go from here to workers: then what others may still change is copied before it is passed on."""
        self.failed = False
        """The run fails or was left: what would be made final at the end is to be given up instead."""
        self.secret: str | None = None
        """That of a run with checkpoints; None: it has none."""
        self.full_s = 0.0
        """How long the run has waited because this node had no room."""

    @property
    def items_in(self) -> int:
        """Items received so far."""
        return sum(inlet.items for inlet in self.inlets)

    @property
    def items_out(self) -> int:
        """Items passed on so far."""
        return sum(outlet.items for outlet in self.outlets)

    def capacity(self, port: int) -> int:  # noqa: ARG002 - for nodes that have several
        """Return how many items this input port takes now.

        By default what every outlet takes.
        """
        room = ROOM
        for outlet in self.outlets:
            room = min(room, outlet.capacity())
        return room

    # ---- what the runner asks ---------------------------------------------------------------------------------

    @property
    def needs_engine(self) -> bool:
        """Whether what it runs comes from an engine, in whose one wait the graph has to wait then."""
        return self.is_stage

    @property
    def is_waiting(self) -> bool:
        """Whether something will happen here by itself, without anything else in the graph moving before."""
        return False

    @property
    def has_news(self) -> bool:
        """Whether something has happened here by itself, so that `pump` would move something now."""
        return False

    @property
    def wait_s(self) -> float | None:
        """Seconds until `pump` should be called, whatever happens, or None if unknown."""
        return None

    @property
    def has_results(self) -> bool:
        """Whether something is here for the consumer of the run to take."""
        return False

    @property
    def error(self) -> BaseException | None:
        """What a source raised, once all that it gave before is passed on."""
        return None

    @property
    def source_name(self) -> str:
        """What the error of a source is said to have come from."""
        return self.name

    @property
    def counts(self) -> StageCounts | None:
        """What the workers have done for it, or None if its items stay in this process."""
        return None

    def note_dropped(self, branch: DroppedBranch) -> None:
        """Note a branch that was closed, where `drops_branches`."""
        raise NotImplementedError

    def take_turns(self, items: int) -> None:
        """Take so many items of each input in turn, where `takes_turns`."""

    def set_up(self, graph: object) -> None:
        """Open what its work needs, before the state of a run that is resumed is taken up.

        Args:
            graph: what the nodes of one run have in common.
        """

    def start(self, wake: Callable[[], None]) -> None:
        """Begin what runs beside the turns, before the first of them.

        Args:
            wake: ends the runner's wait; may be called from any thread.
        """

    def feed(self) -> None:
        """Keep workers supplied while the consumer takes its time.

        Does not wait, and passes nothing on.
        """

    def stop(self) -> None:
        """Read nothing more from a source.

        What was read goes through.
        """

    def pause(self) -> None:
        """Read nothing more for now, though the source has not ended."""

    def rest(self) -> bool:
        """Begin nothing more, as the run pauses.

        Returns whether nothing that runs here is to be waited for.
        """
        return True

    def end_running(self, grace_s: float) -> None:
        """End the workers that still run something of it so many seconds after it was closed."""

    # ---- data -------------------------------------------------------------------------------------------------

    def receive(self, items: list[Any], port: int) -> None:
        """Take items.

        The node owns the list. Raises what its user functions raise.
        """
        raise NotImplementedError

    def end(self, port: int) -> None:
        """Handle the end of a port.

        By default, once all have ended, call `finish`, then end every outlet.
        """
        self.ended[port] = True
        if all(self.ended):
            self.finish()
            for outlet in self.outlets:
                outlet.end()

    def finish(self) -> None:
        """Push what is still held, as every input has ended."""

    def pump(self) -> bool:
        """Move what had to wait for room, and return whether anything moved.

        Called in every turn, consumers first.
        """
        moved = False
        for outlet in self.outlets:
            if outlet.backlog and outlet.flush():
                moved = True
        return moved

    def cancelled(self, outlet: Outlet) -> None:  # noqa: ARG002 - for nodes whose outlets differ
        """Handle a consumer that left: by default, once all have, leave every input."""
        if all(each.cancelled for each in self.outlets):
            for inlet in self.inlets:
                inlet.cancel()

    def close(self) -> None:
        """Free what this node holds.

        Called once: at the end, at a failure, or when all consumers left.
        """

    # ---- checkpoints: between two turns the whole state of a run is that of its nodes --------------------------

    def keep_written(self, place: str, secret: str) -> None:
        """Make what is written outlive this process.

        Called before the first turn of a run with checkpoints.

        Args:
            place: the beginning of the paths that are this node's own, for files of its state.
            secret: of the run; file names that others could otherwise guess are derived from it.

        Raises:
            ConfigError: a sink can't be resumed.
        """
        self.secret = secret
        for number, outlet in enumerate(self.outlets):
            outlet.place = f"{place}-edge-{number}"
        for sink in self.own_sinks():
            keep_written(sink, self.name, secret)

    def own_sinks(self) -> list[NodeSink]:
        """Return the sinks that this node writes to, those aside too."""
        return []

    def sink_keys(self) -> list[Any]:
        """Return the keys of the sinks that were made, also when the node is closed."""
        return []

    def make_sinks(self, keys: list[Any]) -> None:
        """Make those sinks again, in another process."""

    def snapshot(self) -> Any:
        """Return this node's own state, picklable, or None if it has none."""
        return None

    def restore(self, state: Any) -> None:
        """Take up a state that `snapshot` gave."""
