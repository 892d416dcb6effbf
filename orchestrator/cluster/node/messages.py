"""What the program sends to a node, and gets back from it: immutable, plain data.

A task of the cluster is `node.serve.run(call, work)`, which returns an `Outcome`. User code is never unpickled in the
node's own process: what the program pickled passes through as bytes, to the node's worker processes.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from orchestrator.cluster.node.lifeline import Where
from orchestrator.errors import OrchestratorError
from workers.pickling.main_module import Definition, Wanted
from workers.transport.watch import SlotReading

OUT_OF_BAND_BYTES = 64 << 10
"""From this size on bytes travel beside the pickle, where what carries them can do that."""


class Versions(NamedTuple):
    """What program and node must agree about: bytecode and pickles of another version can't be read."""

    python: tuple[int, int]
    ours: str

    @classmethod
    def here(cls) -> Versions:
        """Return those of this process."""
        return cls(sys.version_info[:2], str(sys.modules["orchestrator"].__version__))  # whose import may be under way

    def __str__(self) -> str:
        return f"Python {'.'.join(map(str, self.python))} with orchestrator {self.ours}"


class Block:
    """Bytes that are not copied into the pickle of what holds them."""

    __slots__ = ("data",)

    def __init__(self, data: Any) -> None:
        self.data = data

    @property
    def size(self) -> int:
        """How many there are."""
        return memoryview(self.data).nbytes

    def writable(self) -> Any:
        """Return them as what pickle may make a writable array of."""
        view = memoryview(self.data)
        return bytearray(view) if view.readonly else view

    def __reduce_ex__(self, protocol: Any) -> Any:
        if protocol < 5:  # of executors whose Python pickles with 4
            return Block, (bytes(self.data),)
        return Block, (pickle.PickleBuffer(self.data),)


def carried(data: Any) -> Any:
    """Return bytes as they travel best."""
    return Block(data) if len(data) >= OUT_OF_BAND_BYTES else bytes(data)


def content(given: Any) -> Any:
    """Return the bytes that `carried` was given."""
    return given.data if isinstance(given, Block) else given


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of node pools, as far as the program decides them."""

    lifeline: Where
    buffer_bytes: int
    memory_limit: int | None = None
    items_per_worker: int | None = None
    threads_per_worker: int | None = None
    seed: int | None = None
    env: tuple[tuple[str, str | None], ...] = ()
    """Variables of the workers' environment; None: to be unset."""
    beginning: bytes | None = None
    """Pickled ((initializer, its arguments), (finalizer, ())); see `workers.pickling.pickled`."""
    finalizes: bool = False
    """Whether there is a finalizer."""
    definitions: tuple[Definition, ...] = ()
    """What those take of `__main__`."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a pool, as every task of it has it."""

    token: bytes
    """Names the pool."""
    number: int
    version: int
    """One more each time that definitions were added."""
    versions: tuple[tuple[int, int], str]
    """A `Versions`, readable whatever came of that class."""
    settings: Settings
    name: str
    timeout_s: float | None
    function: Any
    """The pickled `CallSpec`, as `carried` gave it."""
    forwards_output: bool
    definitions: tuple[Definition, ...] = ()
    """What it, and its items so far, take of `__main__`."""
    code: Any = None
    """The program's own modules, a `Code`; None: nodes have them."""


@dataclass(frozen=True, slots=True)
class Work:
    """One chunk."""

    ident: int
    oldest: int
    """The number of the oldest call that is open: those before it have ended."""
    items: int
    first_index: int
    attempt: int
    alone: bool
    watched: bool
    body: Any
    """The pickled message, as `carried` gave it."""
    buffers: Sequence[Block] = ()
    """Its large buffers."""


class Death(NamedTuple):
    """How a worker of a node ended that held a chunk."""

    worker: int
    pid: int
    exitcode: int | None
    to_blame: bool
    reason: str | None
    """Of an `Ended`; None: it died by itself."""
    at: bool
    """Whether it was ended for this chunk."""
    position: int | None
    limit: float
    record: int | None
    allowed: int
    begun: int
    reading: SlotReading | None
    """Its idents are 0 for this chunk, and -1 for others."""
    held_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a chunk."""

    kind: Literal["finished", "refused", "lost", "broken", "returned"]
    host: str
    pid: int
    """Of the node's process."""
    worker: int = -1
    run_s: float = 0.0
    flags: int = 0
    body: Any = b""
    """As `carried` gave it."""
    buffers: Sequence[Block] = ()
    spill: Any = None
    """What stands in the file of results that were too many for memory, as `carried` gave it."""
    kept: int | None = None
    """Items that it has run, if the others are to be sent again."""
    death: Death | None = None
    error: OrchestratorError | None = None
    """Why the node can't run anything."""
    missing: Wanted = ()  # type: ignore[assignment]
    """Names of `__main__` that were asked for, and that the call did not come with."""
    printed: tuple[tuple[int, str, str], ...] = ()
    """(worker, stream, text)."""
