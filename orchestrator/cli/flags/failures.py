"""The flags that say what becomes of records that fail, and the limits that workers have."""

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
    """What becomes of records that fail."""

    on_error: str
    retries: Retries
    retry_delay_s: float
    timeout_s: float | None
    halt: Halt
    dead_letter: str | None
    """The file for records that are given up on."""
    retry_dead: str | None
    """The file of an earlier run's, which are the input of this one."""

    def told(self) -> str:
        """Return the settings in words, but for those that say nothing."""
        found = [self.on_error]
        if self.retries:
            found.append(f"retries {retries_told(self.retries)}, {self.retry_delay_s:g} s apart at first")
        if self.timeout_s is not None:
            found.append(f"at most {self.timeout_s:g} s a record")
        if self.halt.when != "never":
            found.append(f"halt {self.halt}")
        if self.dead_letter is not None:
            found.append(f"dead letters to {self.dead_letter}")
        return ", ".join(found)


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What a worker may use."""

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

    def told(self) -> str:
        """Return the limits in words."""
        found = [] if self.memory_bytes is None else [f"{self.memory_bytes / 2**20:,.0f} MiB"]
        found += [] if self.records is None else [f"about {self.records:,} records"]
        if self.memfree_bytes is not None:
            found.append(f"{self.memfree_bytes / 2**20:,.0f} MiB to be free")
        found += [] if self.nice is None else [f"nice {self.nice}"]
        found += [] if self.threads is None else [f"{self.threads} threads a worker"]
        found += [] if self.finish is None else [f"{self.finish} at the end of each worker"]
        return ", ".join(found) or "none"


def add_failing(parser: argparse.ArgumentParser) -> None:
    """Add the flags of both."""
    add = parser.add_argument_group("failures").add_argument
    add(
        "--on-error",
        choices=("raise", "skip"),
        help="a record for which the function fails, that takes too long or that kills its workers: stop (raise, the "
        "default), or leave it out, go on, and list it at the end (skip, the default with --dead-letter and --halt)",
    )
    add(
        "--halt",
        metavar="WHEN",
        help="leave out records that fail, but not for ever: soon,fail=3 reads nothing more when 3 have failed, and "
        "finishes what is read, so the output is that of a part of the input; now,fail=3 stops at once, and -o FILE is "
        "not written; also fail=N%% (of the records so far, from 3 on), success=…, done=…, never. Looked at after each "
        "block",
    )
    add(
        "--retries",
        metavar="N",
        help="try a record again that failed, N times; or by class of exception: ConnectionError=5,TimeoutError=2 "
        "(mymodule:MyError=1); too long for --timeout is a TimeoutError",
    )
    add(
        "--retry-delay",
        metavar="S",
        default="0",
        help="seconds before the first of these, doubled for each further one, with jitter; meanwhile others run",
    )
    add(
        "--timeout",
        metavar="S",
        help="seconds that a record may take: then its worker is killed, with what it had started, and replaced; the "
        "others of its block run again, so with slow records make blocks small: --chunk 10",
    )
    add(
        "--dead-letter",
        metavar="FILE",
        help="write every record that is left out there, as JSON lines: path, bytes, line, the record if it is small, "
        "error, traceback, attempts",
    )
    add(
        "--retry-dead",
        metavar="FILE",
        help="instead of INPUT: run the records that an earlier run left out, in the --format that they had then; what "
        "fails again goes to another --dead-letter FILE. FILE is read as data; a pickle in it is refused",
    )
    limits = parser.add_argument_group("limits").add_argument
    limits(
        "--mem-per-worker",
        metavar="SIZE",
        help="replace a worker that holds more memory (500M, 2G) when it has finished its block; one that is a quarter "
        "above it at once, and the record counts as its killer",
    )
    limits(
        "--items-per-worker",
        metavar="N",
        help="replace a worker after about N records: whole blocks, whose records are estimated from the first 64 KiB; "
        "with --format files exactly N",
    )
    limits(
        "--finish",
        metavar="TARGET",
        help="module:function or path/file.py:function, called without arguments in each worker that leaves in "
        "order, to close what it holds",
    )
    add_sparing(limits)


def add_sparing(add: Callable[..., object]) -> None:
    """Add the flags that spare the machine, by the `add_argument` of a group."""
    add(
        "--memfree",
        metavar="SIZE",
        help="begin nothing more while less memory than that is free (in the machine, or in this control group); at "
        "half of it what was begun last is ended, and runs again later; one worker always works on",
    )
    add("--nice", metavar="N", help="give the workers less of the CPU: 1 to 19, the lowest priority")
    add(
        "--threads-per-worker",
        metavar="N",
        help="threads that BLAS, OpenMP, MKL, numexpr and numba may use in a worker; 0: no limit (default: run, its "
        "share of the CPUs, where OMP_NUM_THREADS and the like say nothing else; exec, no limit)",
    )


def failure_settings(args: argparse.Namespace) -> FailureSettings:
    """Return what the arguments mean.

    Raises:
        ConfigError: a value that can't be, or two that don't go together.
    """
    if args.dead_letter is not None and args.on_error == "raise":
        raise ConfigError("--dead-letter keeps the records that are left out, and --on-error raise leaves out none")
    if args.halt is not None and args.on_error == "raise":
        raise ConfigError("--on-error raise stops at the first failure, and --halt counts failures: give one of them")
    if args.retry_dead is not None and args.inputs:
        raise ConfigError(f"--retry-dead {args.retry_dead} is the input; leave out {args.inputs[0]}")
    if args.retry_dead is None and not args.inputs:
        raise ConfigError("the following arguments are required: INPUT (or --retry-dead FILE)")
    timeout_s = None if args.timeout is None else seconds("--timeout", args.timeout)
    if timeout_s == 0:
        raise ConfigError("--timeout 0 would let no record finish; leave it out for no limit")
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
    """Return what --threads-per-worker means.

    Raises:
        ConfigError: it is no number.
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
    """Return what --nice means.

    Raises:
        ConfigError: nothing.
    """
    return None if args.nice is None else whole("--nice", args.nice, 0, 19)


def retries_told(retries: Retries) -> str:
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
