"""A fork server whose socket has a name only while it is made, so that SIGKILL of everything leaves nothing behind.

`multiprocessing` keeps the socket in a folder of the temporary folder, and removes both at exit, which a kill prevents.
An abstract socket would need no name, but no permissions either: every user of the machine could have the server run
code (CVE-2022-42919). So we keep the file that was bound open, remove its name, and connect through the descriptor.

Owner of the state: the coordinator process.
"""

from __future__ import annotations

import multiprocessing.forkserver
import multiprocessing.util
import os
import shutil
import signal
import tempfile
from contextlib import contextmanager, suppress
from multiprocessing import process, resource_tracker
from multiprocessing.forkserver import ForkServer
from types import FunctionType
from typing import TYPE_CHECKING, Any

from orchestrator import place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_util: Any = multiprocessing.util  # its typed stub leaves out what is used here
_BY_DESCRIPTOR = "/proc/self/fd/"


class _Commands:
    """Replaces `multiprocessing.util` where a server is started, to load our packages by their place."""

    @staticmethod
    def spawnv_passfds(path: Any, arguments: list[str], fds: Any) -> int:
        """Start a process."""
        return int(_util.spawnv_passfds(path, place.by_place(arguments), fds))

    def __getattr__(self, name: str) -> Any:
        return getattr(_util, name)


class _PlacedForkServer(ForkServer):
    """The standard library's fork server, with another command line.

    Its method that builds that is given other globals.
    """

    ensure_running: Any = FunctionType(
        ForkServer.ensure_running.__code__, {**vars(multiprocessing.forkserver), "util": _Commands()}
    )


class NamelessForkServer(_PlacedForkServer):
    """A `ForkServer` without a file in the temporary folder, where the system has `O_PATH` and /proc."""

    _forkserver_address: str | None
    _forkserver_pid: int | None

    def __init__(self, own: Callable[[int], object]) -> None:
        """Start without a server.

        `own` is told about a descriptor that a forked child must not use.
        """
        super().__init__()
        self._own = own
        self._socket_fd = -1

    def ensure_running(self) -> None:
        """Start the server if it does not run, and take away the name of its socket."""
        if self._runs():
            return
        if not hasattr(os, "O_PATH") or not os.path.isdir(_BY_DESCRIPTOR):  # noqa: PTH112
            super().ensure_running()
            return
        folder = tempfile.mkdtemp(prefix="orchestrator-")
        try:
            self._start_in(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _start_in(self, folder: str) -> None:
        """Start the server, its socket in this folder.

        The folder is given by a descriptor, as a socket's name has to be short.
        """
        config: dict[str, Any] = process.current_process()._config  # type: ignore[attr-defined]  # noqa: SLF001
        others = config.get("tempdir")
        folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        config["tempdir"] = f"{_BY_DESCRIPTOR}{folder_fd}"
        try:
            with _sigint_blocked():
                super().ensure_running()
            assert self._forkserver_address is not None  # noqa: S101 - for the type checker
            self._take_socket(os.open(self._forkserver_address, os.O_PATH | os.O_CLOEXEC))
        finally:
            config["tempdir"] = others
            os.close(folder_fd)

    def _runs(self) -> bool:
        """Tell whether the server runs, without reaping one that has ended, which the base class does."""
        pid = self._forkserver_pid
        if pid is None:
            return False
        with suppress(OSError):
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        return False

    def _take_socket(self, fd: int) -> None:
        """Use this socket from now on, instead of that of a server that has ended."""
        if self._socket_fd >= 0:
            os.dup2(fd, self._socket_fd, inheritable=False)
            os.close(fd)
        else:
            self._socket_fd = fd
            self._own(fd)
        self._forkserver_address = f"{_BY_DESCRIPTOR}{self._socket_fd}"


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Keep Ctrl-C, which the whole group gets, from the server while it preloads.

    Later it ignores it.
    """
    resource_tracker.ensure_running()  # it unblocks SIGINT when it has started, so it starts before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
