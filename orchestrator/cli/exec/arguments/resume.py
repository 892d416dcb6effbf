"""Finds the commands that an earlier run has done, by its job log."""

# ruff: noqa: PTH123
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from orchestrator.cli.logs.joblog import COLUMNS, as_field
from orchestrator.errors import ConfigError, ResumeMismatchError

if TYPE_CHECKING:
    from orchestrator.cli.exec.arguments.rows import Rows
    from workers.commands.template import CommandTemplate


def commands_done(path: str, *, failed_again: bool) -> dict[int, str]:
    """Return the commands that need not run again, by seq from 0, as they stand in the log.

    A command that a signal ended, ours at a stop or anybody's, has not run to its end, and is not among them; one that
    failed, or took too long, is, unless `failed_again`. Of several lines of one command the last counts. A log that is
    not there yet is an empty one.

    Raises:
        ConfigError: it is not a job log.
    """
    done: dict[int, str] = {}
    for seq, exitval, signal, line in _entries(path):
        done.pop(seq, None)
        ran = signal == 0 or exitval == -1
        if ran and not (failed_again and exitval):
            done[seq] = line
    return done


def lines_of_log(path: str) -> dict[int, str]:
    """Return the command lines of a job log, by seq from 0.

    Raises:
        ConfigError: it is not a job log.
    """
    return {seq: line for seq, _, _, line in _entries(path)}


def _entries(path: str) -> Iterator[tuple[int, int, int, str]]:
    """Yield (seq from 0, exit value, signal, command line) of each line of a log."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            lines = file.read().split("\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"can't read the job log {path}: {error.strerror}") from None
    if len(lines) == 1 and "\t".join(COLUMNS).startswith(lines[0].rstrip("\0")):  # torn in its first line, or empty
        return
    if lines[0].split("\t") != list(COLUMNS):
        raise ConfigError(f"{path} is not a job log: its first line doesn't name the columns")
    for number, line in enumerate(lines[1:-1], 2):  # behind the last line end there may be a torn one
        fields = line.split("\t", len(COLUMNS) - 1)
        try:
            yield int(fields[0]) - 1, int(fields[6]), int(fields[7]), fields[8]
        except (ValueError, IndexError):
            raise ConfigError(f"{path}, line {number}: not a line of a job log") from None


def check_same(path: str, done: dict[int, str], template: CommandTemplate, rows: Rows) -> None:
    """Check that the log is of these commands.

    Raises:
        ResumeMismatchError: it is of others.
    """
    if template.names_slot or not done:
        return
    last = max(done)
    for seq, row in enumerate(islice(rows, last + 1)):
        line = as_field(template.render(row, seq + 1, None))
        if done.get(seq, line) != line:
            raise ResumeMismatchError(
                f"{path} belongs to a different run: command {seq + 1} was {done[seq]!r} there and is {line!r} now; "
                "use another --joblog, or remove it to start over"
            )
    if rows.total is not None and last >= rows.total:
        raise ResumeMismatchError(
            f"{path} belongs to a different run: it lists command {last + 1}, but there are only {rows.total:,} now; "
            "use another --joblog, or remove it to start over"
        )
