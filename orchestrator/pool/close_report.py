"""The results of the finalizers of a pool's workers, as `Pool.close` reports them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

from orchestrator.engine.protocol.status import Farewell


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


def close_report(said: list[Farewell]) -> CloseReport:
    """Return the report, and warn of finalizers that failed."""
    report = CloseReport(tuple(sorted(said, key=lambda each: each.worker)))
    for each in report.farewells:
        if each.error is not None:
            warnings.warn(
                f"the finalizer failed in worker {each.worker} (pid {each.pid}): {type(each.error).__name__}; "
                "Pool.close() returns the error",
                RuntimeWarning,
                stacklevel=4,
            )
    return report
