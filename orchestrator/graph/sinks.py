"""The sinks of a graph: a path, an open file, a function, a list, the consumer, or any object with write(items).

Owner of the state: the engine's thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.graph.flow.node import ROOM, Node
from orchestrator.sinks.given import GivenSink, NodeSink
from workers.errors.describe import describe

_HELD_ITEMS = 256


class SinkNode(Node):
    """Writes items to a sink.

    Emits when: never.
    Backpressures when: never by itself; the sink's `write` takes the time that it takes.
    Completes when: its input ends; the sink is closed when every other node has completed too.
    Fails when: the sink raises; then, and when another node fails, it is aborted instead of closed.
    """

    __slots__ = ("_sink",)

    def __init__(self, name: str, sink: NodeSink) -> None:
        super().__init__(name, outputs=0)
        self._sink = sink

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002 - one port
        """Write the items."""
        self._sink.write(items)

    def own_sinks(self) -> list[NodeSink]:
        """Return the sink."""
        return [self._sink]

    def close(self) -> None:
        """Close the sink, or abort it if the run has failed."""
        if self.failed:
            self._sink.abort()
        else:
            self._sink.close()


class ResultsNode(Node):
    """Holds items for whoever iterates the stream.

    Emits when: never; the consumer takes `items`.
    Backpressures when: the consumer has not taken what is here.
    Completes when: its input has ended and the consumer has taken everything.
    Fails when: never.
    """

    __slots__ = ("_held", "items")

    def __init__(self, name: str) -> None:
        super().__init__(name, outputs=0)
        self.items: list[list[Any]] = []
        self._held = 0

    def capacity(self, port: int) -> int:  # noqa: ARG002 - one port
        """Return room for one more list, if there are only few items here.

        What is taken at once stays in the cache.
        """
        return 0 if self._held >= _HELD_ITEMS else ROOM

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002 - one port
        """Keep the items for the consumer."""
        self.items.append(items)
        self._held += len(items)

    @property
    def has_results(self) -> bool:
        """Whether there are items."""
        return bool(self.items)

    def take(self) -> list[list[Any]]:
        """Return the items that are here."""
        taken, self.items, self._held = self.items, [], 0
        return taken


def set_up_dead_letters(sinks: Iterable[NodeSink]) -> None:
    """Make new files of dead letters readable only to those who may read the outputs.

    Raises:
        ConfigError: one is an output, too, which takes its name when it is whole.
    """
    outputs: dict[str, NodeSink] = {}
    letters: dict[str, NodeSink] = {}
    for sink in sinks:
        if sink.path is not None:
            (letters if sink.appends else outputs)[os.path.realpath(sink.path)] = sink
    for path in outputs.keys() & letters.keys():
        raise ConfigError(f"{path} is already an output; write the dead letters to a file of their own")
    if not letters:
        return
    from orchestrator.sinks.disk.output_file import mode_beside  # noqa: PLC0415 - what maps do without is not loaded for them

    for sink in letters.values():
        sink.narrow(mode_beside(outputs))


def as_sink(target: Any, output_format: str | None = None) -> NodeSink:
    """Return the sink that a path, an open file, a function, a list, None (discard) or a sink itself means.

    Args:
        target: any of these.
        output_format: of a file: "lines", "jsonl" or "csv"; None: as its name says.

    Raises:
        ConfigError: it is none of these, can't be written to, or has no format.
    """
    from orchestrator.sinks.items import ItemFile  # noqa: PLC0415 - as above
    from orchestrator.sinks.open_file import OpenFile, is_open_file  # noqa: PLC0415

    if isinstance(target, str | os.PathLike):
        return ItemFile(os.fspath(target), output_format)
    if is_open_file(target):
        return GivenSink(OpenFile(target, output_format))
    if output_format is not None:
        kind = type(target).__name__
        raise ConfigError(f"format={describe(output_format)} applies to files, not to a {kind}: give a path")
    if hasattr(target, "write") and hasattr(target, "close"):
        return GivenSink(target)
    if target is None:
        return GivenSink(_Nowhere())
    if isinstance(target, list):
        return GivenSink(_CallSink(target.extend))
    if callable(target):
        return GivenSink(_EachSink(target))
    raise ConfigError(
        f"{describe(target)} is not a sink; give a path, an open file, a list, a function, or an object with "
        "write(items) and close()"
    )


class _CallSink:
    """Gives each list to a function."""

    def __init__(self, call: Callable[[list[Any]], object]) -> None:
        self.write = call

    def close(self) -> None:
        """Return nothing, as nothing is held."""


class _EachSink(_CallSink):
    """Gives each item to a function."""

    def __init__(self, call: Callable[[Any], object]) -> None:
        def write(items: Iterable[Any]) -> None:
            for item in items:
                call(item)

        super().__init__(write)


class _Nowhere:
    """Takes items and forgets them."""

    def write(self, items: list[Any]) -> None:
        pass

    def close(self) -> None:
        pass

    def keep(self) -> None:
        pass

    def snapshot(self) -> None:
        pass

    def restore(self, state: None) -> None:
        pass
