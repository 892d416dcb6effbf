"""Writes what commands wrote into files of their own, or into a table, as under --results and --files.

Runs in the coordinator's thread.
"""

# ruff: noqa: PTH103, PTH118, PTH120, PTH123
# Paths stay as the user wrote them; pathlib would change them ("./a" to "a").

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from typing import IO, TYPE_CHECKING

from orchestrator.cli.logs.joblog import COLUMNS
from orchestrator.cli.session.result_sink import Observer
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.graph.flow.segment import on_disk
from workers.commands.placeholders import TemplateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.cli.exec.feed import Settled
    from workers.commands.placeholders import Placeholders

_TABLES = {".csv": ",", ".tsv": "\t", ".json": ""}


def open_results(name: str, places: Placeholders) -> Observer[Settled]:
    """Return what takes the results that `--results NAME` asks for.

    Raises:
        ConfigError: it can't be written to, or a place in it is no expression.
    """
    ending = os.path.splitext(name)[1]  # noqa: PTH122
    try:
        return ResultTable(name, ending, places.names) if ending in _TABLES else ResultFiles(name, places)
    except TemplateError as mistake:
        raise ConfigError(f"--results: {mistake}") from None


class ResultFiles(Observer["Settled"]):
    """A folder, or three files, for each command."""

    def __init__(self, name: str, places: Placeholders) -> None:
        """Take the name, which may have places in it."""
        self._name = places.plain(name)
        self._folder = name
        self._names = places.names

    def observe(self, settled: Settled) -> None:
        """Write the files of one command.

        Raises:
            OrchestratorError: the disk is full, or a name is not possible.
        """
        result, running = settled.result, settled.running
        arguments, numbers = running.command.arguments, (result.seq + 1, result.worker + 1)
        try:
            if not self._name.has_places:
                path = os.path.join(self._folder, *self._columns(arguments), "")
            else:
                path = self._name.render(arguments, *numbers)
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            out, err, seq = (f"{path}stdout", f"{path}stderr", f"{path}seq") if path.endswith("/") else (
                path, f"{path}.err", f"{path}.seq")  # fmt: skip
            _copy(running.out, out)
            _copy(running.err, err)
            with open(seq, "w", encoding="ascii") as file:
                file.write(str(numbers[0]))
        except (OSError, ValueError) as error:
            raise OrchestratorError(f"can't write the results of command {numbers[0]}: {error}") from None
        finally:
            running.close()

    def _columns(self, arguments: Sequence[str]) -> list[str]:
        found: list[str] = []
        for number, value in enumerate(arguments, 1):
            name = self._names[number - 1] if number <= len(self._names) else str(number)
            found += [_as_name(name), _as_name(value)]
        return found


class ResultTable(Observer["Settled"]):
    """A row for each command, in CSV, TSV or JSON lines."""

    def __init__(self, path: str, ending: str, names: Sequence[str]) -> None:
        self._names = names
        self._ending = ending
        self._begun = False
        self._path = path
        try:
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - as long as the run
        except OSError as error:
            raise ConfigError(f"can't write to {path}: {error.strerror}") from None

    def observe(self, settled: Settled) -> None:
        """Write the row of one command.

        Raises:
            OrchestratorError: the disk is full.
        """
        result, running = settled.result, settled.running
        out, err = _text(running.out), _text(running.err)
        sent = 0 if running.block is None else running.block.input.size_bytes
        times = round(result.started_s, 3), round(result.run_s, 3)
        received = os.fstat(running.out.fileno()).st_size
        values = [result.seq + 1, ":", *times, sent, received, result.exitval, result.signal, result.line]
        running.close()
        arguments = running.command.arguments
        try:
            self._file.write(self._row(values, arguments, out, err).encode(errors="surrogateescape"))
        except OSError as error:
            raise OrchestratorError(f"can't write to {self._path}: {error.strerror}") from None

    def _row(self, values: list[object], arguments: Sequence[str], out: str, err: str) -> str:
        columns = list(self._names[: len(arguments)]) or [f"V{number}" for number in range(1, len(arguments) + 1)]
        if self._ending == ".json":
            given = dict(zip(columns, arguments, strict=False)) if self._names else list(arguments)
            row = {**dict(zip(COLUMNS, values, strict=True)), "V": given, "Stdout": out, "Stderr": err}
            return json.dumps(row) + "\n"
        text = io.StringIO()
        rows = csv.writer(text, delimiter=_TABLES[self._ending], lineterminator="\n")
        if not self._begun:
            self._begun = True
            rows.writerow([*COLUMNS, *columns, "Stdout", "Stderr"])
        values[2:4] = [f"{value:.3f}" for value in values[2:4]]
        rows.writerow([*values, *arguments, out, err])
        return text.getvalue()

    def finish(self) -> None:
        """Close the table."""
        self._file.close()

    def abort(self) -> None:
        """Close the table as it is."""
        self._file.close()


def kept(file: IO[bytes], folder: str | None) -> bytes:
    """Copy what a command wrote into a file that stays, and return its name.

    Raises:
        OrchestratorError: the disk is full.
    """
    with on_disk("the output of a command", folder):
        fd, path = tempfile.mkstemp(".par", "par", folder)
        os.close(fd)
        _copy(file, path)
    return os.fsencode(path)


def _copy(file: IO[bytes], path: str) -> None:
    with open(path, "wb") as target:
        file.seek(0)
        shutil.copyfileobj(file, target)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="surrogateescape")


def _as_name(text: str) -> str:
    """Return a text as the name of a folder: none leads out of the one that it is in."""
    name = text.replace("\\", "\\\\").replace("/", "\\_").replace("\t", "\\t").replace("\0", "\\0")
    return f"\\{name}" if name in {"", ".", ".."} else name
