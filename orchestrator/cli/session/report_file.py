"""Writes the report of a run as one JSON object in a file (`--report`), for programs.

    format        1
    command       "run", "exec" or "job"
    arguments     those of the command line
    started       UTC, as 2026-01-31T23:59:59Z
    seconds       from there to the end
    exit_code     that of the command
    ended         "well", "with failures", "stopped" (at a failure or an error), "halted", "by SIGINT" (SIGTERM, SIGHUP)
    output        the name behind -o; null: standard output, or the job file's sinks
    pool          workers, deaths, retries, cpu_seconds and peak_rss_bytes (of the workers)
    records       of `run`: in, out, dropped, failed
    commands      of `exec`: succeeded, failed, ended (because the run was), tried_again
    items, nodes  of `job`: in, out, failed; by node items_in, items_out, failed, seconds (in the workers), full_s (that
                  the others waited for it)
    grown         of `job`: by edge whose buffer had to grow: items (the most that waited there), disk_bytes
    failures      the first of them, a text each

Written when the run ends, whatever end that is, but for mistakes in the command; whole under its name, or not there.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.cli.session.exit_codes import EXIT_HALTED, EXIT_SIGHUP, EXIT_SIGINT, EXIT_SIGTERM, print_error
from orchestrator.errors import OrchestratorError
from orchestrator.sinks.disk.output_file import mode_beside, output_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from orchestrator.pool.stats import PoolStats

_ENDS = {
    0: "well", EXIT_HALTED: "halted", EXIT_SIGINT: "by SIGINT", EXIT_SIGTERM: "by SIGTERM", EXIT_SIGHUP: "by SIGHUP",
}  # fmt: skip


class ReportFile:
    """The report of one run.

    Its file is made when it is written, so that a run that is killed leaves nothing of it.
    """

    def __init__(self, path: str | None, command: str, outputs: Iterable[str] = ()) -> None:
        """Check that the report can be written, so that a mistake is known before the run.

        Args:
            path: its name; None: nobody wants one.
            command: which one it is of.
            outputs: of the command; the report is readable to nobody who may not read them.

        Raises:
            ConfigError: it can't be written to.
        """
        self._command = command
        self._started_s = time.time()
        self._file = None if path is None else output_file(path, mode_beside(outputs))

    def write(self, exit_code: int, *, finished: bool, **told: Any) -> None:
        """Write the report.

        A disk that refuses is reported, and changes no exit code.

        Args:
            exit_code: of the command.
            finished: whether the run ended, with failures or without.
            told: what else there is to tell.
        """
        if self._file is None:
            return
        ended = _ENDS.get(exit_code, "with failures" if finished else "stopped")
        started = datetime.fromtimestamp(int(self._started_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        report = {
            "format": 1,
            "command": self._command,
            "arguments": sys.argv[1:],
            "started": started,
            "seconds": round(time.time() - self._started_s, 6),
            "exit_code": exit_code,
            "ended": ended,
            **told,
        }
        try:
            self._file.write(json.dumps(report, indent=2).encode() + b"\n")
            self._file.close()
        except OrchestratorError as error:
            self._file.abort()
            print_error(str(error))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.abort()


def pool_part(workers: int, stats: PoolStats | None, cpu_s: float = 0.0) -> dict[str, Any]:
    """Return the part of the report about a pool.

    Args:
        workers: how many were asked for.
        stats: of the pool when it was closed; None: there was none.
        cpu_s: CPU seconds of processes that the workers started.
    """
    return {
        "workers": workers,
        "deaths": 0 if stats is None else stats.deaths,
        "retries": 0 if stats is None else stats.retries,
        "cpu_seconds": round(cpu_s + (0.0 if stats is None else stats.worker_cpu_seconds), 6),
        "peak_rss_bytes": 0 if stats is None else stats.worker_peak_rss_bytes,
    }
