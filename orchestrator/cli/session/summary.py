"""What a run came to: counted as results pass, told at the end."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.engine.protocol.counts import SHOWN_FAILURES
from orchestrator.settings import usable_cpus
from workers.process.peak_memory import peak_bytes

if TYPE_CHECKING:
    from workers.records.blocks import BlockResult, RecordFailure


@dataclass(slots=True)
class Tally:
    """The counts of a run so far; owned by the thread that writes the results."""

    records_in: int = 0
    records_out: int = 0
    dropped: int = 0
    failed: int = 0
    worker_cpu_s: float = 0.0
    first_failures: list[RecordFailure] = field(default_factory=list)
    started_s: float = field(default_factory=time.perf_counter)

    def add(self, result: BlockResult) -> None:
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
        """Return the counts, for a run that goes on with this one."""
        names = ("records_in", "records_out", "dropped", "failed", "worker_cpu_s", "first_failures")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: dict[str, Any]) -> None:
        """Count on from there."""
        for name, value in state.items():
            setattr(self, name, value)

    def so_far(self) -> str:
        """Return the counts in words, while the run goes on."""
        return f"{self.records_in:,} records in, {self.records_out:,} out, {self.failed:,} failed"

    def summary(self, stats: Any) -> str:
        """Return the summary's lines; `stats` is what the closed pool tells of its workers."""
        seconds = max(time.perf_counter() - self.started_s, 1e-9)
        return (
            f"{self.records_in:,} records in, {self.records_out:,} out, {self.dropped:,} dropped, "
            f"{self.failed:,} failed; {seconds:.2f} s, {self.records_in / seconds:,.0f} records/s\n"
            + usage(seconds, max(getattr(stats, "worker_cpu_seconds", 0.0) or 0.0, self.worker_cpu_s), stats)
        )


def usage(seconds: float, workers_s: float, stats: Any) -> str:
    """Return the summary's line on what the machine had to do.

    Args:
        seconds: that the run took.
        workers_s: CPU seconds of the workers.
        stats: what the closed pool tells of its workers.
    """
    own = resource.getrusage(resource.RUSAGE_SELF)
    cpus = usable_cpus()
    used = (workers_s + own.ru_utime + own.ru_stime) / (seconds * cpus)
    peak = (getattr(stats, "worker_peak_rss_bytes", 0) or 0) + peak_bytes()
    return (
        f"{min(used, 1.0):.0%} of {cpus} CPU{'s' if cpus > 1 else ''} used; "
        f"peak memory {peak / 2**20:,.0f} MiB in all processes\n"
    )
