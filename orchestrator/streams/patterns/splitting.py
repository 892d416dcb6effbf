"""Nodes of one input and several outputs.

A node owns the sinks that it was given or made: it ends each exactly once.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.graph.flow.dropped_branch import DroppedBranch
from orchestrator.graph.flow.node import Node
from orchestrator.option_values import one_of
from orchestrator.sinks.disk.syncing import folders_synced_once, sync_ahead
from orchestrator.sinks.given import keep_written
from orchestrator.streams.patterns.calls import apply, item_error, reached
from workers.errors.describe import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from orchestrator.graph.flow.node import Outlet
    from orchestrator.sinks.given import NodeSink


def close_all(sinks: list[NodeSink], *, failed: bool) -> None:
    """Close each and empty the list.

    If the run has failed, they are aborted instead.

    An error of one doesn't keep the rest open, and the first is raised.
    """
    first: BaseException | None = None
    if not failed:
        sync_ahead(sinks)
    sinks.reverse()
    with folders_synced_once():
        while sinks:
            try:
                sink = sinks.pop()
                sink.abort() if failed else sink.close()
            except BaseException as error:
                first = first or error
    if first is not None:
        raise first


class Broadcast(Node):
    """Gives every item to every output.

    An output whose consumer leaves is dropped, the others continue.

    Without an output the items are discarded.

    Args:
        outputs: How many.
        on_failure: What happens when a node of one branch fails: "raise" fails everything, "drop" closes that branch
            and continues with the others (see `graph/flow/branches.py`); `dropped` tells which, and why.

    *Emits when* items come. *Backpressures when* any output does: the slowest decides.
    *Completes when* its input ends, or all consumers left. *Fails when* a consumer does, with "raise"; with
    "drop" when the last branch does.
    """

    __slots__ = ("dropped", "drops_branches")

    def __init__(self, outputs: int, *, on_failure: str = "raise", name: str = "broadcast") -> None:
        one_of(f"{name}: on_failure", on_failure, ("raise", "drop"))
        super().__init__(name, outputs=outputs)
        self.drops_branches = on_failure == "drop"
        self.dropped: list[DroppedBranch] = []

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002
        """Pass a list of its own to each output."""
        for outlet in self.outlets:
            if not outlet.cancelled:
                outlet.push(items[:])

    def note_dropped(self, branch: DroppedBranch) -> None:
        """Note a branch that was closed."""
        self.dropped.append(branch)

    def snapshot(self) -> list[tuple[Any, ...]]:
        """Return which branches were dropped."""
        return [astuple(each) for each in self.dropped]

    def restore(self, state: list[tuple[Any, ...]]) -> None:
        """Restore the branches that were dropped."""
        self.dropped = [DroppedBranch(*each) for each in state]


class Route(Node):
    """Gives an item to the outputs whose predicate is true for it.

    What matches none goes to the default output.

    Args:
        predicates: By name, in order; output k belongs to the k-th name, one more to the default.
        default: The last output's name.
        match: "all" outputs that match, or the "first" only.

    *Emits when* items come. *Backpressures when* any output that somebody reads does.
    *Completes when* its input ends, or all consumers left. *Fails when* a predicate raises.
    """

    __slots__ = ("first_only", "names", "predicates")

    def __init__(
        self,
        predicates: Mapping[str, Callable[[Any], Any]],
        *,
        default: str = "rest",
        match: str = "all",
        name: str = "route",
    ) -> None:
        one_of(f"{name}: match", match, ("all", "first"))
        if default in predicates:
            msg = f"{name}: {describe(default)} names a predicate and the default output; give default= another name"
            raise ConfigError(msg)
        super().__init__(name, outputs=len(predicates) + 1)
        self.names = (*predicates, default)
        self.predicates = tuple(predicates.values())
        self.first_only = match == "first"

    def receive(self, items: list[Any], port: int) -> None:
        """Sort the items into a list for each output.

        The lists are passed on even if a predicate raises for a later item.
        """
        lists: list[list[Any]] = [[] for _ in self.outlets]
        iterator = iter(items)
        failure = None
        try:
            (self._first if self.first_only else self._all)(iterator, lists)
        except Exception as cause:
            place = reached(items, iterator)
            failure = item_error(self, port, items, place, "a predicate raised", cause)
        for outlet, chosen in zip(self.outlets, lists, strict=True):
            outlet.push(chosen)
        if failure is not None:
            raise failure

    def _first(self, iterator: Any, lists: list[list[Any]]) -> None:
        rest = lists[-1].append
        pairs = [(predicate, chosen.append) for predicate, chosen in zip(self.predicates, lists, strict=False)]
        for item in iterator:
            for predicate, add in pairs:
                if predicate(item):
                    add(item)
                    break
            else:
                rest(item)

    def _all(self, iterator: Any, lists: list[list[Any]]) -> None:
        rest = lists[-1].append
        pairs = [(predicate, chosen.append) for predicate, chosen in zip(self.predicates, lists, strict=False)]
        for item in iterator:
            unmatched = True
            for predicate, add in pairs:
                if predicate(item):
                    add(item)
                    unmatched = False
            if unmatched:
                rest(item)


class Demultiplex(Node):
    """Gives each item to the output of its key.

    All end when the input ends.

    Args:
        key: Item to key.
        keys: The declared keys; output k belongs to the k-th. With unknown="default" one more output takes the rest.
        unknown: What an undeclared key gets: "error", "default" (the last output) or "create" (a sink of `make`).
        make: Key to a sink, called when a key is first seen.

    *Emits when* items come. *Backpressures when* any output does; a sink that was made takes what it is written.
    *Completes when* its input ends; the sinks are closed when every node has completed. *Fails when* the key function,
    `make` or a sink raises, or a key is unknown with "error".
    """

    __slots__ = ("key", "keys", "make", "sinks", "unknown")

    def __init__(
        self,
        key: Callable[[Any], Hashable],
        keys: Sequence[Hashable] = (),
        *,
        unknown: str | None = None,
        make: Callable[[Any], NodeSink] | None = None,
        name: str = "demultiplex",
    ) -> None:
        unknown = unknown or ("create" if make is not None else "error")
        one_of(f"{name}: unknown", unknown, ("error", "default", *(("create",) if make is not None else ())))
        if make is not None and unknown != "create":
            msg = f"{name}: unknown={unknown!r} is for declared keys; with make= every key is known"
            raise ConfigError(msg)
        if len(set(keys)) != len(keys):
            msg = f"{name}: duplicate key in {describe(list(keys))}"
            raise ConfigError(msg)
        super().__init__(name, outputs=len(keys) + (unknown == "default"))
        self.key = key
        self.keys = {each: place for place, each in enumerate(keys)}
        self.unknown = unknown
        self.make = make
        self.sinks: dict[Any, NodeSink] = {}  # made so far

    def receive(self, items: list[Any], port: int) -> None:
        """Gather a list for each key, then pass each on."""
        keys, error = apply(self, port, self.key, items, "the key function")
        lists: dict[Any, list[Any]] = {}
        iterator = iter(keys)
        try:
            for key, item in zip(iterator, items, strict=False):
                chosen = lists.get(key)
                if chosen is None:
                    chosen = lists[key] = []
                    if key not in self.keys and key not in self.sinks:
                        self._meet(key)
                chosen.append(item)
        except Exception as cause:
            lists = {key: chosen for key, chosen in lists.items() if chosen}
            error = item_error(self, port, items, reached(keys, iterator), "its key can't be used", cause)
        for key, chosen in lists.items():
            self._pass_on(key, chosen)
        if error is not None:
            raise error

    def _meet(self, key: Any) -> None:
        if self.make is not None:
            self.sinks[key] = self.make(key)
            if self.secret is not None:
                keep_written(self.sinks[key], self.name, self.secret)
        elif self.unknown == "error":
            msg = f"no output was declared for the key {describe(key)}; declared: {describe(list(self.keys))}"
            raise ConfigError(msg)

    def _pass_on(self, key: Any, items: list[Any]) -> None:
        if key in self.sinks:
            self.sinks[key].write(items)
        elif items:
            self.outlets[self.keys.get(key, -1)].push(items)

    def cancelled(self, outlet: Outlet) -> None:
        """Leave the input only if no consumer is left.

        Sinks that are made still get their items.
        """
        if self.make is None:
            super().cancelled(outlet)

    def own_sinks(self) -> list[NodeSink]:
        """Return the sinks that are made."""
        return list(self.sinks.values())

    def sink_keys(self) -> list[Any]:
        """Return the keys that have a sink."""
        return list(self.sinks)

    def make_sinks(self, keys: list[Any]) -> None:
        """Make the sinks of these keys."""
        for key in keys:
            self._meet(key)

    def snapshot(self) -> list[Any]:
        """Return the keys that have a sink, after syncing those."""
        sync_ahead(self.sinks.values())
        return self.sink_keys()

    def restore(self, state: list[Any]) -> None:
        """Make the sinks of these keys."""
        self.make_sinks(state)

    def close(self) -> None:
        """Close the sinks when every node has completed, or abort them if one has failed."""
        close_all(list(self.sinks.values()), failed=self.failed)


class Tee(Node):
    """Passes items on and writes each to side sinks.

    These are flushed and closed exactly once.

    *Emits when* items come, after the sinks took them. *Backpressures when* its consumer does, and while a sink writes.
    *Completes when* its input ends; the sinks are closed when every node has completed. *Fails when* a sink raises.
    """

    __slots__ = ("sinks",)

    def __init__(self, *sinks: NodeSink, name: str = "tee") -> None:
        super().__init__(name)
        self.sinks = list(sinks)

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002
        """Write a list of its own to each sink, then pass on."""
        for sink in self.sinks:
            sink.write(items[:])
        self.outlets[0].push(items)

    def own_sinks(self) -> list[NodeSink]:
        """Return the side sinks."""
        return self.sinks

    def close(self) -> None:
        """Close the sinks when every node has completed, or abort them if one has failed."""
        close_all(self.sinks, failed=self.failed)
