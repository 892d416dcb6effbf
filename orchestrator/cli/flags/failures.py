"""The flags of failing records, and of the workers' limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.cli.flags.halt import NEVER, Halt, parse_halt
from orchestrator.cli.flags.numbers import seconds, whole
from orchestrator.errors import ConfigError
from orchestrator.settings import Retries, exception_class, parse_size
from workers.pickling import load

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class FailureSettings:
    """The settings of failing records."""

    on_error: str
    retries: Retries
    retry_delay_s: float
    timeout_s: float | None
    halt: Halt
    dead_letter: str | None
    """The file for records that are given up."""
    retry_dead: str | None
    """The file of an earlier run's, which are the input of this one."""

    def describe(self) -> str:
        """Describe the settings that differ from the defaults."""
        found = [self.on_error]
        if self.retries:
            found.append(f"retries {describe_retries(self.retries)}, {self.retry_delay_s:g} s apart at first")
        if self.timeout_s is not None:
            found.append(f"at most {self.timeout_s:g} s per record")
        if self.halt.when != "never":
            found.append(f"halt {self.halt}")
        if self.dead_letter is not None:
            found.append(f"dead letters to {self.dead_letter}")
        return ", ".join(found)


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """The resources that a worker may use."""

    memory_bytes: int | None
    records: int | None
    """About so many, then the worker is replaced."""
    memfree_bytes: int | None
    """Nothing more begins while less is free."""
    nice: int | None
    threads: int | None = None
    """Of BLAS, OpenMP and the like, in a worker."""
    finish: str | None = None
    """The function that a worker calls when it leaves, as TARGET is written."""

    def describe(self) -> str:
        """Return the limits in words."""
        found = [] if self.memory_bytes is None else [f"{self.memory_bytes / 2**20:,.0f} MiB"]
        found += [] if self.records is None else [f"about {self.records:,} records"]
        if self.memfree_bytes is not None:
            found.append(f"{self.memfree_bytes / 2**20:,.0f} MiB kept free")
        found += [] if self.nice is None else [f"nice {self.nice}"]
        found += [] if self.threads is None else [f"{self.threads} threads a worker"]
        found += [] if self.finish is None else [f"{self.finish} at the end of each worker"]
        return ", ".join(found) or "none"


def add_failing(parser: argparse.ArgumentParser) -> None:
    """Add the flags of failures and limits."""
    add = parser.add_argument_group("failures").add_argument
    add(
        "--on-error",
        choices=("raise", "skip"),
        help="what to do with a record that fails, times out or kills its workers: stop the run (raise, the default), "
        "or skip it and list it at the end (skip, the default with --dead-letter and --halt)",
    )
    add(
        "--halt",
        metavar="WHEN",
        help="skip failing records up to a limit: soon,fail=3 stops reading after 3 failures and finishes what is "
        "read, so the output covers part of the input; now,fail=3 stops at once, and -o FILE is not written; also "
        "fail=N%% (of the records so far, from 3 failures on), success=…, done=…, never. Checked after each block",
    )
    add(
        "--retries",
        metavar="N",
        help="retry a failed record up to N times, or by exception class: ConnectionError=5,TimeoutError=2 "
        "(mymodule:MyError=1); a record that exceeds --timeout fails with TimeoutError",
    )
    add(
        "--retry-delay",
        metavar="S",
        default="0",
        help="seconds before the first retry, doubled for each one after, with jitter; other records run meanwhile",
    )
    add(
        "--timeout",
        metavar="S",
        help="seconds a record may take; then its worker is killed, with all it started, and replaced. The other "
        "records of its block run again, so make blocks small when records are slow: --chunk 10",
    )
    add(
        "--dead-letter",
        metavar="FILE",
        help="write every skipped record to FILE as JSON lines: path, bytes, line, the record if it is small, "
        "error, traceback, attempts",
    )
    add(
        "--retry-dead",
        metavar="FILE",
        help="instead of INPUT: rerun the records that an earlier run wrote to --dead-letter FILE, with the same "
        "--format; what fails again needs another --dead-letter FILE. FILE is read as data; pickles in it are refused",
    )
    limits = parser.add_argument_group("limits").add_argument
    limits(
        "--mem-per-worker",
        metavar="SIZE",
        help="replace a worker that uses more memory than this (500M, 2G) after its block; a worker a quarter "
        "above the limit is killed at once, and its record counts as the cause",
    )
    limits(
        "--items-per-worker",
        metavar="N",
        help="replace a worker after about N records: whole blocks, whose size is estimated from the first 64 KiB; "
        "with --format files exactly N",
    )
    limits(
        "--finish",
        metavar="TARGET",
        help="module:function or path/file.py:function, called without arguments in each worker that exits "
        "gracefully, to close what it holds",
    )
    add_sparing(limits)


