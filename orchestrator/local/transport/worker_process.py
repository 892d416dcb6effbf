"""Starts worker processes without running the user's main module again.

`multiprocessing` normally re-runs `__main__` in a forkserver or spawned child, which is why its users need an `if
__name__ == "__main__"` guard. Our workers get what they need of `__main__` over their lane
(`workers.pickling.main_module`), so the children are told of no main module. The forkserver is our own instance: what
the program preloads into the global one, or starts from it, is not touched.

Owner of the state: the coordinator process. `_ours` holds the descriptors that a forked child must not keep, since a
worker that holds the end of another's lane would keep it open after a death.
"""

from __future__ import annotations

import contextlib
import errno
import io
import multiprocessing
import multiprocessing.util
import os
import resource
import select
import sys
import warnings
from collections.abc import Callable
from multiprocessing import (
    context,
    popen_fork,
    popen_forkserver,
    popen_spawn_posix,
    process,
    reduction,
    resource_tracker,
    spawn,
)
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from orchestrator import place
from orchestrator.errors import WorkerStartError
from orchestrator.local.transport.fork_server import NamelessForkServer
from orchestrator.machine.own_descriptors import own, replace_in_child
from workers import entry
from workers.entry import WorkerStart

_T = TypeVar("_T")
_util: Any = multiprocessing.util  # its typed stub leaves out what is used here
_PRELOADED = ["multiprocessing.popen_forkserver", "cloudpickle"]
"""What workers need besides our own package, imported once, before the forks."""
_PRELOADED_IF_USED = ["numpy", "dask"]
"""What takes long to import, and what workers will need if the program has it loaded when the first one is started."""
_lifeline: tuple[Connection, Connection] | None = None


_forkserver = NamelessForkServer(own)


def _after_fork_in_child() -> None:
    global _lifeline, _forkserver  # noqa: PLW0603 - the child has neither
    replace_in_child()
    _lifeline = None
    _forkserver = NamelessForkServer(own)


os.register_at_fork(after_in_child=_after_fork_in_child)


def lifeline() -> Connection:
    """Return the reading end of the pipe whose writing end dies with this process."""
    global _lifeline  # noqa: PLW0603 - one a process
    if _lifeline is None:
        _lifeline = multiprocessing.Pipe(duplex=False)
        own(_lifeline[1].fileno())
    return _lifeline[0]


def _payload(popen: Any, child: process.BaseProcess) -> io.BytesIO:
    """Pickle what the child needs to start, leaving the main module out."""
    preparation = spawn.get_preparation_data(child.name)
    preparation.pop("init_main_from_name", None)
    preparation.pop("init_main_from_path", None)
    if preparation.get("start_method") not in multiprocessing.get_all_start_methods():
        preparation.pop("start_method", None)  # of a package that the child does not load: loky's workers have one
    buffer = io.BytesIO()
    context.set_spawning_popen(popen)
    try:
        reduction.dump(preparation, buffer)
        reduction.dump(child, buffer)
    finally:
        context.set_spawning_popen(None)
    return buffer


class _ForkserverPopen(popen_forkserver.Popen):
    _fds: list[int]

    def _launch(self, child: Any) -> None:
        payload = _payload(self, child)
        # Heeded only by the server's first start.
        _forkserver.set_forkserver_preload(_PRELOADED + [n for n in _PRELOADED_IF_USED if n in sys.modules])
        self.sentinel, to_child = _forkserver.connect_to_new_process(self._fds)
        self.finalizer = _util.Finalize(self, _util.close_fds, (self.sentinel,))
        with open(to_child, "wb", closefd=True) as stream:  # noqa: PTH123 - a descriptor
            stream.write(payload.getbuffer())
        self.pid = _read_pid(self.sentinel)


def _read_pid(fd: int) -> int:
    from multiprocessing.forkserver import read_signed  # noqa: PLC0415 - private, kept in one place

    return int(read_signed(fd))


