"""The `exec` command: checks its options before a worker starts, then runs the commands.

Runs in the coordinator.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.cli.exec.arguments.packing import PackedRows
from orchestrator.cli.exec.arguments.resume import check_same, commands_done, lines_of_log
from orchestrator.cli.exec.arguments.rows import ListedRows, Rows, all_at_once
from orchestrator.cli.exec.arguments.sources import rows_of
from orchestrator.cli.exec.blocks.cutting import Block, Blocks, blocks_of
from orchestrator.cli.exec.blocks.dealing import DealtBlocks
from orchestrator.cli.exec.dead_letters import rows_of_letters
from orchestrator.cli.exec.run import CommandRun
from orchestrator.cli.session.exit_codes import show
from orchestrator.cli.session.run import run_command
from orchestrator.errors import ConfigError
from workers.commands.template import CommandTemplate, Placeholders, TemplateError, bare_commands, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.cli.exec.arguments.records import Row
    from orchestrator.cli.exec.options.settings import ExecSettings
    from orchestrator.cli.session.signals import Signals
    from orchestrator.cli.session.steering import Steering


def run_exec(settings: ExecSettings) -> int:
    """Do what the settings say and return the exit code.

    Raises:
        ConfigError: a mistake that was found before a worker started.
    """
    return run_command("exec", settings.pace.sizing, settings.logs.report, partial(_made, settings))


def _made(settings: ExecSettings, signals: Signals, steering: Steering) -> CommandRun | None:
    _check_command(settings)
    try:
        rows, template, names = _planned(settings)
        done = _done(settings, template, rows)
        if settings.dry_run:
            found: Iterator[Row | Block] = iter(rows)
            for seq, given in enumerate(found):
                if seq not in done:
                    arguments = given.arguments if isinstance(given, Block) else given
                    show(template.render(arguments, seq + 1, None) + "\n")
            return None
        places = replace(settings.command.places, names=names)
        settings = replace(settings, command=replace(settings.command, places=places))
        return CommandRun(settings, template, rows, done, signals, steering)
    except TemplateError as mistake:
        raise ConfigError(str(mistake)) from None


_Plan = tuple[Rows | Blocks, CommandTemplate, tuple[str, ...]]
"""What each command gets, the command, and the names of its columns."""


def _planned(settings: ExecSettings) -> _Plan:
    if settings.logs.retry_failed:
        return _that_failed(settings)
    return _with_arguments(settings) if settings.command.blocks is None else _with_blocks(settings)


def _that_failed(settings: ExecSettings) -> _Plan:
    """Return the command lines of the job log, of which those that are done will not run."""
    assert settings.logs.joblog is not None  # noqa: S101 - for the type checker
    lines = lines_of_log(settings.logs.joblog)
    rows = [(lines.get(seq, ""),) for seq in range(max(lines, default=-1) + 1)]
    return ListedRows(rows, 1), bare_commands(settings.command.shell), ()


def _with_arguments(settings: ExecSettings) -> _Plan:
    """Return the rows of arguments, the command that they go into, and the names of their columns."""
    retried = settings.failures.retry_dead
    rows, names = rows_of(settings.inputs) if retried is None else (rows_of_letters(retried), ())
    template = _template(settings, replace(settings.command.places, names=names))
    rows = _packed(rows, template, settings)
    _check_groups(template, rows)
    if template.names_total or settings.logs.resumes or settings.failures.halt.percent:
        rows = all_at_once(rows)
    return rows, template.counting(rows.total or 0) if template.names_total else template, names


def _with_blocks(settings: ExecSettings) -> _Plan:
    """Return the blocks of standard input, and the command that reads them."""
    assert settings.command.blocks is not None  # noqa: S101 - for the type checker
    workers = settings.pace.sizing.workers
    blocks = blocks_of(settings.command.blocks, workers)
    template = _template(settings, settings.command.places)
    return DealtBlocks(blocks, workers) if settings.command.blocks.deals else blocks, template, ()


def _check_command(settings: ExecSettings) -> None:
    inputs = settings.inputs
    if settings.logs.retry_failed or settings.failures.retry_dead is not None:
        return
    if settings.command.line is None and not (inputs.words or inputs.files) and sys.stdin.isatty():
        raise ConfigError("no command given: orchestrator exec COMMAND INPUT...")


def _template(settings: ExecSettings, places: Placeholders) -> CommandTemplate:
    command, packing, blocks = settings.command, settings.inputs.packing, settings.command.blocks
    if command.line is None:
        return bare_commands(command.shell)
    return parse(
        command.line,
        places,
        shell=command.shell,
        appends=(packing is None or packing.most != 0) if blocks is None else blocks.as_file,
        repeats=packing is not None and packing.repeats,
    )


def _packed(rows: Rows, template: CommandTemplate, settings: ExecSettings) -> Rows:
    """Return the rows of arguments of each command."""
    packing = settings.inputs.packing
    if packing is None:
        return rows
    bare = len(template.render((), 1, None))

    def cost(row: tuple[str, ...]) -> int:
        return len(template.render(row, 1, None)) - bare + 1

    return PackedRows(rows, packing, workers=settings.pace.sizing.workers, cost=cost)


def _check_groups(template: CommandTemplate, rows: Rows) -> None:
    if rows.width is not None and template.groups > rows.width:
        there = "is 1 group" if rows.width == 1 else f"are {rows.width} groups"
        raise ConfigError(f"the command uses argument {template.groups}, but there {there} of arguments")


def _done(settings: ExecSettings, template: CommandTemplate, rows: Rows | Blocks) -> dict[int, str]:
    """Return the commands that an earlier run has done."""
    logs = settings.logs
    if not logs.resumes:
        return {}
    assert logs.joblog is not None  # noqa: S101 - for the type checker
    done = commands_done(logs.joblog, failed_again=logs.resume_failed or logs.retry_failed)
    if logs.retry_failed:
        missing = set(range(rows.total or 0)) - lines_of_log(logs.joblog).keys()
        return done | dict.fromkeys(missing, "")
    if isinstance(rows, ListedRows):  # blocks are read once
        check_same(logs.joblog, done, template, rows)
    return done
