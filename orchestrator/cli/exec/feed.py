"""Gives the next command: retries that are due, then the next row of arguments.

The source of the graph of `exec`. Owner of the state: the coordinator's thread. Each command gets two files without a
name for what it writes; they are kept here while it runs.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

from orchestrator.cli.exec.blocks.cutting import Block
from orchestrator.graph.flow.segment import on_disk
from workers.commands.runner import Command

if TYPE_CHECKING:
    from typing import Self

    from orchestrator.cli.exec.arguments.records import Row
    from orchestrator.cli.exec.arguments.rows import Rows
    from orchestrator.cli.exec.blocks.cutting import Blocks
    from orchestrator.cli.exec.options.settings import PaceSettings
    from workers.commands.runner import CommandResult

_LOOK_S = 1.0
"""A load, or a limit, that was too high is looked at again so much later."""


@dataclass(slots=True)
class Running:
    """A command that was given to a worker."""

    command: Command
    out: IO[bytes]
    err: IO[bytes]
    given_s: float
    """Unix time."""
    block: Block | None = None
    """Its standard input, which is kept while the command may run again."""

    def close(self) -> None:
        """Forget what the command wrote."""
        self.out.close()
        self.err.close()

    def release(self) -> None:
        """Let go of its standard input, as the command will not run again."""
        if self.block is not None:
            self.block.release()


@dataclass(frozen=True, slots=True)
class Settled:
    """A command that ended and will not be retried."""

    result: CommandResult
    running: Running
    """What it wrote; the output takes it over."""

    @property
    def worker(self) -> int:
        """The worker that ran it, or -1 if it is not known."""
        return self.result.worker


class Pace:
    """Decides whether one more command may begin: --delay, --load, --limit."""

    def __init__(self, settings: PaceSettings, shell: str) -> None:
        self._settings = settings
        self._shell = shell
        self._next_s = 0.0
        """No command begins before; by the monotonic clock."""

    @property
    def wait_s(self) -> float | None:
        """Seconds until one more may begin, or None if it may now."""
        left_s = self._next_s - time.monotonic()
        return left_s if left_s > 0 else None

    def may_begin(self) -> bool:
        """Tell whether one more may begin now."""
        if time.monotonic() < self._next_s:
            return False
        if self._is_loaded() or not self._is_allowed():
            self._next_s = time.monotonic() + _LOOK_S
            return False
        return True

    def begun(self) -> None:
        """Take note of a start."""
        self._next_s = time.monotonic() + self._settings.delay_s

    def _is_loaded(self) -> bool:
        return self._settings.load is not None and os.getloadavg()[0] > self._settings.load

    def _is_allowed(self) -> bool:
        limit = self._settings.limit
        if limit is None:
            return True
        return subprocess.run([self._shell, "-c", limit], stdin=subprocess.DEVNULL, check=False).returncode == 0


class OverdueError(Exception):
    """Commands did not end in the time that they were given to do so."""


class CommandFeed:
    """An iterator over the commands to run that tells whether its reader would wait."""

    def __init__(
        self,
        rows: Rows | Blocks,
        *,
        retries: int = 0,
        retry_delay_s: float = 0.0,
        done: Collection[int] = (),
        slots: Callable[[], int],
        has_room: Callable[[], bool] = lambda: True,
        pace: Pace | None = None,
        timeout_s: Callable[[], float | None] = lambda: None,
        begun: Callable[[Command], object] = lambda _command: None,
        folder: str | None = None,
    ) -> None:
        """Take the rows of arguments.

        Args:
            rows: a row of arguments, or a block of standard input, a command.
            retries: how often a command that fails is retried.
            retry_delay_s: before the first of these; doubled for each further one.
            done: the commands (by seq) that an earlier run has done.
            slots: how many commands may run at once. A command counts until it is settled, so that what its failure
                means for the others is known before the next one begins.
            has_room: whether one more command may begin; what is running continues.
            pace: holds commands back; None: nothing does.
            timeout_s: returns how long a command that begins may run.
            begun: is told of each command before it starts.
            folder: of the files that commands write to.
        """
        self.running: dict[int, Running] = {}
        self.stopped = False
        self.overdue = False
        """Whether what runs is not waited for any longer."""
        self._rows = rows
        self._unread: Iterator[Row | Block] = iter(rows)
        self._read = 0
        self._ahead: Row | Block | None = None
        self._exhausted = False
        self._retries = retries
        self._retry_delay_s = retry_delay_s
        self._done = done
        self._slots = slots
        self._has_room = has_room
        self._pace = pace
        self._timeout_s = timeout_s
        self._begun = begun
        self._folder = folder
        self._again: list[tuple[float, int, int, Row | Block]] = []
        """What is retried: (monotonic time, seq, attempt, arguments)."""

    # ---- what the node that reads this calls --------------------------------------------------------------------

    def ready(self) -> bool:
        """Tell whether the next command, or the end, is available without waiting.

        Raises:
            OverdueError: what runs is not waited for any longer.
        """
        if self.stopped:
            if self.running and self.overdue:
                raise OverdueError
            return not self.running
        self._look_ahead()
        if len(self.running) >= self._slots():
            return False
        if self._due() is not None:
            return self._may_begin()
        if self._ahead is not None:
            return self._has_room() and self._may_begin()
        return self._exhausted and not self._again and not (self._retries and self.running)

    def when_ready(self, call: Callable[[], None]) -> None:
        """Call `call` when more arguments have arrived."""
        self._rows.when_ready(call)

    @property
    def wait_s(self) -> float | None:
        """Seconds until a command is due to be retried, or None."""
        waits = [] if self.stopped or not self._again else [max(0.0, min(self._again)[0] - time.monotonic())]
        if not self.stopped and self._pace is not None and self._pace.wait_s is not None:
            waits.append(self._pace.wait_s)
        return min(waits, default=None)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Command:
        """Return the next command.

        Call it only when `ready`.
        """
        due = None if self.stopped else self._due()
        if due is not None:
            self._again.remove(due)
            return self._begin(*due[1:])
        if self.stopped or self._ahead is None:
            raise StopIteration
        row, self._ahead = self._ahead, None
        return self._begin(self._read - 1, 1, row)

    # ---- what becomes of commands -------------------------------------------------------------------------------

    def back(self, seq: int) -> Running:
        """Remove an ended command from those that run."""
        return self.running.pop(seq)

    def try_again(self, running: Running) -> bool:
        """Retry a command that failed, if it may be, and return whether it will be."""
        command = running.command
        if self.stopped or command.attempt > self._retries:
            return False
        due_s = time.monotonic() + self._retry_delay_s * 2.0 ** min(command.attempt - 1, 64)
        self._again.append((due_s, command.seq, command.attempt + 1, running.block or command.arguments))
        return True

    @property
    def given_up(self) -> int:
        """Commands that failed and would have been tried again, had the run not been stopped."""
        return len(self._again) if self.stopped else 0

    def stop(self) -> None:
        """Stop yielding commands.

        Safe in a signal handler.
        """
        self.stopped = True

    def close(self) -> None:
        """Read nothing more, and drop what commands that still run have written."""
        self._rows.close()
        for running in self.running.values():
            running.close()
        self.running.clear()

    # ---- inside -------------------------------------------------------------------------------------------------

    def _may_begin(self) -> bool:
        return self._pace is None or self._pace.may_begin()

    def _due(self) -> tuple[float, int, int, Row | Block] | None:
        now = time.monotonic()
        return min((each for each in self._again if each[0] <= now), key=lambda each: each[1], default=None)

    def _look_ahead(self) -> None:
        """Read the next row to run, if there is one without waiting."""
        while self._ahead is None and not self._exhausted and self._rows.ready():
            row = next(self._unread, None)
            if row is None:
                self._exhausted = True
                return
            self._read += 1
            if self._read - 1 not in self._done:
                self._ahead = row
            elif isinstance(row, Block):
                row.release()

    def _begin(self, seq: int, attempt: int, given: Row | Block) -> Command:
        out, err = nameless_file(self._folder), nameless_file(self._folder)
        block = given if isinstance(given, Block) else None
        arguments = given.arguments if isinstance(given, Block) else given
        command = Command(seq, attempt, arguments, out.fileno(), err.fileno(), None if block is None else block.input)
        command = replace(command, timeout_s=self._timeout_s())
        if self._pace is not None:
            self._pace.begun()
        self._begun(command)
        self.running[seq] = Running(command, out, err, time.time(), block)
        return command


def nameless_file(folder: str | None) -> IO[bytes]:
    """Return a new file that no name leads to.

    Raises:
        OrchestratorError: the folder takes none.
    """
    with on_disk("the output of a command", folder):
        return tempfile.TemporaryFile(buffering=0, dir=folder)