class _SpawnPopen(popen_spawn_posix.Popen):
    _fds: list[int]
    _duplicates: list[int]

    def duplicate_for_child(self, fd: int) -> int:
        """Make the child inherit a descriptor.

        One that is sent twice belongs to two objects there.
        """
        if fd in self._fds:
            fd = os.dup(fd)
            self._duplicates.append(fd)
        self._fds.append(fd)
        return fd

    def _launch(self, child: Any) -> None:
        tracker_fd: Any = resource_tracker.getfd()
        self._fds.append(tracker_fd)
        self._duplicates = []
        payload = _payload(self, child)
        parent_r, child_w = os.pipe()
        child_r, parent_w = os.pipe()
        command = place.by_place(spawn.get_command_line(tracker_fd=tracker_fd, pipe_handle=child_r))
        self._fds.extend([child_r, child_w])
        try:
            self.pid = _util.spawnv_passfds(spawn.get_executable(), command, self._fds)
            self.sentinel = parent_r
            with open(parent_w, "wb", closefd=False) as stream:
                stream.write(payload.getbuffer())
        finally:
            self.finalizer = _util.Finalize(self, _util.close_fds, (parent_r, parent_w))
            _util.close_fds(child_r, child_w, *self._duplicates)


class _WorkerProcess(process.BaseProcess):
    _start_method: ClassVar[None] = None  # what user code starts in a worker, it starts as the program would

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.daemon = False  # a worker may have children, even where its coordinator's process is daemonic

    def start(self) -> None:
        """Start it, also in a daemonic process.

        `multiprocessing` refuses that, as the children of one would be left behind; workers end with their coordinator.
        """
        own: Any = process.current_process()
        daemonic = own._config.pop("daemon", None)  # noqa: SLF001 - nothing public allows it
        try:
            super().start()
        finally:
            if daemonic is not None:
                own._config["daemon"] = daemonic  # noqa: SLF001

    def __reduce__(self) -> Any:
        # By way of the workers' own package, so that no worker imports this one.
        return entry.revive, ({**self.__dict__, "_start_method": None},)


class _ForkserverProcess(_WorkerProcess):
    @staticmethod
    def _Popen(child: Any) -> Any:  # noqa: N802 - multiprocessing's name
        return _ForkserverPopen(child)


class _SpawnProcess(_WorkerProcess):
    @staticmethod
    def _Popen(child: Any) -> Any:  # noqa: N802
        return _SpawnPopen(child)


class _ForkProcess(_WorkerProcess):
    @staticmethod
    def _Popen(child: Any) -> Any:  # noqa: N802
        with warnings.catch_warnings():  # the watchdog is harmless: see `refuse_fork_with_threads`
            warnings.filterwarnings("ignore", ".* multi-threaded, use of fork", DeprecationWarning)
            return popen_fork.Popen(child)


_PROCESSES: dict[str, type[_WorkerProcess]] = {
    "forkserver": _ForkserverProcess,
    "spawn": _SpawnProcess,
    "fork": _ForkProcess,
}


def shareable_fd(fd: int, start_method: str) -> Any:
    """Wrap a descriptor so that it reaches the child of this start method."""
    return fd if start_method == "fork" else _LateFd(fd)


def open_fd(fd: int) -> Any:
    """Wrap a descriptor of the program's as `shareable_fd` does.

    None if it is closed.
    """
    try:
        os.fstat(fd)
    except OSError:
        return None
    return _LateFd(fd)


class _Inheriting:
    """Poses as the process that is being started, while something is pickled for a forked child."""

    forks = True

    @staticmethod
    def duplicate_for_child(fd: int) -> int:
        return fd

    @staticmethod
    def DupFd(fd: int) -> Any:  # noqa: N802 - multiprocessing's name
        return entry.InheritedFd(fd)


def inherited(pickled: Callable[[], _T]) -> _T:
    """Call `pickled` as `multiprocessing` does when a process is started, for a fork."""
    spawning: Any = _Inheriting()
    context.set_spawning_popen(spawning)
    try:
        return pickled()
    finally:
        context.set_spawning_popen(None)


