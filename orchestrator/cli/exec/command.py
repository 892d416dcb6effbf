"""The `exec` command: checks its options before a worker starts, then runs the commands.

Runs in the coordinator.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.cli.exec.arguments.packing import PackedRows
from orchestrator.cli.exec.arguments.rows import Rows, all_at_once
from orchestrator.cli.exec.arguments.sources import rows_of
from orchestrator.cli.exec.resume import check_same, commands_done
from orchestrator.cli.exec.run import CommandRun
from orchestrator.cli.session.exit_codes import show
from orchestrator.cli.session.run import run_command
from orchestrator.errors import ConfigError
from workers.commands.template import CommandTemplate, TemplateError, bare_commands, parse

if TYPE_CHECKING:
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
    rows, names = rows_of(settings.inputs)
    places = replace(settings.command.places, names=names)
    settings = replace(settings, command=replace(settings.command, places=places))
    try:
        template = _template(settings)
        rows = _packed(rows, template, settings)
        _check_groups(template, rows)
        logs = settings.logs
        if template.names_total or logs.resumes or settings.failures.halt.percent:
            rows = all_at_once(rows)
        if template.names_total:
            template = template.counting(rows.total or 0)
        done = _done(settings, template, rows)
        if settings.dry_run:
            for seq, row in enumerate(rows):
                if seq not in done:
                    show(template.render(row, seq + 1, None) + "\n")
            return None
    except TemplateError as mistake:
        raise ConfigError(str(mistake)) from None
    return CommandRun(settings, template, rows, done, signals, steering)


def _check_command(settings: ExecSettings) -> None:
    inputs = settings.inputs
    if settings.command.line is None and not (inputs.words or inputs.files) and sys.stdin.isatty():
        raise ConfigError("no command given: orchestrator exec COMMAND INPUT...")


def _template(settings: ExecSettings) -> CommandTemplate:
    command, packing = settings.command, settings.inputs.packing
    if command.line is None:
        return bare_commands(command.shell)
    return parse(
        command.line,
        command.places,
        shell=command.shell,
        appends=packing is None or packing.most != 0,
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


def _done(settings: ExecSettings, template: CommandTemplate, rows: Rows) -> dict[int, str]:
    """Return the commands that an earlier run has done."""
    logs = settings.logs
    if not logs.resumes:
        return {}
    assert logs.joblog is not None  # noqa: S101 - for the type checker
    done = commands_done(logs.joblog, failed_again=logs.resume_failed)
    check_same(logs.joblog, done, template, rows)
    return done
