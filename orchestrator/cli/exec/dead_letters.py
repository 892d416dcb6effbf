"""The dead letters of commands, which another run can take its arguments from.

A letter's item holds the arguments, the command line, its exit value and signal, and the beginning of what it wrote.
Runs in the coordinator's thread.
"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Any

from orchestrator.cli.exec.arguments.rows import ListedRows
from orchestrator.cli.exec.tally import how
from orchestrator.cli.session.result_sink import Observer
from orchestrator.engine.recovery.dead_letter_sinks import DeadLetterFile, refuse_unwritable
from orchestrator.engine.recovery.dead_letters import DeadLetter, ErrorText, read_dead_letters
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.cli.exec.feed import Settled

_SHOWN_BYTES = 1 << 14
"""Of each stream; a log of its own has the rest."""


class DeadCommands(Observer["Settled"]):
    """The file that commands go to that failed for good."""

    def __init__(self, path: str, mode: int) -> None:
        """Open the file.

        `mode`: of a file that is made.

        Raises:
            ConfigError: it can't be written to.
        """
        refuse_unwritable(path)
        self._file = DeadLetterFile(path, mode)

    def observe(self, settled: Settled) -> None:
        """Append the dead letter of a command that failed.

        Raises:
            OrchestratorError: the disk is full or broken.
        """
        result, running = settled.result, settled.running
        if result.succeeded or result.ended:
            return
        item = {
            "arguments": list(running.command.arguments),
            "command": result.line,
            "exitval": result.exitval,
            "signal": result.signal,
            "stdout": _beginning(running.out),
            "stderr": _beginning(running.err),
        }
        error = ErrorText("CommandFailed", f"the command {how(result)}")
        self._file.write(
            DeadLetter(item, result.seq, error, attempts=result.attempt, function="exec", worker=result.worker)
        )

    def finish(self) -> None:
        """Make what was written durable."""
        self._file.close()

    def abort(self) -> None:
        """Make what was written durable: these commands have failed, however the run ends."""
        self._file.close()


def rows_of_letters(path: str) -> ListedRows:
    """Return the arguments of the commands in a file of dead letters.

    Raises:
        ConfigError: it can't be read, or holds something else.
    """
    rows = []
    for number, letter in enumerate(read_dead_letters(path), 1):
        item: Any = None if letter.is_pickled else letter.item
        arguments = item.get("arguments") if isinstance(item, dict) else None
        if not isinstance(arguments, list) or not all(isinstance(each, str) for each in arguments):
            raise ConfigError(f"{path}:{number} is not a dead letter of exec, so --retry-dead can't run it")
        rows.append(tuple(arguments))
    widths = set(map(len, rows))
    return ListedRows(rows, widths.pop() if len(widths) == 1 else None)


def _beginning(file: IO[bytes]) -> str:
    return os.pread(file.fileno(), _SHOWN_BYTES, 0).decode(errors="replace")
