"""The sink of a command's graph, which gives each result to a list of observers.

    results --settle--> results that count --> output, counts, progress, logs, dead letters, --halt      (observers)

`run` and `exec` differ in the observers that they list. Runs in the coordinator's thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from orchestrator.cli.session.console import Console


class OfAWorker(Protocol):
    """A result that tells where it ran."""

    @property
    def worker(self) -> int:
        """The worker's number, or -1 if it is not known."""


Received = TypeVar("Received")
Result = TypeVar("Result", bound=OfAWorker)
Seen_contra = TypeVar("Seen_contra", contravariant=True)


class Observer(ABC, Generic[Seen_contra]):
    """A part of a command that each result goes to.

    Subclasses give `observe`, and of the rest what they need.
    """

    saved_as: str | None = None
    """The name of its state in a checkpoint; None: it has none."""

    @abstractmethod
    def observe(self, result: Seen_contra, /) -> None:
        """Take one result.

        Raises:
            OrchestratorError: it can't be written, or the run is to end.
        """

    def keep_as(self, secret: str, /) -> None:
        """Let what is written outlive this process.

        `secret` is the run's.
        """

    def snapshot(self) -> Any:
        """Make durable what was written, and return what is needed to resume."""

    def restore(self, state: Any, /) -> None:
        """Resume from what `snapshot` returned.

        None: the earlier run had no such observer.
        """

    def finish(self) -> None:
        """Make final what was written, as the graph has ended well."""

    def abort(self) -> None:
        """Leave nothing unfinished."""


class ResultSink(Generic[Received, Result]):
    """Gives each result to every observer, in their order."""

    def __init__(self, settle: Callable[[Received], Result | None], observers: Sequence[Observer[Result]]) -> None:
        """Take the observers.

        Args:
            settle: returns what the observers see of a result; None: nothing, as it is tried again.
            observers: see a result in this order.
        """
        self._settle = settle
        self._observers = observers

    def write(self, results: list[Received]) -> None:
        """Take results, in order.

        Raises:
            OrchestratorError: an observer can't write it, or ends the run.
        """
        for received in results:
            result = self._settle(received)
            if result is not None:
                for observer in self._observers:
                    observer.observe(result)

    def keep_as(self, secret: str) -> None:
        """Let what is written outlive this process.

        `secret` is the run's.
        """
        for observer in self._observers:
            observer.keep_as(secret)

    def snapshot(self) -> dict[str, Any]:
        """Make durable what was written, and return what is needed to resume, the counts too."""
        # Last first: the first is the output, which may be synced by another thread until it has its turn.
        return {each.saved_as: each.snapshot() for each in reversed(self._observers) if each.saved_as is not None}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what `snapshot` returned."""
        for observer in self._observers:
            if observer.saved_as is not None:
                observer.restore(state.get(observer.saved_as))

    def close(self) -> None:
        """Make the output final."""
        for observer in self._observers:
            observer.finish()

    def abort(self) -> None:
        """Leave nothing unfinished."""
        for observer in self._observers:
            observer.abort()


class ShownProgress(Observer[Result]):
    """Moves the bars."""

    saved_as = "shown"

    def __init__(self, console: Console, amount: Callable[[Result], int]) -> None:
        """Take the console.

        `amount` returns how much of the total a result is.
        """
        self._console = console
        self._amount = amount

    def observe(self, result: Result) -> None:
        """Count a result for its worker."""
        self._console.done(result.worker, self._amount(result))

    def snapshot(self) -> int:
        """Return how much is shown."""
        return self._console.shown

    def restore(self, state: int) -> None:
        """Begin where an earlier run stopped."""
        self._console.resume(state)
