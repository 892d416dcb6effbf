"""What a test may not leave behind: processes, shared memory, file descriptors, threads.

`Snapshot.take()` before, `leaks_since(before)` after. Dying takes a moment, so that a leak counts only when
it is still there at the deadline.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

import psutil

DEADLINE_S = 5.0
POLL_S = 0.01
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Snapshot:
    """What this process holds at one moment."""

    processes: frozenset[int]
    shared_memory: frozenset[str]
    files: frozenset[tuple[int, str]]
    threads: frozenset[threading.Thread]

    @classmethod
    def take(cls) -> Snapshot:
        return cls(_processes(), _shared_memory(), _files(), frozenset(threading.enumerate()))


def leaks_since(before: Snapshot, deadline_s: float = DEADLINE_S) -> list[str]:
    """Wait until nothing is left, at most until the deadline; then tell what is."""
    end = time.monotonic() + deadline_s
    collected = False
    while found := _leaks(before, Snapshot.take()):
        if not collected:
            gc.collect()  # garbage that holds a descriptor is no leak; collected only now because it is slow
            collected = True
        if time.monotonic() > end:
            break
        time.sleep(POLL_S)
    return found


def _leaks(before: Snapshot, after: Snapshot) -> list[str]:
    processes = after.processes - before.processes - _helper_processes()
    shared = {name for name in after.shared_memory - before.shared_memory if not _held_elsewhere(name)}
    files = {file for file in after.files - before.files if file[0] not in _helper_files()}
    threads = {thread for thread in after.threads - before.threads if thread.is_alive()}
    return [
        *(f"process {_describe(pid)}" for pid in sorted(processes)),
        *(f"{SHARED_MEMORY}/{name}" for name in sorted(shared)),
        *(f"file descriptor {number} ({target})" for number, target in sorted(files)),
        *(f"thread {thread.name!r}" for thread in threads),
    ]


def _processes() -> frozenset[int]:
    return frozenset(child.pid for child in psutil.Process().children(recursive=True))


def _fork_servers() -> list[Any]:
    """Python's own, and ours if it is loaded."""
    launch = sys.modules.get("orchestrator.launch")
    return [forkserver._forkserver, *([launch._forkserver] if launch else [])]  # type: ignore[attr-defined]


def _helper_processes() -> set[int | None]:
    """The helpers that are started once and kept; by pid, as workers look just like them."""
    servers = {server._forkserver_pid for server in _fork_servers()}
    return servers | {resource_tracker._resource_tracker._pid}  # type: ignore[attr-defined]


def _helper_files() -> set[int | None]:
    alive = {server._forkserver_alive_fd for server in _fork_servers()}
    return alive | {resource_tracker._resource_tracker._fd}  # type: ignore[attr-defined]


def _shared_memory() -> frozenset[str]:
    return frozenset(entry.name for entry in SHARED_MEMORY.iterdir())


def _files() -> frozenset[tuple[int, str]]:
    found = set()
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            found.add((int(entry.name), str(entry.readlink())))
        except OSError:  # the listing's own descriptor
            continue
    return frozenset(found)


def _held_elsewhere(name: str) -> bool:
    """Whether another program, or a test that runs beside this one, has the segment: then it is not ours."""
    path = SHARED_MEMORY / name
    ours = {os.getpid(), *_processes()}
    for process in psutil.process_iter(["pid"]):
        if process.pid in ours:
            continue
        try:
            if str(path) in Path(f"/proc/{process.pid}/maps").read_text(errors="replace"):
                return True
        except OSError:
            continue
    return not path.exists()


def _describe(pid: int) -> str:
    try:
        seen = psutil.Process(pid).as_dict(["status", "cmdline", "name"])  # None: what a zombie lacks
    except psutil.NoSuchProcess:
        return f"{pid} (gone by now)"
    return f"{pid} ({seen['status']}: {' '.join(seen['cmdline'] or [str(seen['name'])])[:80]})"
