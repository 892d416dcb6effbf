"""Kills worker processes with all that their functions have started, in sessions of their own too.

A worker leads a process group, which a signal reaches as a whole; children that left it (`start_new_session`, `setsid`)
are found by their parents, while these still live. So this works only for workers that we end: of one that died by
itself nobody knows any more what it had started outside its group. Nor of a child whose own parent has ended.

Runs in the coordinator process; owns no state.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Collection


def end_with_children(pids: Collection[int]) -> None:
    """Kill the groups of these workers, and every process that descends from one of them."""
    if not pids:
        return
    for pid in pids:
        _signal(os.killpg, pid, signal.SIGSTOP)  # so that none of them starts another meanwhile
    children = descendants(pids)
    for pid in pids:
        end_group(pid)
        _signal(os.kill, pid, signal.SIGKILL)  # it may not lead its group yet
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == pid:
                end_group(pid)
        _signal(os.kill, pid, signal.SIGKILL)


def end_group(pid: int) -> None:
    """Kill the process group that a worker leads, or led."""
    _signal(os.killpg, pid, signal.SIGKILL)


def descendants(pids: Collection[int]) -> list[int]:
    """Return all descendants of these processes, or none where there is no /proc."""
    children_of = _children_of if _KERNEL_LISTS_CHILDREN else _scan_processes()
    found: list[int] = []
    waiting = list(pids)
    while waiting:
        new = children_of(waiting.pop())
        found += new
        waiting += new
    return found


_KERNEL_LISTS_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # noqa: PTH110 - loaded in 2 us
"""Linux with CONFIG_PROC_CHILDREN: then the cost depends on the children, not on all processes of the machine."""


def _children_of(pid: int) -> list[int]:
    """Return the children that each thread of a process has started."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names are wanted
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    return found


def _scan_processes() -> Callable[[int], list[int]]:
    """Read the parent of every process, and return a function that gives the children of one."""
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):  # noqa: PTH208
            if name.isdecimal():
                with contextlib.suppress(OSError):  # it has ended
                    children.setdefault(_parent(name), []).append(int(name))
    return lambda pid: children.pop(pid, [])


def _parent(pid: str) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib takes twice as long
        return int(file.read().rpartition(b")")[2].split()[1])  # the name before it may hold anything


def _signal(send: Callable[[int, int], None], pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        send(pid, number)
