"""What a test may not leave behind: processes, shared memory, temporary files, file descriptors, threads.

`Snapshot.take()` before, `leaks_since(before)` after. Dying takes a moment, so that a leak counts only when
it is still there at the deadline.

Only what belongs to this process counts: its descendants, its descriptors, what it has mapped, and the names in the
session's own folder for temporary files, which its descendants inherit. Other programs make names in `/dev/shm` and
`/tmp` too, so those folders as a whole tell nothing about a test.
"""

from __future__ import annotations

import gc
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from typing import Any, Final

import psutil

DEADLINE_S = 5.0
POLL_S = 0.01
SHARED_MEMORY: Final = "/dev/shm/"
LONGEST_FOLDER: Final = 70
"""Characters. Python 3.11 puts its fork server's socket there, whose whole path may have 107."""


@dataclass(frozen=True)
class Snapshot:
    """What this process holds at one moment."""

    processes: frozenset[int]
    shared_memory: frozenset[str]
    names: frozenset[str]
    files: frozenset[tuple[int, str]]
    threads: frozenset[threading.Thread]

    @classmethod
    def take(cls) -> Snapshot:
        return cls(_processes(), _shared_memory(), _names(), _files(), frozenset(threading.enumerate()))


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
    files = {file for file in after.files - before.files if file[0] not in _helper_files()}
    if _client_is_open():  # of a fixture's: its connections come and go
        files = {file for file in files if not file[1].startswith("socket:")}
    threads = {thread for thread in after.threads - before.threads if thread.is_alive()}
    return [
        *(f"process {_describe(pid)}" for pid in sorted(processes)),
        *(f"shared memory {path}" for path in sorted(after.shared_memory - before.shared_memory)),
        *(f"temporary file {name}" for name in sorted(after.names - before.names)),
        *(f"file descriptor {number} ({target})" for number, target in sorted(files)),
        *(f"thread {thread.name!r}" for thread in threads),
    ]


def _client_is_open() -> bool:
    """Whether this process has an open client of Dask."""
    client: Any = getattr(sys.modules.get("distributed"), "Client", None)
    return client is not None and any(each.status == "running" for each in list(client._instances))


def _processes() -> frozenset[int]:
    return frozenset(child.pid for child in psutil.Process().children(recursive=True))


def _fork_servers() -> list[Any]:
    """Python's own, and ours if it is loaded."""
    launch = sys.modules.get("orchestrator.local.transport.worker_process")
    return [forkserver._forkserver, *([launch._forkserver] if launch else [])]  # type: ignore[attr-defined]


def _helper_processes() -> set[int | None]:
    """The helpers that are started once and kept; by pid, as workers look just like them."""
    servers = {server._forkserver_pid for server in _fork_servers()}
    return servers | {resource_tracker._resource_tracker._pid}  # type: ignore[attr-defined]


def _helper_files() -> set[int | None]:
    alive = {server._forkserver_alive_fd for server in _fork_servers()}
    alive |= {getattr(server, "_socket_fd", None) for server in _fork_servers()}
    return alive | {resource_tracker._resource_tracker._fd}  # type: ignore[attr-defined]


def _shared_memory() -> frozenset[str]:
    """The named segments that this process has mapped."""
    lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    return frozenset(line.split(maxsplit=5)[5] for line in lines if SHARED_MEMORY in line)


def _names() -> frozenset[str]:
    """What lies in the folder for temporary files; not Python's folder for the sockets of its fork servers, nor Dask's."""
    kept = ("pymp-", "dask-scratch-space")
    return frozenset(entry.name for entry in Path(tempfile.gettempdir()).iterdir() if not entry.name.startswith(kept))


def _files() -> frozenset[tuple[int, str]]:
    found = set()
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            found.add((int(entry.name), str(entry.readlink())))
        except OSError:  # the listing's own descriptor
            continue
    return frozenset(found)


def _describe(pid: int) -> str:
    try:
        seen = psutil.Process(pid).as_dict(["status", "cmdline", "name"])  # None: what a zombie lacks
    except psutil.NoSuchProcess:
        return f"{pid} (gone by now)"
    return f"{pid} ({seen['status']}: {' '.join(seen['cmdline'] or [str(seen['name'])])[:80]})"


def own_temporary_folder(inside: Path) -> Path:
    """Make a folder of this session's own; in the system's if the path would be too long for a socket."""
    short = len(str(inside)) <= LONGEST_FOLDER
    folder = Path(tempfile.mkdtemp(prefix="" if short else "orchestrator-tests-", dir=inside if short else None))
    # Of multiprocessing, since it removes a folder in there itself, earlier; and not in processes that we fork.
    util.Finalize(None, shutil.rmtree, [folder], {"ignore_errors": True}, exitpriority=-200)
    return folder
