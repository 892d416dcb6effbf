"""Makes the settings of `exec` of the words of its command line."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from typing import Any

from orchestrator.cli.exec.arguments.packing import Packing
from orchestrator.cli.exec.arguments.records import unescaped
from orchestrator.cli.exec.arguments.sources import InputSettings
from orchestrator.cli.exec.options.blocks import block_settings
from orchestrator.cli.exec.options.help import exec_parser
from orchestrator.cli.exec.options.settings import (
    CommandSettings,
    ExecSettings,
    FailureSettings,
    LogSettings,
    OutputSettings,
    PaceSettings,
)
from orchestrator.cli.exec.options.tokens import Reader, Tokens
from orchestrator.cli.flags.halt import parse_halt
from orchestrator.cli.flags.numbers import seconds, whole
from orchestrator.errors import ConfigError
from orchestrator.pool.size.sizing import Sizing, parse_sizing
from orchestrator.settings import parse_size, usable_cpus
from orchestrator.sinks.disk.output_file import is_standard_output
from workers.commands.placeholders import Placeholders, TemplateError
from workers.commands.shells import chosen_shell
from workers.commands.template import quoted_words

_MOST_AT_ONCE = 250
"""Workers under -j 0: GNU parallel's limit with the usual 1,024 open files."""
_FILES_A_WORKER = 8


def parse_exec(argv: Sequence[str], *, gnu: bool = False) -> ExecSettings:
    """Return the settings that the arguments of `exec` mean.

    `gnu`: GNU parallel's defaults hold, as under --gnu.

    Raises:
        ConfigError: a value that can't be.
        SystemExit: the help was shown.
    """
    tokens = Reader(argv, lambda tokens, rest: _is_command(tokens, rest, gnu=gnu)).read()
    given = tokens.values
    if given.get("help"):
        exec_parser().print_help()
        raise SystemExit(0)
    gnu = gnu or bool(given.get("gnu"))
    if given.get("engine") not in {None, "local"}:
        raise ConfigError("--engine is for run and job: exec runs commands, which are processes of their own")
    command, words = _command(tokens)
    _check_letters(given, words or tokens.inputs)
    return ExecSettings(
        command=_command_settings(command, tokens),
        inputs=_inputs(tokens, words),
        output=_output(given, gnu=gnu),
        failures=_failures(given, gnu=gnu),
        pace=_pace(given),
        logs=_logs(given, gnu=gnu),
        dry_run=bool(given.get("dry_run")),
        gnu=gnu,
    )


# ---- the command and its arguments ------------------------------------------------------------------------------


def _is_command(tokens: Tokens, rest: list[str], *, gnu: bool) -> bool:
    """Tell whether all of these words are the command, as with GNU parallel.

    A first word with a blank in it is a whole command line: our own options may stand behind it too.
    """
    if gnu or tokens.values.get("gnu"):
        return True
    if any(blank in rest[0] for blank in " \t\n"):
        return False
    return _has_source(tokens, rest) or _names_places(rest[1:], _placeholders(tokens.values))


def _has_source(tokens: Tokens, rest: Sequence[str]) -> bool:
    """Whether it is said where the arguments come from, so that words behind the command are its own."""
    sources = ("arg_file", "pipe", "pipepart", "retry_dead")
    return any(tokens.values.get(key) for key in sources) or len(rest) < tokens.left


def _names_places(words: Sequence[str], places: Placeholders) -> bool:
    """Whether there is a place in one of the words which is no file's name, as those of a pattern are."""
    return any(_has_place(word, places) and not os.path.lexists(word) for word in words)


def _has_place(word: str, places: Placeholders) -> bool:
    try:
        return places.search(word) is not None
    except TemplateError:
        return True


def _command(tokens: Tokens) -> tuple[str | None, list[str]]:
    """Return the command line, and the arguments behind it."""
    words = tokens.words
    if not words:
        return None, []
    if tokens.is_command:
        return quoted_words(words, _placeholders(tokens.values)) if tokens.values.get("quote") else " ".join(words), []
    if len(words) > 1 and (tokens.inputs or tokens.values.get("arg_file")):
        raise ConfigError(f"unexpected {words[1]!r} between the command and :::; put arguments after :::")
    line = quoted_words(words[:1], _placeholders(tokens.values)) if tokens.values.get("quote") else words[0]
    return line, words[1:]


def _check_letters(given: dict[str, Any], words: Sequence[str]) -> None:
    retried = given.get("retry_dead")
    if retried is not None and (words or given.get("arg_file") or given.get("pipe") or given.get("pipepart")):
        raise ConfigError(f"--retry-dead {retried} already has the arguments: give no others")
    if retried is not None and retried == given.get("dead_letter"):
        raise ConfigError(f"--dead-letter {retried} is the file that --retry-dead reads; give another one")


def _placeholders(given: dict[str, Any]) -> Placeholders:
    return Placeholders(given.get("replace", "{}"), plus=bool(given.get("plus")))


def _command_settings(line: str | None, tokens: Tokens) -> CommandSettings:
    given = tokens.values
    if given.get("replace") == "":
        raise ConfigError("-I needs a text that stands for the argument")
    try:
        shell = chosen_shell(given.get("shell"), os.environ)
    except ValueError as wrong:
        raise ConfigError(str(wrong)) from None
    return CommandSettings(line, _placeholders(given), shell, block_settings(given, tokens))


