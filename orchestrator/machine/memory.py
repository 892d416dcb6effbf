"""Measures memory: of the machine, of this process's control groups, of one worker.

A container is a control group, whose limit the kernel holds by killing; what the machine has free says nothing there.
Both versions are read (`memory.max`, `memory.current`; `memory.limit_in_bytes`, `memory.usage_in_bytes`), of the group
and of all above it, since each holds its own limit. What a group has in files that the kernel would drop at once
(`inactive_file`) counts as free, as Kubernetes counts it.
"""

# ruff: noqa: PTH123
# Read several times a second: pathlib takes twice as long.

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator

from orchestrator.errors import ConfigError
from orchestrator.settings import Memory

_NO_LIMIT = 1 << 60
"""Version 1 writes the greatest number of pages that there is for "no limit"."""
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


class SystemMemory:
    """The machine's, cut by the control groups that this process is in."""

    def __init__(self, proc: str = "/proc", groups: str = "/sys/fs/cgroup") -> None:
        self._proc = proc
        self._groups = list(_own_groups(proc, groups))

    def total_bytes(self) -> int:
        """Return the machine's memory, or the lowest limit, if that is less."""
        limits = [limit for folder, names in self._groups if (limit := _number(folder, names[0])) is not None]
        return min([self._machine("MemTotal"), *limits])

    def available_bytes(self) -> int:
        """Return the available memory of the machine, or of the tightest group, if that is less."""
        left = [self._machine("MemAvailable")]
        for folder, (limit_name, used_name, dropped) in self._groups:
            limit, used = _number(folder, limit_name), _number(folder, used_name)
            if limit is not None and used is not None:
                left.append(limit - used + (_field(f"{folder}/memory.stat", dropped) or 0))
        return max(0, min(left))

    def _machine(self, name: str) -> int:
        kilobytes = _field(f"{self._proc}/meminfo", f"{name}:")
        return _NO_LIMIT if kilobytes is None else kilobytes * 1024


def own_bytes(pid: int) -> int:
    """Return the unshared resident memory of a process, or 0 if it is gone.

    Without shared memory, since an array that all workers see is there once; and without files, which can be dropped.
    """
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            _, resident, shared = map(int, file.read().split()[:3])
    except FileNotFoundError:
        return 0 if os.path.isdir("/proc/self") else _rss_bytes(pid)  # noqa: PTH112
    except (OSError, ValueError):
        return 0
    return (resident - shared) * _PAGE_BYTES


_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def _rss_bytes(pid: int) -> int:
    import psutil  # noqa: PLC0415 - where there is no /proc

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _own_groups(proc: str, root: str) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Yield the folders of the groups that hold this process's memory, and their files' names."""
    for line in _text(f"{proc}/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            tops, names = [root, f"{root}/unified"], _V2
        elif "memory" in controllers.split(","):
            tops, names = [f"{root}/memory"], _V1
        else:
            continue
        for top in tops:
            for folder in _upward(path):
                if os.path.exists(f"{top}{folder}/{names[1]}"):  # noqa: PTH110
                    yield f"{top}{folder}", names


def _upward(path: str) -> Iterator[str]:
    """Yield a group's path and those above it, the root as "".

    In a container only the root may be there.
    """
    path = path.rstrip("/")
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""


def _number(folder: str, name: str) -> int | None:
    text = _text(f"{folder}/{name}").strip()
    return int(text) if text.isdecimal() and int(text) < _NO_LIMIT else None


def _field(path: str, name: str) -> int | None:
    for line in _text(path).splitlines():
        words = line.split()
        if words[0] == name:
            return int(words[1])
    return None


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _mib(size: int) -> str:
    """Return a size that a user wrote, in MiB.

    A size that no machine has is cut.
    """
    return f"{size / 2**20:,.0f} MiB" if size < 2**80 else "more than 2**60 MiB"


def within_reach(limit: int, memory: Memory | None) -> int:
    """Return a memory limit of a worker that it reaches before the kernel kills it."""
    total = (memory or SystemMemory()).total_bytes()
    if limit <= total:
        return limit
    lowered = total * 9 // 10
    warnings.warn(
        f"memory_limit is {_mib(limit)}, but this process may use only {total / 2**20:,.0f} MiB in all (the "
        f"machine's memory, or its control group's limit); the limit is lowered to {lowered / 2**20:,.0f} MiB",
        stacklevel=3,
    )
    return lowered


def refuse_unreachable(memfree: int, memory: Memory | None) -> int:
    """Return the memory to keep free, if there is so much in all.

    Raises:
        ConfigError: there is not so much in all.
    """
    total = (memory or SystemMemory()).total_bytes()
    if memfree >= total:
        raise ConfigError(
            f"memfree is {_mib(memfree)}, but there are only {total / 2**20:,.0f} MiB in all (the machine's "
            "memory, or its control group's limit); give a smaller size"
        )
    return memfree
