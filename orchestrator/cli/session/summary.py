"""The summary of every command: the first failures, the time, and the use of the machine."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING, Any

from orchestrator.cli.session.exit_codes import print_error
from orchestrator.settings import usable_cpus
from workers.process.peak_memory import peak_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence


def tell_failures(first: Sequence[str], failed: int) -> None:
    """Print the first failures, and how many more there are."""
    for line in first:
        print_error(line)
    if failed > len(first):
        print_error(f"… and {failed - len(first):,} more failed")


def measured(started_s: float, done: int, what: str, workers_s: float, stats: Any) -> str:
    """Return the end of a summary: how long the run took, how fast it was, and what it used.

    Args:
        started_s: when the run began, by `time.perf_counter`.
        done: how many it has done.
        what: of what.
        workers_s: CPU seconds of the workers.
        stats: what the closed pool says of its workers.
    """
    seconds = max(time.perf_counter() - started_s, 1e-9)
    own = resource.getrusage(resource.RUSAGE_SELF)
    cpus = usable_cpus()
    used = (workers_s + own.ru_utime + own.ru_stime) / (seconds * cpus)
    peak = (getattr(stats, "worker_peak_rss_bytes", 0) or 0) + peak_bytes()
    return (
        f"{seconds:.2f} s, {done / seconds:,.0f} {what}/s\n"
        f"{min(used, 1.0):.0%} of {cpus} CPU{'s' if cpus > 1 else ''} used; "
        f"peak memory {peak / 2**20:,.0f} MiB in all processes\n" + describe_deaths(stats)
    )


def describe_deaths(stats: Any) -> str:
    """Return the line about workers that were killed, or "" if none was."""
    deaths = getattr(stats, "deaths", 0) or 0
    if deaths == 1:
        return "1 worker died and was replaced\n"
    return f"{deaths:,} workers died and were replaced\n" if deaths else ""