def _inputs(tokens: Tokens, words: list[str]) -> InputSettings:
    given = tokens.values
    takes_blocks = given.get("pipe") or given.get("pipepart")
    if given.get("header") not in {None, ":"} and not takes_blocks:
        raise ConfigError(f"--header takes : for the first argument of each source, not {given['header']!r}")
    return InputSettings(
        words=(*words, *tokens.inputs),
        files=tuple(given.get("arg_file", ())),
        markers=tokens.markers,
        end=_end_of_lines(given),
        colsep=given.get("colsep"),
        as_csv=bool(given.get("csv")),
        named=given.get("header") == ":" and not takes_blocks,
        links=bool(given.get("link")),
        shuffles=bool(given.get("shuf")),
        packing=_packing(given),
    )


def _end_of_lines(given: dict[str, Any]) -> bytes:
    if given.get("null"):
        return b"\0"
    text = given.get("delimiter")
    if text is None:
        return b"\n"
    return os.fsencode(unescaped(text)) or b"\0"


def _packing(given: dict[str, Any]) -> Packing | None:
    """Return what -n, -N, -L, -X, -m and -r say."""
    most = [
        whole(flag, given[key], 0)
        for flag, key in (("-n", "max_args"), ("-N", "max_replace_args"), ("-L", "max_lines"))
        if key in given
    ]
    fills = bool(given.get("words") or given.get("fill"))
    if not most and not fills and not given.get("no_run_if_empty"):
        return None
    return Packing(
        most=min(most) if most else None if fills else 1,
        fills=fills and not most,
        repeats=bool(given.get("words")) or "max_replace_args" in given or "max_lines" in given,
        skips_blank=bool(given.get("no_run_if_empty")),
        joins="max_lines" in given,
    )


# ---- the rest ---------------------------------------------------------------------------------------------------


def _output(given: dict[str, Any], *, gnu: bool) -> OutputSettings:
    path, mode = given.get("output", "-"), given.get("mode", "group")
    if mode != "group" and not is_standard_output(path):
        raise ConfigError("-u and --line-buffer write to standard output while commands run, so -o is not possible")
    kept = next((key for key in ("results", "files") if mode != "group" and given.get(key)), None)
    if kept:
        raise ConfigError(f"--{kept} keeps what commands write, and -u and --line-buffer pass it on: use one of them")
    if not os.path.isdir(given.get("tmpdir", "/")):  # noqa: PTH112 - as the user wrote it
        raise ConfigError(f"--tmpdir {given['tmpdir']}: no such folder")
    return OutputSettings(
        path="-" if is_standard_output(path) else path,
        ordered=bool(given.get("ordered", not gnu)),
        mode=mode,
        tag=given.get("tagstring", given.get("replace", "{}") if given.get("tag") else None),
        shows=bool(given.get("verbose")),
        traces=bool(given.get("traced")),
        results=given.get("results"),
        files=bool(given.get("files")),
        tmpdir=given.get("tmpdir"),
    )


def _failures(given: dict[str, Any], *, gnu: bool) -> FailureSettings:
    retries = whole("--retries", given.get("retries", "0"), 0)
    timeout = given.get("timeout")
    share = timeout[:-1] if timeout is not None and timeout.endswith("%") else None
    return FailureSettings(
        timeout_s=None if share is not None else _timeout(timeout),
        timeout_share=None if share is None else seconds("--timeout", share) / 100,
        retries=max(0, retries - 1) if gnu else retries,
        dead_letter=given.get("dead_letter"),
        retry_dead=given.get("retry_dead"),
        retry_delay_s=seconds("--retry-delay", given.get("retry_delay", "0")),
        halt=parse_halt(given.get("halt", "never")),
    )


def _timeout(text: str | None) -> float | None:
    if text is None:
        return None
    found = seconds("--timeout", text)
    if not found:
        raise ConfigError("--timeout must be more than 0 seconds")
    return found


def _pace(given: dict[str, Any]) -> PaceSettings:
    threads = given.get("threads_per_worker")
    return PaceSettings(
        sizing=_sizing(given.get("jobs", "100%")),
        delay_s=seconds("--delay", given.get("delay", "0")),
        load=_load(given.get("load")),
        limit=given.get("limit"),
        workdir=given.get("wd"),
        memfree_bytes=parse_size(given["memfree"]) if "memfree" in given else None,
        nice=whole("--nice", given["nice"], 0, 19) if "nice" in given else None,
        threads=whole("--threads-per-worker", threads, 0) if threads is not None else None,
    )


def _load(text: str | None) -> float | None:
    if text is None:
        return None
    return usable_cpus() * seconds("--load", text[:-1]) / 100 if text.endswith("%") else seconds("--load", text)


def _sizing(text: str) -> Sizing:
    """Return what -j says.

    0: as many as there are commands, within what open files allow.
    """
    if text.strip() != "0":
        return parse_sizing(text)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Sizing(max(1, min(_MOST_AT_ONCE, files // _FILES_A_WORKER)))


def _logs(given: dict[str, Any], *, gnu: bool) -> LogSettings:
    resume, resume_failed = bool(given.get("resume")), bool(given.get("resume_failed"))
    retry_failed = bool(given.get("retry_failed"))
    if (resume or resume_failed or retry_failed) and not given.get("joblog"):
        raise ConfigError("--resume, --resume-failed and --retry-failed need --joblog FILE, the log of a run")
    return LogSettings(
        joblog=given.get("joblog"),
        trace=given.get("trace"),
        report=given.get("report"),
        resume=resume,
        resume_failed=resume_failed,
        retry_failed=retry_failed,
        show=given.get("show"),
        quiet=bool(given.get("quiet")) or gnu,
    )
