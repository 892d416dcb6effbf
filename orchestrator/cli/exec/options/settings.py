"""The settings of `exec`, frozen, one group for each part of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.commands.placeholders import Placeholders

if TYPE_CHECKING:
    from orchestrator.cli.exec.arguments.sources import InputSettings
    from orchestrator.cli.exec.blocks.cutting import BlockSettings
    from orchestrator.cli.flags.halt import Halt
    from orchestrator.pool.size.sizing import Sizing


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """What is run."""

    line: str | None
    """None: the arguments are commands themselves."""
    places: Placeholders
    shell: str
    blocks: BlockSettings | None
    """What they read; None: they get arguments."""


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """What becomes of what commands write."""

    path: str
    ordered: bool
    mode: str
    """"group": after the command has ended; "lines": whole lines while it runs; "ungroup": by the command itself."""
    tag: str | None
    """What each line begins with, with places; None: nothing."""
    shows: bool
    """Whether the command line comes before what it has written."""
    traces: bool
    """Whether the command line is told on stderr before it starts."""
    results: str | None
    """Where what commands write goes, instead; None: nowhere."""
    files: bool
    """Whether the name of a file is printed, not what is in it."""
    tmpdir: str | None

    @property
    def to_stdout(self) -> bool:
        """Whether it goes to standard output."""
        return self.path == "-"


@dataclass(frozen=True, slots=True)
class FailureSettings:
    """What becomes of commands that fail."""

    timeout_s: float | None
    timeout_share: float | None
    """Of the median of those that succeeded; None: that doesn't matter."""
    retries: int
    retry_delay_s: float
    dead_letter: str | None
    """The file for commands that failed."""
    retry_dead: str | None
    """The file of an earlier run's, whose arguments are those of this one."""
    halt: Halt


@dataclass(frozen=True, slots=True)
class PaceSettings:
    """How many commands run, and what they may use."""

    sizing: Sizing
    delay_s: float
    load: float | None
    """Nothing new begins at a higher load average."""
    limit: str | None
    """A command line that must succeed before each start."""
    workdir: str | None
    """The folder that commands run in, with places; None: that of the run."""
    memfree_bytes: int | None
    nice: int | None
    threads: int | None
    """Of BLAS, OpenMP and the like, in a command; None: no limit."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is told about the run."""

    joblog: str | None
    trace: str | None
    report: str | None
    resume: bool
    resume_failed: bool
    retry_failed: bool
    """Whether the command lines that failed, as the log has them, are all there is to run."""
    show: str | None
    quiet: bool

    @property
    def resumes(self) -> bool:
        """Whether commands that the job log lists are skipped."""
        return self.resume or self.resume_failed or self.retry_failed


@dataclass(frozen=True, slots=True)
class ExecSettings:
    """The settings of `exec`."""

    command: CommandSettings
    inputs: InputSettings
    output: OutputSettings
    failures: FailureSettings
    pace: PaceSettings
    logs: LogSettings
    dry_run: bool
    gnu: bool
    """Whether GNU parallel's defaults hold."""
