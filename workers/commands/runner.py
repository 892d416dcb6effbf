"""Run one command line through the shell, and say how it ended.

Runs in the workers, a command at a time. What a command writes goes straight into two files that the coordinator has
made and keeps open; they never had a name. So output of any size passes through nobody's memory, it is there too when
the command is ended, and nothing is left when everything is killed.

Commands are in the worker's process group, which the pool, or the kernel when the coordinator dies, ends as a whole.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from workers.commands.inputs import Feeder, Input, as_file
from workers.commands.lines import PassedLines
from workers.commands.placeholders import PlainTemplate
from workers.commands.template import CommandTemplate, TemplateError
from workers.process import context

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

END_SIGNAL = signal.SIGUSR2
"""Asks a worker to end the command that it runs, and to begin none any more."""
GRACE_S = 1.0
"""How long a command may take to end after SIGTERM before it is killed."""
_NOT_STARTED = 126
_SLICE_S = 1.0
"""A command with a timeout is looked at this often, so that a time in which all was stopped is noticed."""


@dataclass(frozen=True, slots=True)
class Command:
    """The command that a worker runs."""

    seq: int
    """0, 1, 2 …"""
    attempt: int
    """From 1."""
    arguments: tuple[str, ...]
    out_fd: int
    """The coordinator's descriptor of the file for standard output."""
    err_fd: int
    stdin: Input | None = None
    """None: nothing."""
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The outcome of a command."""

    seq: int
    attempt: int
    line: str
    """The command line, as people write it."""
    exitval: int
    """Its exit value; -1 if it took too long."""
    signal: int
    """The signal that ended it; 0: none did."""
    timed_out: bool
    ended: bool
    """Whether it was ended because the run was."""
    started_s: float
    """Unix time."""
    run_s: float
    cpu_s: float
    peak_rss_bytes: int
    worker: int
    """-1: not known."""

    @property
    def succeeded(self) -> bool:
        """Whether it exited with 0, by itself."""
        return not (self.exitval or self.signal or self.ended)


@dataclass(frozen=True, slots=True)
class CommandRunner:
    """The function that runs a command, sent to each worker once."""

    template: CommandTemplate
    coordinator_pid: int
    as_file: bool = False
    """Whether a command gets its input as a file, whose name is its argument."""
    mode: str = "group"
    """Where commands write: "group", files of the coordinator's; "lines", its streams, by way of this worker;
    "ungroup", its streams."""
    tag: PlainTemplate | None = None
    """Begins each line, where this worker passes them on."""
    lock_fd: int = -1
    """The coordinator's descriptor of the file that is locked around a write of lines."""
    workdir: PlainTemplate | None = None
    start_folder: str = ""
    """What a relative `workdir` is relative to."""
    tmpdir: str | None = None

    def __call__(self, command: Command) -> CommandResult:
        """Run the command until it ends or times out."""
        worker = _worker_id()
        numbers = command.seq + 1, worker + 1
        started_s, clock = time.time(), time.monotonic()
        line = ""
        try:
            with ExitStack() as opened:
                arguments, stdin, feeder = self._input(command, opened)
                line = self.template.render(arguments, *numbers)
                if self.workdir is not None:
                    self._enter(self.workdir.render(arguments, *numbers))
                if _stop_request.seen:
                    end = _End(0, signal.SIGTERM, ended=True)
                else:
                    end = self._run(self.template.argv(arguments, *numbers), command, worker, stdin, feeder)
        except (TemplateError, OSError, ValueError) as error:  # also: too long, no processes left, a NUL in it
            end = self._not_started(command, error)
        return CommandResult(
            seq=command.seq,
            attempt=command.attempt,
            line=line,
            exitval=end.exitval,
            signal=end.signal,
            timed_out=end.timed_out,
            ended=end.ended,
            started_s=started_s,
            run_s=time.monotonic() - clock,
            cpu_s=end.cpu_s,
            peak_rss_bytes=end.peak_rss_bytes,
            worker=worker,
        )

    def _input(self, command: Command, opened: ExitStack) -> tuple[tuple[str, ...], tuple[Any, ...], Feeder | None]:
        """Return the arguments, how standard input is opened, and what fills that if it is a pipe."""
        given = command.stdin
        if given is None:
            return command.arguments, _NO_INPUT, None
        if self.as_file:
            if given.is_whole:
                return (given.path,), _NO_INPUT, None
            file = opened.enter_context(as_file(given, self.tmpdir))
            return (f"/proc/{os.getpid()}/fd/{file.fileno()}",), _NO_INPUT, None
        if given.is_pipe:
            # Else a pipe whose writer has left would make its opener wait for another one.
            fd = os.open(given.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            opened.callback(os.close, fd)
            os.set_blocking(fd, True)
            return command.arguments, (os.POSIX_SPAWN_DUP2, fd, 0), None
        feeder = opened.enter_context(closing(Feeder()))
        if not feeder.give(given):
            feeder.end()
        return command.arguments, (os.POSIX_SPAWN_DUP2, feeder.read_fd, 0), feeder

    def _run(
        self, argv: list[bytes], command: Command, worker: int, stdin: tuple[Any, ...], feeder: Feeder | None
    ) -> _End:
        passing, targets = self._outputs(command, worker)
        actions = [stdin, *targets]
        environment = _environment()
        environment[b"PARALLEL_SEQ"], environment[b"PARALLEL_JOBSLOT"] = b"%d" % (command.seq + 1), b"%d" % (worker + 1)
        pid = os.posix_spawn(argv[0], argv, environment, file_actions=actions, setsigdef=_FOR_PYTHON)
        if feeder is not None:
            feeder.leave()
        for each in passing:
            each.leave()
        try:
            return _wait_and_stop(pid, command.timeout_s, feeder, passing)
        finally:
            for each in passing:
                each.finish()

    def _outputs(self, command: Command, worker: int) -> tuple[list[PassedLines], list[tuple[Any, ...]]]:
        """Return what passes on the command's lines, if that is done here, and how its streams are opened."""
        files = f"/proc/{self.coordinator_pid}/fd/"
        if self.mode == "group":
            flags = os.O_WRONLY | os.O_APPEND | os.O_TRUNC  # emptied: another worker may have died with it
            names = f"{files}{command.out_fd}", f"{files}{command.err_fd}"
            return [], [(os.POSIX_SPAWN_OPEN, at, name, flags, 0) for at, name in enumerate(names, 1)]
        streams = [sys.stdout.fileno(), sys.stderr.fileno()]
        if self.mode == "ungroup":
            return [], [(os.POSIX_SPAWN_DUP2, fd, at) for at, fd in enumerate(streams, 1)]
        numbers = command.seq + 1, worker + 1
        tag = b"" if self.tag is None else os.fsencode(self.tag.render(command.arguments, *numbers)) + b"\t"
        passing = [PassedLines(fd, f"{files}{self.lock_fd}", tag) for fd in streams]
        return passing, [(os.POSIX_SPAWN_DUP2, each.write_fd, at) for at, each in enumerate(passing, 1)]

    def _enter(self, folder: str) -> None:
        path = os.path.join(self.start_folder, folder)  # noqa: PTH118 - pathlib takes long to import
        os.makedirs(path, exist_ok=True)  # noqa: PTH103
        os.chdir(path)

    def _not_started(self, command: Command, error: Exception) -> _End:
        with open(f"/proc/{self.coordinator_pid}/fd/{command.err_fd}", "ab") as err:  # noqa: PTH123
            err.write(f"orchestrator: can't start the command: {error}\n".encode(errors="surrogateescape"))
        return _End(_NOT_STARTED, 0)


_NO_INPUT = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
_FOR_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores these, and what is ignored would be so in the commands."""


@lru_cache(maxsize=1)
def _environment() -> dict[bytes, bytes]:
    """Return the environment of commands, to which each adds its numbers."""
    return dict(os.environb)


@dataclass(frozen=True, slots=True)
class _End:
    exitval: int
    signal: int
    timed_out: bool = False
    ended: bool = False
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0


class _StopRequest:
    """Whether this worker was asked to end its command.

    A pipe tells whoever waits for the command just now.
    """

    def __init__(self) -> None:
        self.seen = False
        self.wake_r = -1

    def listen(self) -> None:
        self.wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        signal.signal(END_SIGNAL, self._hear)

    def _hear(self, _number: int, _frame: object) -> None:
        self.seen = True


_stop_request = _StopRequest()


def prepare(nice: int = 0) -> None:
    """Make this process one that runs commands.

    The pool's initializer.

    SIGTERM does nothing to the worker: a command may send it to the whole group (`kill 0`). It has a handler rather
    than be ignored, as SIGINT was: what is ignored would be so in the commands.

    Args:
        nice: how much less of the CPU the commands get, 1 to 19.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    _stop_request.listen()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - pathlib takes long to import
        with suppress(OSError):
            if int(name) > 2:  # what this worker was started with is none of the commands' business
                os.set_inheritable(int(name), False)
    if nice:
        os.nice(nice)


def _wait_and_stop(
    pid: int, timeout_s: float | None, feeder: Feeder | None = None, passing: Sequence[PassedLines] = ()
) -> _End:
    """Wait for a command, and terminate it when it times out or the run ends."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    pidfd = os.pidfd_open(pid)
    try:
        came = _wait(pidfd, until, _streams(feeder, passing))
    finally:
        os.close(pidfd)
    hard = False if came else _end_group(pid)
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    cpu_s, rss = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    if came:
        return _End(max(code, 0), max(-code, 0), cpu_s=cpu_s, peak_rss_bytes=rss)
    number = signal.SIGKILL if hard else signal.SIGTERM
    late = not _stop_request.seen
    return _End(-1 if late else 0, number, late, not late, cpu_s, rss)


_Streams = dict[int, tuple[int, Callable[[], bool]]]
"""Descriptor -> the event that is waited for, and what is called then, which returns whether to wait for another."""


def _streams(feeder: Feeder | None, passing: Sequence[PassedLines]) -> _Streams:
    streams: _Streams = {each.read_fd: (select.POLLIN, each.pass_on) for each in passing}
    if feeder is not None and feeder.write_fd >= 0:
        streams[feeder.write_fd] = select.POLLOUT, feeder.feed_or_end
    return streams


def _wait(  # noqa: C901 - one wait for all that can happen
    pidfd: int, until: float | None, streams: _Streams
) -> bool:
    """Wait for the end of a process, and move what it reads and writes meanwhile.

    Returns False if it timed out, or this worker was asked to end it.
    """
    poller = select.poll()
    for fd, event in {pidfd: select.POLLIN, _stop_request.wake_r: select.POLLIN}.items():
        if fd >= 0:
            poller.register(fd, event)
    for fd, (event, _) in streams.items():
        poller.register(fd, event)
    while not _stop_request.seen:
        began = time.monotonic()
        left_s = None if until is None else min(max(0.0, until - began), _SLICE_S)
        happened = [fd for fd, _ in poller.poll(None if left_s is None else left_s * 1000)]
        if until is not None and left_s is not None:
            overslept_s = time.monotonic() - began - left_s
            if overslept_s > _SLICE_S:  # all was stopped (Ctrl-Z), the command too: that is not its time
                until += overslept_s
        for fd in streams.keys() & happened:
            if not streams[fd][1]():
                poller.unregister(fd)
                del streams[fd]
        if pidfd in happened:
            return True
        if until is not None and time.monotonic() >= until:
            return False
        if _stop_request.wake_r in happened:
            with suppress(BlockingIOError):
                os.read(_stop_request.wake_r, 4096)
    return False


def _end_group(pid: int) -> bool:
    """Terminate a command with all that it started, and return whether it had to be killed.

    What earlier commands of this worker have left in the background goes too.
    """
    for other in _started():
        with suppress(ProcessLookupError):
            os.kill(other, signal.SIGTERM)
    until = time.monotonic() + GRACE_S
    while (others := _started()) and (left_s := until - time.monotonic()) > 0:
        _await_one(others, left_s)
    hard = pid in others
    while others:  # until there is none: one of them may just have started another
        for other in others:
            with suppress(ProcessLookupError):
                os.kill(other, signal.SIGKILL)
        _await_one(others, GRACE_S)
        others = _started()
    return hard


def _await_one(pids: Iterable[int], timeout_s: float) -> None:
    """Wait until one of these processes has ended, but not forever."""
    poller = select.poll()
    fds = []
    for pid in pids:
        with suppress(ProcessLookupError):
            fds.append(os.pidfd_open(pid))
            poller.register(fds[-1], select.POLLIN)
    if len(fds) == len(list(pids)):
        poller.poll(timeout_s * 1000)
    for fd in fds:
        os.close(fd)


def _started() -> list[int]:
    """Return the processes that this one has started, and those they have, that still run.

    They are of its process group, or, where they have left that, known by their parents.
    """
    own, group = os.getpid(), os.getpgrp()
    running: set[int] = set()
    children: dict[int, list[int]] = {}
    found = [own]
    for pid, state, parent, of in _processes():
        if state not in "ZX":
            running.add(pid)
        children.setdefault(parent, []).append(pid)
        if of == group and pid != own:
            found.append(pid)
    for pid in found:
        found += children.pop(pid, ())
    return sorted(running.intersection(found) - {own})


def _processes() -> Iterator[tuple[int, str, int, int]]:
    """Yield (pid, state, parent, process group) of every process."""
    with closing(os.scandir("/proc")) as entries:
        names = [entry.name for entry in entries if entry.name.isdecimal()]
    for name in names:
        with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - pathlib takes long to import
            fields: Any = file.read().rpartition(b")")[2].split()
            if fields:
                yield int(name), fields[0].decode(), int(fields[1]), int(fields[2])


def _worker_id() -> int:
    try:
        return context.current().id
    except RuntimeError:  # not in a pool's worker, as in tests
        return 0