class _LateFd:
    """A descriptor that is duplicated for the child while the child is being pickled."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __reduce__(self) -> Any:
        duplicate: Any = reduction.DupFd(self._fd)
        return entry.received, (duplicate,)


_SERVER_ENDS_S = 1.0
_SPARE_FDS = 24
"""Descriptors that must be free to start a worker: it keeps a handful, while it starts it takes about twenty."""


def look_for_room() -> None:
    """Check that there are enough descriptors for a worker.

    The fork server would not survive one that fails half started.

    Raises:
        OSError: there are too few.
    """
    spare: list[int] = []
    try:
        spare.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        spare.extend(os.dup(spare[0]) for _ in range(_SPARE_FDS - 1))
    finally:
        for fd in spare:
            os.close(fd)


def cannot_start(worker_id: int, error: Exception) -> WorkerStartError:
    """Return the error that says why a worker could not be started, and what to do."""
    number = getattr(error, "errno", None)
    processes = "check `ulimit -u` and the container's process limit, or use fewer workers"
    if number in {errno.EMFILE, errno.ENFILE}:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        why = (
            f"too many open files; the limit is {limit:,}, a worker needs about 6, and {_SPARE_FDS} must stay free. "
            "Raise the limit (`ulimit -n`), or use fewer workers"
        )
    elif number == errno.EAGAIN:
        why = f"the system refused to create another process; {processes}"
    elif number == errno.ENOMEM:
        why = "there is no memory for another process; use fewer workers"
    elif number == errno.ENOENT and _folder_is_gone():
        why = "the current folder was deleted; change to one that exists (os.chdir) before you make the pool"
    elif isinstance(error, EOFError | ConnectionError):
        why = (
            "the fork server died; its stderr output says why. Often the system refuses to create another process: "
            f"{processes}"
        )
    else:
        why = getattr(error, "strerror", None) or str(error)
    return WorkerStartError(f"worker {worker_id} can't be started: {why}")


def _folder_is_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def start_process(start_method: str, start: WorkerStart) -> process.BaseProcess:
    """Start one worker and return its process, which is not ready yet.

    If the fork server ends meanwhile, it is started again, once.
    """
    try:
        child = _started(start_method, start)
    except (EOFError, ConnectionError):
        if start_method != "forkserver":
            raise
        _wait_for_the_end_of_the_server()  # else the next attempt would ask the dying one again
        child = _started(start_method, start)
    own(child.sentinel)
    return child


def _start_tracker() -> None:
    """Start multiprocessing's resource tracker.

    Its command line is not ours to choose: without this, files in the current folder that are named like modules of the
    standard library would be run in it.
    """
    tracker: Any = resource_tracker
    if tracker._resource_tracker._fd is None and "PYTHONSAFEPATH" not in os.environ:  # noqa: SLF001
        os.environ["PYTHONSAFEPATH"] = "1"
        try:
            tracker.ensure_running()
        finally:
            del os.environ["PYTHONSAFEPATH"]


def _started(start_method: str, start: WorkerStart) -> process.BaseProcess:
    child = _PROCESSES[start_method](target=entry.main, args=(start,), name=f"worker-{start.worker_id}")
    if start_method != "fork":
        _start_tracker()
    chosen = multiprocessing.get_start_method(allow_none=True)
    child.start()
    if chosen is None:  # multiprocessing has settled it meanwhile, and the program may still choose
        multiprocessing.set_start_method(None, force=True)
    return child


def _wait_for_the_end_of_the_server() -> None:
    """Wait a moment for a fork server that closes its connections: it is about to end."""
    server: Any = _forkserver
    with contextlib.suppress(OSError, TypeError):  # it has ended, or was reaped
        fd = os.pidfd_open(server._forkserver_pid)  # noqa: SLF001 - private, kept in this module
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll(_SERVER_ENDS_S * 1000)
        finally:
            os.close(fd)
