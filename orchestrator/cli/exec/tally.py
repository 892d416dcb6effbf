"""Counts how the commands of a run end, and reports that at its end."""

from __future__ import annotations

import signal
import time
from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.cli.session.result_sink import Observer
from orchestrator.cli.session.summary import measured
from orchestrator.engine.protocol.counts import SHOWN_FAILURES

if TYPE_CHECKING:
    from orchestrator.cli.exec.feed import Settled
    from orchestrator.cli.flags.halt import HaltCount
    from workers.commands.runner import CommandResult

_SHOWN_CHARS = 500
_MOST_COUNTED = 101
_LEAST_OF_MEDIAN = 3
_LEAST_TIMEOUT_S = 0.1
"""Less would be about the time that it takes to start a command."""
_OF_SIGNALS = 255
"""GNU parallel's status of a command that a signal or its time has ended."""


@dataclass
class CommandTally(Observer["Settled"]):
    """The counts of a run so far.

    Owned by the thread that settles the results.
    """

    succeeded: int = 0
    failed: int = 0
    ended: int = 0
    """Commands that were ended because the run was."""
    retries: int = 0
    cpu_s: float = 0.0
    first_failures: list[CommandResult] = field(default_factory=list)
    keeps_times: bool = False
    times_s: list[float] = field(default_factory=list)
    """How long those took that succeeded, in order; only where `keeps_times`."""
    started_s: float = field(default_factory=time.perf_counter)

    @property
    def done(self) -> int:
        """Commands that ended by themselves or timed out."""
        return self.succeeded + self.failed

    def so_far(self) -> str:
        """Return the counts in words, during the run."""
        return f"{self.succeeded:,} commands succeeded, {self.failed:,} failed"

    def observe(self, settled: Settled) -> None:
        """Count a command that will not be retried."""
        self.add(settled.result)

    def add(self, result: CommandResult) -> None:
        """Count a command that will not be retried."""
        if result.ended:
            self.ended += 1
        elif result.succeeded:
            self.succeeded += 1
            if self.keeps_times:
                insort(self.times_s, result.run_s)
        else:
            self.failed += 1
            if len(self.first_failures) < SHOWN_FAILURES:
                self.first_failures.append(result)

    def share_of_median(self, share: float) -> float | None:
        """Return so much of the median of the times of commands that succeeded, in seconds.

        None as long as there are fewer than three.
        """
        times = self.times_s
        return None if len(times) < _LEAST_OF_MEDIAN else max(share * times[len(times) // 2], _LEAST_TIMEOUT_S)

    def summary(self, stats: Any) -> str:
        """Return the summary's lines.

        `stats` are those of the closed pool.
        """
        workers_s = (getattr(stats, "worker_cpu_seconds", 0.0) or 0.0) + self.cpu_s
        tried = f", {self.retries:,} retried" if self.retries else ""
        ended = f", {self.ended:,} killed" if self.ended else ""
        begun = self.done + self.ended
        what = "command" if begun == 1 else "commands"
        return f"{begun:,} {what}, {self.succeeded:,} succeeded, {self.failed:,} failed{ended}{tried}; " + measured(
            self.started_s, self.done, "commands", workers_s, stats
        )


def gnu_exit_code(tally: CommandTally, halt: HaltCount, reached_with: CommandResult | None) -> int:
    """Return the exit code as GNU parallel has it.

    It is the number of failed commands, 101 for more than 100; under --halt with a count of 1 the status of the command
    that met the condition, with a percentage that of the failed.
    """
    condition = halt.halt
    if reached_with is not None and condition.why == "success":
        return 0
    if reached_with is not None and condition.percent:
        return min(100, 100 * tally.failed // max(1, halt.total or tally.done))
    if reached_with is not None and condition.number <= 1:
        return reached_with.exitval if reached_with.exitval >= 0 and not reached_with.signal else _OF_SIGNALS
    return min(tally.failed, _MOST_COUNTED)


def said(result: CommandResult) -> str:
    """Describe a failure in words, with long command lines cut."""
    line = result.line if len(result.line) <= _SHOWN_CHARS else result.line[: _SHOWN_CHARS - 1] + "…"
    return f"command {result.seq + 1} {how(result)}: {line}"


def how(result: CommandResult) -> str:
    """Describe how a command failed."""
    if result.timed_out:
        return "timed out and was killed"
    if result.signal:
        return f"was killed by {_signal_name(result.signal)}"
    return f"failed with exit code {result.exitval}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
