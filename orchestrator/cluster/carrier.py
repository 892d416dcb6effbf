"""What takes tasks to where they run, as the engine of a cluster knows it: an executor, or a session of Dask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from orchestrator.cluster.node.messages import Call, Outcome, Work
from orchestrator.errors import OrchestratorError


class NodeLost(NamedTuple):
    """A task did not return, as the process or machine that ran it is gone or can't be reached."""

    host: str
    pid: int


class Withdrawn(NamedTuple):
    """A task was taken back before it began."""


Result = Outcome | NodeLost | Withdrawn
Done = Callable[[int, Result], None]
"""Takes the ident of a task's chunk, and what became of it. Called in a thread of the carrier's, or within `send`."""


class Site(NamedTuple):
    """A process that runs tasks."""

    host: str
    pid: int
    slots: int


class Carrier(Protocol):
    """Takes tasks to nodes.

    Where nothing else is said, a method is called in any thread, with no lock held.
    """

    def start(self, done: Done, changed: Callable[[], None], broke: Callable[[OrchestratorError], None]) -> None:
        """Begin to report: results, that there are more or fewer slots, that nothing can run any more."""

    @property
    def slots(self) -> int:
        """How many tasks run at once. Takes no lock."""

    def sites(self) -> list[Site]:
        """Return the processes that are known."""

    def carry(self, call: Call) -> Any:
        """Return what goes with each task of a call."""

    def send(self, carried: Any, call: Call, work: Work, *, once: bool) -> None:
        """Send a task.

        Args:
            carried: what `carry` gave for the call.
            call: the call.
            work: the chunk.
            once: whether it must not be begun a second time.
        """

    def cancel(self, ident: int, *, running: bool = False) -> None:
        """Take a task back, one that runs, too, if that can be and is wanted.

        It is reported as any other.
        """

    def drop(self, idents: list[int], carried: Any, oldest: int) -> None:
        """Forget the tasks of a call that has ended, report nothing of them, and stop them where that can be.

        `oldest` is the number of the oldest call that is open.
        """

    def stop(self, timeout_s: float | None) -> list[tuple[int, int, object, BaseException | None]]:
        """End what was made for the pool on the nodes.

        Returns what finalizers gave: (worker, pid, result, error).
        """

    def close(self) -> None:
        """Leave at once."""