def add_sparing(add: Callable[..., object]) -> None:
    """Add the flags that spare the machine, by the `add_argument` of a group."""
    add(
        "--memfree",
        metavar="SIZE",
        help="start nothing new while less memory is free (on the machine or in this control group); below half of it "
        "the newest work is stopped and retried later; one worker always keeps running",
    )
    add("--nice", metavar="N", help="run the workers at a lower CPU priority: 1 to 19 (lowest)")
    add(
        "--threads-per-worker",
        metavar="N",
        help="threads that BLAS, OpenMP, MKL, numexpr and numba may use in each worker; 0: no limit (default for run: "
        "an equal share of the CPUs, unless OMP_NUM_THREADS or the like is set; for exec: no limit)",
    )


def failure_settings(args: argparse.Namespace) -> FailureSettings:
    """Return what the arguments mean.

    Raises:
        ConfigError: a value that can't be, or two that don't go together.
    """
    if args.dead_letter is not None and args.on_error == "raise":
        raise ConfigError("--dead-letter keeps skipped records, but --on-error raise skips none: give only one of them")
    if args.halt is not None and args.on_error == "raise":
        raise ConfigError("--on-error raise stops at the first failure, so --halt can't count: give only one of them")
    if args.retry_dead is not None and args.inputs:
        raise ConfigError(f"--retry-dead {args.retry_dead} is already the input; remove {args.inputs[0]}")
    if args.retry_dead is None and not args.inputs:
        raise ConfigError("the following arguments are required: INPUT (or --retry-dead FILE)")
    timeout_s = None if args.timeout is None else seconds("--timeout", args.timeout)
    if timeout_s == 0:
        raise ConfigError("--timeout 0 would let no record finish; omit it for no limit")
    return FailureSettings(
        on_error=args.on_error or ("raise" if args.dead_letter is None and args.halt is None else "skip"),
        retries=0 if args.retries is None else _retries(args.retries),
        retry_delay_s=seconds("--retry-delay", args.retry_delay),
        timeout_s=timeout_s,
        halt=NEVER if args.halt is None else parse_halt(args.halt),
        dead_letter=args.dead_letter,
        retry_dead=args.retry_dead,
    )


def limit_settings(args: argparse.Namespace) -> LimitSettings:
    """Return what the arguments mean.

    Raises:
        ConfigError: a value that can't be.
    """
    return LimitSettings(
        memory_bytes=None if args.mem_per_worker is None else parse_size(args.mem_per_worker),
        records=None if args.items_per_worker is None else whole("--items-per-worker", args.items_per_worker, 1, None),
        memfree_bytes=None if args.memfree is None else parse_size(args.memfree),
        nice=nice_of(args),
        threads=threads_of(args),
        finish=_finish_of(args),
    )


def threads_of(args: argparse.Namespace) -> int | None:
    """Parse --threads-per-worker.

    Raises:
        ConfigError: it is not a number.
    """
    given = args.threads_per_worker
    return None if given is None else whole("--threads-per-worker", given, 0, None)


def _finish_of(args: argparse.Namespace) -> str | None:
    if args.finish is not None:
        try:
            load.load(args.finish)
        except load.HandlerError as wrong:
            raise ConfigError(f"--finish: {wrong}") from None
    return args.finish  # type: ignore[no-any-return]


def nice_of(args: argparse.Namespace) -> int | None:
    """Parse --nice.

    Raises:
        ConfigError: it is not a number from 0 to 19.
    """
    return None if args.nice is None else whole("--nice", args.nice, 0, 19)


def describe_retries(retries: Retries) -> str:
    """Return retries as they are written on the command line."""
    if isinstance(retries, int):
        return str(retries)
    return ",".join(f"{kind.__name__}={times}" for kind, times in retries.items())


def _retries(text: str) -> Retries:
    if "=" not in text:
        return whole("--retries", text, 0, None)
    found: dict[Any, int] = {}
    for entry in text.split(","):
        name, _, times = entry.partition("=")
        try:
            found[exception_class(name.strip())] = whole("--retries", times.strip(), 0, None)
        except ConfigError as wrong:
            raise ConfigError(f"--retries {text}: {wrong}") from None
    return found
