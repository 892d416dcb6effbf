"""A cluster of Dask on loopback: a real scheduler and real worker processes, which tests may kill."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

DEADLINE_S = 60
_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_QUIET = {"DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "false", "DASK_LOGGING__DISTRIBUTED": "error"}


class DaskCluster:
    """Processes of Dask, all of them children of this one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[subprocess.Popen[bytes]] = []
        self.address = ""
        self.worker: Any = None
        self.nanny: Any = None
        self.scheduler = self.start_scheduler()

    def start_scheduler(self, port: int = 0) -> subprocess.Popen[bytes]:
        told = self._folder / f"scheduler-{len(self._children)}.json"
        options = ["--port", str(port), "--no-dashboard", "--dashboard-address", ":0", "--scheduler-file", str(told)]
        child = self._start("dask_scheduler", "--host", "127.0.0.1", *options)
        _wait(lambda: told.exists() and told.read_text().endswith("}"))
        self.address = json.loads(told.read_text())["address"].removeprefix("tcp://")
        return child

    @property
    def engine(self) -> str:
        return f"dask://{self.address}"

    def add_worker(self, *, nanny: bool = False, threads: int = 1) -> subprocess.Popen[bytes]:
        options = ["--nthreads", str(threads), "--no-dashboard", "--local-directory", str(self._folder)]
        return self._start("dask_worker", f"tcp://{self.address}", *options, *([] if nanny else ["--no-nanny"]))

    def wait_for(self, slots: int) -> None:
        from distributed import Client

        with Client(f"tcp://{self.address}", set_as_default=False) as client:
            _wait(lambda: sum(client.nthreads().values()) == slots)

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments]
        environment = {**os.environ, **_QUIET}
        child = subprocess.Popen(
            command,
            env=environment,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - one call of the system, which takes no lock
        )
        self._children.append(child)
        return child

    def close(self) -> None:
        found = [each for child in self._children for each in _tree(child.pid)]
        for each in found:
            if not _tracks_resources(each):  # it ends by itself, and unlinks the semaphores of the others
                each.kill()
        for child in self._children:
            child.wait()
        psutil.wait_procs(found, timeout=DEADLINE_S)


def _tracks_resources(process: psutil.Process) -> bool:
    try:
        return any("resource_tracker" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def _end_with_parent() -> None:
    """Have the kernel end this process with the tests, however they end. Runs in the child."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _wait(is_there) -> None:
    ends = time.monotonic() + DEADLINE_S
    while not is_there():
        assert time.monotonic() < ends, "the cluster of Dask does not come up"
        time.sleep(0.02)


@contextmanager
def dask_cluster() -> Iterator[DaskCluster]:
    """A scheduler without workers."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = DaskCluster(Path(folder))
        try:
            yield cluster
        finally:
            cluster.close()
