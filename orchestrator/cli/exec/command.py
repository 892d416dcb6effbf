"""The `exec` command: checks its options before a worker starts, then runs the commands.

Runs in the coordinator.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.cli.exec.arguments import all_at_once, rows_of
from orchestrator.cli.exec.resume import check_same, commands_done
from orchestrator.cli.exec.run import CommandRun
from orchestrator.cli.session.exit_codes import show
from orchestrator.cli.session.run import run_command
from orchestrator.errors import ConfigError
from workers.commands.template import CommandTemplate, TemplateError, bare_commands, parse

if TYPE_CHECKING:
    from orchestrator.cli.exec.options import ExecSettings
    from orchestrator.cli.session.signals import Signals
    from orchestrator.cli.session.steering import Steering


def run_exec(settings: ExecSettings) -> int:
    """Do what the settings say and return the exit code.

    Raises:
        ConfigError: a mistake that was found before a worker started.
    """
    return run_command("exec", settings.sizing, settings.report, partial(_made, settings))


def _made(settings: ExecSettings, signals: Signals, steering: Steering) -> CommandRun | None:
    template = _template(settings)
    rows = rows_of(settings.words, null=settings.null)
    if template.groups > rows.width:
        there = "is 1 group" if rows.width == 1 else f"are {rows.width} groups"
        raise ConfigError(f"the command uses argument {template.groups}, but there {there} of arguments")
    done: dict[int, str] = {}
    if settings.resume or settings.resume_failed:
        assert settings.joblog is not None  # noqa: S101 - for the type checker
        rows = all_at_once(rows)
        done = commands_done(settings.joblog, failed_again=settings.resume_failed)
        check_same(settings.joblog, done, template, rows)
    if settings.dry_run:
        for seq, row in enumerate(rows):
            if seq not in done:
                show(template.render(row, seq + 1, None) + "\n")
        return None
    if settings.halt.percent:
        rows = all_at_once(rows)
    return CommandRun(settings, template, rows, done, signals, steering)


def _template(settings: ExecSettings) -> CommandTemplate:
    if settings.command is None:
        if not settings.words and sys.stdin.isatty():
            raise ConfigError("no command given: orchestrator exec COMMAND INPUT...")
        return bare_commands()
    try:
        return parse(settings.command)
    except TemplateError as mistake:
        raise ConfigError(str(mistake)) from None


