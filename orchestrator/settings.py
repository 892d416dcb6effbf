"""The settings of pools and maps: read from what the user wrote, and validated once."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from orchestrator.errors import ConfigError, WorkerDiedError
from orchestrator.option_values import flag, one_of, seconds, text_of_number, whole
from workers.errors.describe import class_names, describe
from workers.errors.nearest import did_you_mean
from workers.resources.pace import is_rate

StartMethod = Literal["forkserver", "spawn", "fork"]
OnError = Literal["raise", "skip", "return"]
Retries = int | Mapping[type[BaseException], int]
"""How often a failed item is retried; or that by class of exception, of which the nearest decides."""

START_METHODS = ("forkserver", "spawn", "fork")
ON_ERROR = ("raise", "skip", "return")
CPU_QUOTA_FILE = "/sys/fs/cgroup/cpu.max"
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_size(text: str | int) -> int:
    """Return the bytes that "64K", "1.5M", "2G" or a plain number mean (powers of 1024)."""
    words = text_of_number(text) or ""
    if words.startswith("-") and not isinstance(text, str):
        words = "0"
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", words, re.IGNORECASE)
    if not found:
        raise ConfigError(f"invalid size: {describe(text)}; use 65536, 64K, 1.5M or 2G")
    units, _, decimals = found[1].partition(".")
    size: int = int(units + decimals) * _UNITS[found[2].upper()] // 10 ** len(decimals)
    if size <= 0:
        raise ConfigError(f"a size must be more than 0 bytes, not {describe(text)}")
    return size


def parse_limit(text: str | int) -> int:
    """Return the bytes that a size means, or 0 (no limit) for "0"."""
    return 0 if (text_of_number(text) or "").strip() == "0" else parse_size(text)


def cgroup_cpus() -> float | None:
    """Return the CPU quota of this process's cgroup in CPUs, None without one."""
    try:
        with open(CPU_QUOTA_FILE) as file:  # noqa: PTH123 - pathlib takes long to import
            quota, period = file.read().split()[:2]
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def usable_cpus() -> int:
    """Return how many CPUs this process may use, at least 1.

    That is its affinity mask, cut by the cgroup's quota.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cpus()
    return max(1, min(cpus, round(quota)) if quota else cpus)


def parse_jobs(text: str | int) -> int:
    """Return the workers that N, N%, +N or -N mean, counted from the usable CPUs as GNU parallel does."""
    found = re.fullmatch(r"([+-]?)(\d{1,100})(%?)", (text_of_number(text) or "").strip())
    if not found or (found[1] and found[3]):
        raise ConfigError(f"invalid number of jobs: -j {describe(text)}; use 4, 50%, +1 or -1")
    sign, number, percent = found[1], int(found[2]), found[3]
    if percent:
        return max(1, usable_cpus() * number // 100)
    if sign:
        return max(1, usable_cpus() + (number if sign == "+" else -number))
    if number == 0:
        raise ConfigError("-j 0: at least one job is needed")
    return number


BUFFER_BYTES = 256 * 2**20
"""The byte budget of a pool, and of a graph that needs none, unless somebody says otherwise."""


MAX_WORKERS = 1 << 16
"""More than any machine runs: merely counting more could take forever."""
_MOST_SEED = 2**128 - 1
"""What `secrets.randbits(128)` gives, as numpy advises."""


class Memory(Protocol):
    """Tells how much memory there is."""

    def total_bytes(self) -> int:
        """Return the memory that this process and its workers may use in all."""

    def available_bytes(self) -> int:
        """Return the memory that can be used now without swapping or being killed."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """The checked settings of a pool."""

    workers: int
    start_method: StartMethod
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    buffer_bytes: int
    max_deaths: int
    memory_limit: int | None = None
    """Bytes that a worker may hold."""
    items_per_worker: int | None = None
    """A worker that has done so many is replaced."""
    memfree: int | None = None
    """Bytes that are to be free on the machine before anything is sent; at half of them the youngest work is ended."""
    memory: Memory | None = None
    """The source of figures of free memory; None: the machine and the control groups."""
    seed: int | None = None
    """The seed of random numbers in the workers; None: they differ in each worker."""
    finalizer: Callable[[], object] | None = None
    """Called in each worker when it exits gracefully."""
    threads_per_worker: int | None = None
    """For BLAS, OpenMP and the like; 0: as many as they please, None: a fair share of the CPUs."""
    env: Mapping[str, str | None] | None = None
    """Variables that the workers' environment has otherwise than this process's; None: to be unset."""

    def __post_init__(self) -> None:
        whole("workers", self.workers, 1, MAX_WORKERS)
        one_of("start_method", self.start_method, START_METHODS)
        if self.initializer is not None and not callable(self.initializer):
            raise ConfigError(f"initializer must be callable, not {describe(self.initializer)}")
        whole("max_deaths", self.max_deaths, 1)
        whole("items_per_worker", self.items_per_worker, 1, none=True)
        if self.finalizer is not None and not callable(self.finalizer):
            raise ConfigError(f"finalizer must be callable, not {describe(self.finalizer)}")
        whole("seed", self.seed, 0, _MOST_SEED, none=True)
        whole("threads_per_worker", self.threads_per_worker, 0, MAX_WORKERS, none=True)
        if self.memory is not None:
            for method in ("total_bytes", "available_bytes"):
                if not callable(getattr(self.memory, method, None)):
                    raise ConfigError(f"memory must have {method}(), or be None; not {describe(self.memory)}")


def _check_retries(retries: Retries) -> None:
    if isinstance(retries, Mapping):
        for kind in retries:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise ConfigError(f"the keys of retries must be exception classes, not {describe(kind)}")
            if issubclass(kind, WorkerDiedError):
                raise ConfigError("retries don't apply to worker deaths; use Pool(max_deaths=...)")
    for times in retries.values() if isinstance(retries, Mapping) else (retries,):
        if isinstance(times, bool) or not isinstance(times, int) or times < 0:
            raise ConfigError(
                "retries must be a whole number of at least 0, or a dict of such numbers by exception class, not "
                f"{describe(times)}"
            )


def exception_class(name: str, folder: str | None = None) -> type[BaseException]:
    """Return the class that a name in a job file or on the command line means.

    Args:
        name: of a built-in exception or one of ours, or "module:Class", "path/file.py:Class".
        folder: where modules and relative paths are looked for; the current directory by default.

    Raises:
        ConfigError: there is none of that name.
    """
    import builtins  # noqa: PLC0415 - these only for names

    from orchestrator import errors  # noqa: PLC0415
    from workers.pickling import load  # noqa: PLC0415

    try:
        found = load.load(name, folder) if ":" in name else getattr(errors, name, getattr(builtins, name, None))
    except load.HandlerError as wrong:
        raise ConfigError(str(wrong)) from None
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    known = [each for each in dir(builtins) if each.endswith(("Error", "Exception"))]
    hint = did_you_mean(name, known) or "; write a built-in's name, or 'module:Class'"
    raise ConfigError(f"there is no exception {describe(name)}{hint}")


def retries_by_name(retries: Retries) -> int | dict[str, int]:
    """Return the retries with the full names of the classes, by which failures in workers are known."""
    if isinstance(retries, Mapping):
        return {class_names(kind)[0]: times for kind, times in retries.items()}
    return retries


@dataclass(frozen=True, slots=True)
class MapOptions:
    """The checked options of one `map`."""

    ordered: bool = True
    chunk: int | Literal["auto"] = "auto"
    retries: Retries = 0
    retry_delay_s: float = 0.0
    on_error: OnError = "raise"
    timeout_s: float | None = None
    """How long an item may take."""
    dead_letters: Any = None
    """The sink of items that are given up: a path, a function, or an object with `write(letter)` and `close()`."""
    look_ahead: bool = True
    """Whether a worker may hold chunks that it has not begun; without, those can still be called off."""
    ahead: bool = False
    """Whether chunks may be encoded before a lane takes them: then they are sent though the consumer is away."""
    prompt: bool = False
    """Whether a worker gives back each result at once, rather than several short ones together."""
    at_most_once: bool = False
    """Whether no item is begun a second time, whatever becomes of its worker."""
    drop_none: bool = False
    """Whether results that are None are left out; of a plain function, as steps know it themselves."""
    rate: Any = None
    """How many calls a second there may be, or a `RateLimit`; whoever has the function sees to it."""

    def __post_init__(self) -> None:
        if not (isinstance(self.chunk, str) and self.chunk == "auto"):
            whole("chunk", self.chunk, 1, otherwise='"auto"')
        one_of("on_error", self.on_error, ON_ERROR)
        for name in ("ordered", "at_most_once", "drop_none"):
            flag(name, getattr(self, name))
        if self.timeout_s is not None:
            object.__setattr__(self, "timeout_s", seconds("timeout", self.timeout_s))
        object.__setattr__(self, "retry_delay_s", seconds("retry_delay", self.retry_delay_s, zero=True))
        _check_retries(self.retries)
        if self.rate is not None and not hasattr(self.rate, "acquire") and not is_rate(self.rate):
            raise ConfigError(
                f"rate must be a number of calls a second, greater than 0, or a RateLimit, not {describe(self.rate)}"
            )
        if self.at_most_once and self.retries:
            raise ConfigError("at_most_once=True excludes retries: a retry runs an item again")


MAP_OPTIONS = {
    "ordered": "ordered",
    "chunk": "chunk",
    "retries": "retries",
    "retry_delay": "retry_delay_s",
    "on_error": "on_error",
    "timeout": "timeout_s",
    "dead_letters": "dead_letters",
    "at_most_once": "at_most_once",
    "drop_none": "drop_none",
    "rate": "rate",
}
"""The names of options in `Pool.map`, and in `MapOptions`."""


def map_options(given: dict[str, Any]) -> MapOptions:
    """Return the options of a map in a stream, by the names that `Pool.map` has for them.

    Raises:
        ConfigError: there is no such option, or its value can't be.
    """
    for name in given:
        if name not in MAP_OPTIONS:
            hint = did_you_mean(name, MAP_OPTIONS) or f"; there are {', '.join(MAP_OPTIONS)}"
            raise ConfigError(f"map has no option {describe(name)}{hint}")
    return MapOptions(ahead=True, **{MAP_OPTIONS[name]: value for name, value in given.items()})


WATCHDOG = "orchestrator-watchdog"
"""The name of the threads that enforce deadlines; they hold no lock which a forked worker uses."""


def refuse_fork_with_threads() -> None:
    """Refuse to fork while other threads run.

    A lock that one of them holds stays locked in the child.

    Raises:
        ConfigError: unless ORCHESTRATOR_FORCE_FORK=1 is set.
    """
    others = [t.name for t in threading.enumerate() if t is not threading.current_thread() and t.name != WATCHDOG]
    if others and os.environ.get("ORCHESTRATOR_FORCE_FORK") != "1":
        raise ConfigError(
            f'start_method="fork" while other threads run ({", ".join(others[:3])}) can hang the workers: a lock '
            "held by a thread at that moment stays locked in the child forever. Make the pool before the threads, "
            'use start_method="forkserver", or set ORCHESTRATOR_FORCE_FORK=1 to fork anyway'
        )
