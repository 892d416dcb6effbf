"""Makes the settings of --pipe and --pipepart of the words of the command line."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from orchestrator.cli.exec.arguments.records import unescaped
from orchestrator.cli.exec.blocks.cutting import BlockSettings
from orchestrator.cli.exec.blocks.ends import RecordEnds
from orchestrator.cli.flags.numbers import whole
from orchestrator.errors import ConfigError
from orchestrator.settings import parse_size

if TYPE_CHECKING:
    from orchestrator.cli.exec.options.tokens import Tokens

_THOUSANDS = {"k": 1, "m": 2, "g": 3, "t": 4}
_ONLY_HERE = ("block", "recend", "recstart", "round_robin", "cat")


def block_settings(given: dict[str, Any], tokens: Tokens) -> BlockSettings | None:
    """Return what --pipe and --pipepart say, or None without them.

    Raises:
        ConfigError: a value that can't be, or options that don't go together.
    """
    if not (given.get("pipe") or given.get("pipepart")):
        alone = next((key for key in _ONLY_HERE if key in given), None)
        if alone:
            raise ConfigError(f"--{alone.replace('_', '-')} is about blocks: it needs --pipe or --pipepart -a FILE")
        return None
    files = tuple(given.get("arg_file", ())) if given.get("pipepart") else ()
    if given.get("pipepart") and not files:
        raise ConfigError("--pipepart reads byte ranges of files: give -a FILE, or use --pipe for standard input")
    if not tokens.words:
        raise ConfigError("--pipe and --pipepart need a command, which reads its standard input")
    if tokens.inputs:
        raise ConfigError(f"--pipe gives commands blocks of standard input, not arguments: remove {tokens.inputs[0]}")
    size, parts = _size(given.get("block", "1M"))
    if parts is not None and not files:
        raise ConfigError("--block -N divides files, whose size is known: it needs --pipepart -a FILE")
    return BlockSettings(
        ends=_ends(given),
        size_bytes=size,
        parts=parts,
        records=_records(given),
        header_lines=_header_lines(given.get("header")),
        files=files,
        deals=bool(given.get("round_robin")),
        as_file=bool(given.get("cat")),
    )


def _size(text: str) -> tuple[int, int | None]:
    """Return the bytes of a block, or how many there are for each worker."""
    if re.fullmatch(r"-\d+", text) and int(text):
        return 1, -int(text)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgt])", text)
    if found:
        return max(1, int(float(found[1]) * 1000 ** _THOUSANDS[found[2]])), None
    return parse_size(text), None


def _ends(given: dict[str, Any]) -> RecordEnds:
    start = os.fsencode(unescaped(given.get("recstart", "")))
    end = given.get("recend")
    return RecordEnds(os.fsencode(unescaped(end)) if end is not None else b"" if start else b"\n", start)


def _records(given: dict[str, Any]) -> int | None:
    """Return the records a block: N of -N, each of so many lines as -L says."""
    flag = next((key for key in ("max_replace_args", "max_args") if key in given), None)
    if flag is None:
        if "max_lines" in given:
            raise ConfigError("-L N says how many lines a record has: with --pipe it needs -N, the records a block")
        return None
    lines = whole("-L", given["max_lines"], 1) if "max_lines" in given else 1
    return whole("-N", given[flag], 1) * lines


def _header_lines(text: str | None) -> int:
    if text is None:
        return 0
    return 1 if text == ":" else whole("--header", text, 1)
