"""What the finalizers of a pool's workers gave, as `Pool.close` reports it."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import dataclass, field
from typing import Any

from orchestrator.engine.recovery.item_errors import rebuild


@dataclass(frozen=True, slots=True)
class Farewell:
    """What a worker's finalizer gave, or raised."""

    worker: int
    """The worker's id; one that was replaced has its own farewell."""
    pid: int
    result: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class CloseReport:
    """The results of the finalizers, by worker id and in the order in which the workers exited."""

    farewells: tuple[Farewell, ...] = field(default=())

    @property
    def results(self) -> list[Any]:
        """The return values of the finalizers that succeeded."""
        return [each.result for each in self.farewells if each.error is None]

    @property
    def errors(self) -> list[BaseException]:
        """The exceptions of the finalizers that failed."""
        return [each.error for each in self.farewells if each.error is not None]


def close_report(said: list[tuple[int, int, bool, bytes]]) -> CloseReport:
    """Return the report; warns of finalizers that failed, since few look at it."""
    report = CloseReport(tuple(_farewell(*each) for each in sorted(said, key=lambda each: each[0])))
    for each in report.farewells:
        if each.error is not None:
            warnings.warn(
                f"the finalizer failed in worker {each.worker} (pid {each.pid}): {type(each.error).__name__}; "
                "Pool.close() returns the error",
                RuntimeWarning,
                stacklevel=4,
            )
    return report


def _farewell(worker: int, pid: int, went_well: bool, pickled: bytes) -> Farewell:
    try:
        loaded = pickle.loads(pickled)
    except Exception as error:
        return Farewell(worker, pid, error=error)
    return Farewell(worker, pid, loaded) if went_well else Farewell(worker, pid, error=rebuild(loaded))
