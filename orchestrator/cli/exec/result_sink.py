"""The sink of the graph of `exec`, which logs, retries or counts, and writes an ended command.

Runs in the coordinator's thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.cli.logs.attempts import how_lost, of_command
from orchestrator.engine.recovery.item_errors import Failure
from orchestrator.errors import ItemError, ItemTimeoutError, WorkerDiedError, describe_exit
from workers.commands.runner import Command, CommandResult

if TYPE_CHECKING:
    from orchestrator.cli.exec.feed import CommandFeed, Running
    from orchestrator.cli.exec.output import GroupedOutput
    from orchestrator.cli.exec.tally import CommandTally
    from orchestrator.cli.flags.halt import HaltCount
    from orchestrator.cli.logs.attempts import AttemptLogs
    from orchestrator.cli.session.console import Console
    from orchestrator.engine.protocol.events import Lost


class CommandResultSink:
    """Takes results in the order in which commands end."""

    def __init__(  # noqa: PLR0917 - all that a result goes to
        self,
        feed: CommandFeed,
        output: GroupedOutput,
        tally: CommandTally,
        console: Console,
        logs: AttemptLogs,
        halt: HaltCount,
        *,
        halted: Callable[[], None],
        line_of: Callable[[Command], str],
    ) -> None:
        """Take all the receivers of a result.

        Args:
            feed: where commands come from, and go back to.
            output: what they wrote.
            tally: the counts.
            console: progress.
            logs: what is told about each try.
            halt: counts toward --halt.
            halted: called once, when the run is to halt.
            line_of: gives a command as the shell would get it; for those that nobody can tell of any more.
        """
        self._feed = feed
        self._output = output
        self._tally = tally
        self._console = console
        self._logs = logs
        self._halt = halt
        self._halted = halted
        self._line_of = line_of

    def write(self, results: list[CommandResult | Failure]) -> None:
        """Take results as the commands end.

        Raises:
            OrchestratorError: the output can't be written to.
        """
        for result in results:
            if isinstance(result, Failure):
                logged = isinstance(result.error, ItemTimeoutError | WorkerDiedError)  # by `lost`
                self._settle(self._of_failure(result), logged=logged)
            else:
                self._settle(result)

    def close(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""

    def lost(self, event: Lost) -> None:
        """Handle the loss of a command with its worker.

        It runs again, or is reported as failed.
        """
        command: Command = event.chunk.items[0]
        running = self._feed.running.get(command.seq)
        if running is None:
            return
        self._log(_of_lost(event, running, self._line_of(command)), running)

    def give_up(self) -> None:
        """Log what still runs: it was killed, with the workers."""
        for seq in list(self._feed.running):
            running = self._feed.back(seq)
            result = _made_up(running, self._line_of(running.command), exitval=0, signal=9, ended=True)
            self._tally.add(result)
            self._log(result, running)
            running.close()

    # ---- inside -------------------------------------------------------------------------------------------------

    def _settle(self, result: CommandResult, *, logged: bool = False) -> None:
        running = self._feed.back(result.seq)
        if not logged:
            self._log(result, running)
        self._tally.cpu_s += result.cpu_s
        if not (result.succeeded or result.ended) and self._feed.try_again(running.command):
            self._tally.retries += 1
            running.close()
            return
        self._tally.add(result)
        self._console.done(result.worker, 1)
        if result.ended:
            running.close()
            return
        self._output.put(running)
        before = self._halt.reached
        if self._halt.add(failed=not result.succeeded, succeeded=result.succeeded) and not before:
            self._halted()

    def _of_failure(self, failure: Failure) -> CommandResult:
        """Return how a command ended whose worker is lost."""
        command: Command = failure.item
        running = self._feed.running[command.seq]
        error = failure.error
        running.err.seek(0, os.SEEK_END)
        running.err.write(f"orchestrator: {_why(error)}\n".encode(errors="surrogateescape"))
        late = isinstance(error, ItemTimeoutError)
        number = 9 if late else 0
        if isinstance(error, WorkerDiedError) and error.exitcode is not None and error.exitcode < 0:
            number = -error.exitcode
        return _made_up(running, self._line_of(command), exitval=-1 if late else int(not number), signal=number)

    def _log(self, result: CommandResult, running: Running) -> None:
        self._logs.write(of_command(result, os.fstat(running.out.fileno()).st_size))


def _why(error: ItemError) -> str:
    """Say in one line why a command did not end by itself."""
    if isinstance(error, WorkerDiedError):
        who = f"the worker that ran it (pid {error.pid}) {describe_exit(error.exitcode)}"
        return f"{who}; {error.attempts} workers died running this command, so it is not tried again"
    if isinstance(error, ItemTimeoutError):
        return "it timed out, and its worker was killed"
    return str(error.__cause__ or error)


def _of_lost(event: Lost, running: Running, line: str) -> CommandResult:
    exitval, signal = how_lost(event)
    return _made_up(running, line, exitval=exitval, signal=signal, worker=event.worker)


def _made_up(
    running: Running, line: str, *, exitval: int, signal: int, worker: int = -1, ended: bool = False
) -> CommandResult:
    """Return how a command ended as far as the coordinator knows."""
    return CommandResult(
        seq=running.command.seq,
        attempt=running.command.attempt,
        line=line,
        exitval=exitval,
        signal=signal,
        timed_out=exitval < 0,
        ended=ended,
        started_s=running.given_s,
        run_s=max(0.0, time.time() - running.given_s),
        cpu_s=0.0,
        peak_rss_bytes=0,
        worker=worker,
    )
