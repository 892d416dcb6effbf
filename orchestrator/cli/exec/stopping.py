"""Stops a run of commands early, at a signal or because --halt is met.

    first signal, halt now: nothing more begins, workers are asked to end what they run, and that is waited for
    halt soon:              nothing more begins
    second signal:          ends the run wherever it is (`session/signals.py`)
    a write that blocks:    is given up once the commands have had time to end, as nobody reads

Runs in the coordinator's main thread, in part as signal handlers: these only set flags, send signals and wake the wait.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from orchestrator.cli.session.result_sink import Observer
from orchestrator.pool.internals import internals_of
from orchestrator.sinks.disk.stdout import standard_output
from workers.commands.runner import END_SIGNAL, GRACE_S

if TYPE_CHECKING:
    from orchestrator.cli.exec.feed import CommandFeed, Settled
    from orchestrator.cli.flags.halt import HaltCount
    from orchestrator.cli.session.signals import Signals
    from workers.commands.runner import CommandResult

_LOOK_S = 0.05
_ENDING_S = 2 * GRACE_S + 1.0
"""How long commands may take to end when told to, before their workers are killed."""


class _WriteGivenUpError(Exception):
    """The run is to stop, and its output takes nothing more."""


class Stopping(Observer["Settled"]):
    """Stops one run.

    `pool` is set as soon as there is one.
    """

    def __init__(self, feed: CommandFeed, halt: HaltCount, signals: Signals) -> None:
        self._signals = signals
        self.pool: Any = None
        self._feed = feed
        self._halt = halt
        self.may_interrupt = False
        """Set around a write, which may take forever."""
        self.reached_with: CommandResult | None = None
        """The command with which the condition of --halt was met."""
        self._until_s = 0.0

    def hear_signals(self) -> None:
        """Make signals stop the run gracefully from now on."""
        self._signals.listen(self._end_commands)
        self._signals.handle(signal.SIGALRM, self._look_again)

    def observe(self, settled: Settled) -> None:
        """Count how a command ended by itself toward --halt, and stop the run once its condition is met."""
        result, before = settled.result, self._halt.reached
        if result.ended or not self._halt.add(failed=not result.succeeded, succeeded=result.succeeded) or before:
            return
        self.reached_with = result
        if self._halt.halt.when == "now":
            self._end_commands()
        else:
            self._feed.stop()

    def end(self) -> None:
        """Stop asking workers, as all commands have ended, and let a signal end the run at once."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._signals.raise_from_now_on()

    def _end_commands(self) -> None:
        """Start nothing more, and have the workers end what they run.

        Workers that don't manage to are killed in time.
        """
        self._feed.stop()
        self._until_s = time.monotonic() + _ENDING_S
        self._ask_workers()
        signal.setitimer(signal.ITIMER_REAL, _LOOK_S, _LOOK_S)

    def _look_again(self, _number: int, _frame: object) -> None:
        """Ask workers that were only starting, too, and kill those that don't end."""
        now = time.monotonic()
        self._feed.overdue = now > self._until_s
        self._ask_workers()
        if self.may_interrupt and now > self._until_s - _ENDING_S + GRACE_S:
            raise _WriteGivenUpError

    def _ask_workers(self) -> None:
        """Tell workers to end their commands.

        One that is only starting would not know the signal, and die of it.
        """
        for pid in internals_of(self.pool).engine.worker_pids(ready=True):
            with suppress(ProcessLookupError):
                os.kill(pid, END_SIGNAL)
        internals_of(self.pool).engine.wake()


class GivenUpStdout:
    """Standard output as a sink of bytes.

    If it takes nothing more, a run that stops anyway doesn't fail.
    """

    in_place = True
    is_final = False

    def __init__(self, stopping: Stopping) -> None:
        self._sink = standard_output()
        self._stopping = stopping
        self._is_given_up = False
        self.close, self.abort = self._sink.close, self._sink.abort

    def write(self, data: memoryview | bytes) -> None:
        """Append the data, unless writing was given up."""
        if self._is_given_up:
            return
        try:
            try:
                self._stopping.may_interrupt = True
                self._sink.write(data)
            finally:
                self._stopping.may_interrupt = False
        except _WriteGivenUpError:
            self._is_given_up = True
