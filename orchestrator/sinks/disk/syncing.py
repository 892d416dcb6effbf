"""Syncs many files at once, so that they share the disk's flushes, which take milliseconds each.

Runs in the coordinator; the threads that it uses are gone when it returns.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from orchestrator.sinks.disk.descriptors import descriptor_pool

_FEW = 16
"""Up to so many files are as quick one after the other."""
_THREADS = 32
_of_thread = threading.local()


class _Synced(Protocol):
    def sync_ahead(self) -> object: ...


def sync_ahead(sinks: Collection[_Synced]) -> None:
    """Sync sinks side by side, so that they need not do it one by one."""
    if len(sinks) <= _FEW:
        return
    descriptor_pool().rest_all()
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only for many files

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="orchestrator-sync") as threads:
        for sink in sinks:
            threads.submit(sink.sync_ahead)


@contextmanager
def folders_synced_once() -> Iterator[None]:
    """Sync each folder once at the end, not once for each file that gets its name there meanwhile."""
    folders: set[str] = set()
    _of_thread.folders = folders
    try:
        yield
    finally:
        _of_thread.folders = None
        for folder in folders:
            sync_folder(folder)


def sync_folder(folder: str) -> None:
    """Make new names in a folder durable.

    Some file systems can't. Then the files' own syncs have to suffice.
    """
    waiting: set[str] | None = getattr(_of_thread, "folders", None)
    if waiting is not None:
        waiting.add(folder)
        return
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def sync_by_name(path: str, identity: os.stat_result) -> bool:
    """Sync a file that need not be open, and return whether that succeeded.

    It fails for another file of that name, too.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.fsync(fd)
        return os.path.samestat(os.fstat(fd), identity)
    except OSError:
        return False
    finally:
        os.close(fd)
