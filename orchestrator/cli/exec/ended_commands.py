"""Settles how the commands of `exec` ended before that is counted and written.

Runs in the coordinator's thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.cli.exec.feed import Settled
from orchestrator.cli.logs.attempts import how_lost, of_command
from orchestrator.engine.recovery.item_errors import Failure
from orchestrator.errors import ItemError, ItemTimeoutError, WorkerDiedError, describe_exit
from workers.commands.runner import Command, CommandResult

if TYPE_CHECKING:
    from orchestrator.cli.exec.feed import CommandFeed, Running
    from orchestrator.cli.exec.tally import CommandTally
    from orchestrator.cli.logs.attempts import AttemptLogs
    from orchestrator.engine.protocol.events import Lost


class EndedCommands:
    """Settles results in the order in which commands end."""

    def __init__(
        self,
        feed: CommandFeed,
        tally: CommandTally,
        logs: AttemptLogs,
        line_of: Callable[[Command], str],
        *,
        each_try: bool = True,
    ) -> None:
        """Begin with none.

        Args:
            feed: where commands come from, and go back to.
            tally: the counts.
            logs: what is told about each try.
            each_try: whether they are told about each, not only about the last one of a command.
            line_of: gives a command as the shell would get it; for those that nobody can tell of any more.
        """
        self._feed = feed
        self._tally = tally
        self._logs = logs
        self._line_of = line_of
        self._each_try = each_try

    def settle(self, ended: CommandResult | Failure) -> Settled | None:
        """Log a try that ended, and return it, or None if the command is retried.

        Raises:
            OrchestratorError: the disk of a log is full or broken.
        """
        if isinstance(ended, Failure):
            result, logged = self._of_failure(ended), isinstance(ended.error, ItemTimeoutError | WorkerDiedError)
        else:
            result, logged = ended, False
        running = self._feed.back(result.seq)
        if self._each_try and not logged:  # else by `lost`
            self._log(result, running)
        self._tally.cpu_s += result.cpu_s
        if not (result.succeeded or result.ended) and self._feed.try_again(running):
            self._tally.retries += 1
            running.close()
            return None
        if not self._each_try:
            self._log(result, running)
        running.release()
        return Settled(result, running)

    def lost(self, event: Lost) -> None:
        """Handle the loss of a command with its worker.

        It runs again, or is reported as failed.
        """
        command: Command = event.chunk.items[0]
        running = self._feed.running.get(command.seq)
        if running is None or not self._each_try:
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
            running.release()

    # ---- inside -------------------------------------------------------------------------------------------------

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
        sent_bytes = 0 if running.block is None else running.block.input.size_bytes
        self._logs.write(of_command(result, sent_bytes, os.fstat(running.out.fileno()).st_size))


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
