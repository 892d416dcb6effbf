"""Counts how the records of a run end, and reports that at its end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.cli.session.result_sink import Observer
from orchestrator.cli.session.summary import measured
from orchestrator.engine.protocol.counts import SHOWN_FAILURES

if TYPE_CHECKING:
    from workers.records.blocks import BlockResult, RecordFailure


@dataclass
class RecordTally(Observer["BlockResult"]):
    """The counts of a run so far.

    Owned by the thread that writes the results.
    """

    saved_as = "tally"

    records_in: int = 0
    records_out: int = 0
    dropped: int = 0
    failed: int = 0
    worker_cpu_s: float = 0.0
    first_failures: list[RecordFailure] = field(default_factory=list)
    started_s: float = field(default_factory=time.perf_counter)

    def observe(self, result: BlockResult) -> None:
        """Count one chunk."""
        self.records_in += result.records_in
        self.records_out += result.records_out
        self.dropped += result.dropped
        self.failed += result.failed
        self.worker_cpu_s += result.cpu_s
        room = SHOWN_FAILURES - len(self.first_failures)
        if room > 0:
            self.first_failures.extend(result.failures[:room])

    def snapshot(self) -> dict[str, Any]:
        """Return the counts, for a run that continues with this one."""
        names = ("records_in", "records_out", "dropped", "failed", "worker_cpu_s", "first_failures")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue counting from these."""
        for name, value in state.items():
            setattr(self, name, value)

    def so_far(self) -> str:
        """Return the counts in words, during the run."""
        return f"{self.records_in:,} records in, {self.records_out:,} out, {self.failed:,} failed"

    def summary(self, stats: Any) -> str:
        """Return the summary's lines.

        `stats` are those of the closed pool.
        """
        workers_s = max(getattr(stats, "worker_cpu_seconds", 0.0) or 0.0, self.worker_cpu_s)
        return (
            f"{self.records_in:,} records in, {self.records_out:,} out, {self.dropped:,} dropped, "
            f"{self.failed:,} failed; " + measured(self.started_s, self.records_in, "records", workers_s, stats)
        )
