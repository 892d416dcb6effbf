"""The events that the coordinator sends a stage.

The coordinator appends, the stage's consumer takes from the left.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.spilled import SpillFile
from orchestrator.errors import OrchestratorError
from workers.transport.watch import SlotReading


class Body(Protocol):
    """The results of a chunk, as its engine brought them.

    One of the two methods is called, once, in the consumer's thread.
    """

    def decode(self) -> Any:
        """Return it.

        Raises:
            Exception: it can't be unpickled here.
        """

    def discard(self) -> None:
        """Free what this holds."""


class Finished(NamedTuple):
    """A chunk came back, its results still encoded."""

    chunk: Chunk
    run_s: float
    flags: int
    """`Flag.FAILED`: it holds failures too; `Flag.SPILLED`: some of it is in `spill`."""
    body: Body
    size_bytes: int
    """Of the body."""
    spill: SpillFile | None = None
    """Where the results are that were too many for memory."""


class Refused(NamedTuple):
    """A worker could not read a chunk, or load its function.

    Nothing of it ran.
    """

    chunk: Chunk
    run_s: float
    flags: int
    body: Body
    """Holds an `ExceptionRecord`."""
    size_bytes: int
    spill: SpillFile | None = None


class Ended(NamedTuple):
    """Why a worker was ended by its supervisor."""

    reason: Literal["timeout", "memory", "pressure", "stopped", "cancelled", "node"]
    """"pressure": the machine's memory was short, and what it ran was the youngest work. "node": the process or machine
    that it ran on is gone or can't be reached, which is nobody's fault."""
    ident: int
    """Of the chunk that it ran; -1: not known."""
    position: int | None
    """Of the item in that chunk; None: not known."""
    limit: float
    """Seconds that an item may take; for memory, bytes that the worker held; for pressure, bytes that were left."""
    record: int | None = None
    """Index of the record in that item, if it is a block of them; None: not known."""
    allowed: int = 0
    """For memory: bytes that the worker might have held."""


class Lost(NamedTuple):
    """A worker died with this chunk."""

    chunk: Chunk
    worker: int
    pid: int
    exitcode: int | None
    to_blame: bool
    """Whether it was at work on it, or had just been and on nothing since: others that it held are innocent."""
    ended: Ended | None = None
    """None: it died by itself."""
    begun: int = sys.maxsize
    """Items of the chunk, from its first on, that have begun; all of them, if nobody knows better."""
    reading: SlotReading | None = None
    """What the worker was at, if that is known."""
    held_s: float = 0.0
    """Since something last went either way between the coordinator and the worker: about how long it has run."""
    host: str = ""
    """Where the worker ran, if not on this machine: its pid means nothing here."""

    @property
    def who(self) -> str:
        """What messages call the worker."""
        where = f" on {self.host}" if self.host else ""
        return f"worker {self.worker}{where} (pid {self.pid})"


class Returned(NamedTuple):
    """A chunk was taken back from a worker that had not begun it.

    It is to be sent again as it is.
    """

    chunk: Chunk


class Split(NamedTuple):
    """A worker gave back the items of a chunk that it had not begun, as another worker is idle.

    The chunk is shorter now.
    """

    chunk: Chunk
    rest: Sequence[Any]
    """The items that are to be sent again."""
    size_bytes: int
    """About what these took."""


class Broken(NamedTuple):
    """The pool can't continue."""

    error: OrchestratorError


StageEvents = deque[Finished | Refused | Lost | Returned | Split | Broken]
