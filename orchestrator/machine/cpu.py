"""Measures the CPUs that are left for us, by psutil and the cgroup.

Imported only where it is needed.

Owner of the state: whoever looks.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from time import monotonic

import psutil

from orchestrator.settings import cgroup_cpus

_CGROUP = "/sys/fs/cgroup"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class CpuWatch:
    """Measures the idle CPUs, of those that this process may use, between two looks."""

    def __init__(self) -> None:
        self._at = monotonic()
        self._idle = _idle_s()
        self._used = _cgroup_used_s()
        self._groups: tuple[float, float] | None = None  # when they were looked at, and what they had used

    def poll(self) -> tuple[float, float]:
        """Return the idle CPUs since the last look, and those that there are to be used."""
        now, idle, used = monotonic(), _idle_s(), _cgroup_used_s()
        passed = max(now - self._at, 1e-3)
        cpus = float(len(os.sched_getaffinity(0)))
        left = min(max(idle - self._idle, 0.0) / passed, cpus)
        quota = cgroup_cpus()
        if quota is not None and used is not None and self._used is not None:
            cpus = min(cpus, quota)
            left = min(left, max(0.0, quota - (used - self._used) / passed))
        self._at, self._idle, self._used = now, idle, used
        return left, cpus

    def look_at_groups(self, groups: Collection[int]) -> float | None:
        """Return the CPUs that process groups used since the last look, or None at the first.

        All of /proc is read for it, some 10 µs a process, so it is asked for only where CPUs are scarce.
        """
        now, used = monotonic(), _group_used_s(groups)
        before, self._groups = self._groups, (now, used)
        if before is None:
            return None
        return max(0.0, used - before[1]) / max(now - before[0], 1e-3)

    def forget_groups(self) -> None:
        """Forget the last look, so that the next is the first."""
        self._groups = None


def _idle_s() -> float:
    """Return the idle seconds so far of the usable CPUs, with those spent waiting for disks."""
    usable = os.sched_getaffinity(0)
    return sum(each.idle + getattr(each, "iowait", 0.0) for n, each in enumerate(psutil.cpu_times(True)) if n in usable)


def _group_used_s(groups: Collection[int]) -> float:
    """Return the CPU seconds of all processes of these groups, and of their children that have ended."""
    ticks = 0
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are wanted
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - pathlib takes twice as long
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:  # it has ended
                continue
            if int(fields[2]) in groups:
                ticks += sum(map(int, fields[11:15]))
    return ticks * _TICK_S


def _cgroup_used_s() -> float | None:
    """Return the CPU seconds of all processes of this control group."""
    try:
        with open(f"{_CGROUP}/cpu.stat") as file:  # noqa: PTH123
            found = [line.split()[1] for line in file if line.startswith("usage_usec ")]
    except OSError:
        return None
    return int(found[0]) / 1e6 if found else None
