"""The entry of a worker process, which makes sure that it never outlives its coordinator.

`main` is the target of a `multiprocessing.Process`. A forkserver preloads this module, so it stays quick to import.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import mmap
import os
import pickle
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from workers.errors.capture import capture
from workers.loop import ChunkLoop
from workers.pickling import main_module
from workers.process import context, leaving, randomness, threads
from workers.process.interpreter import Interpreter
from workers.process.moment import Moment
from workers.sync import shared_object
from workers.transport import forks, payload, watch
from workers.transport.arena import Arena, ArenaReader
from workers.transport.lane import WorkerLane
from workers.transport.wire import Kind, pack

MARKS_BYTES = mmap.PAGESIZE
CONTROL_BYTES = MARKS_BYTES + watch.SLOTS * watch.SLOT_BYTES


class Beginning(NamedTuple):
    """The setup of a worker."""

    initializer: bytes | None
    """Pickled (initializer or None, its arguments, finalizer or None)."""
    offered: list[main_module.Definition]
    """What that takes of `__main__`."""


class WorkerStart(NamedTuple):
    """All that a worker is given when it starts. The descriptors arrive through `multiprocessing`."""

    inbox: Connection
    outbox: Connection
    lifeline: Connection
    """The reading end of a pipe that is never written: it closes when the coordinator is gone."""
    inputs: Any
    """Descriptor (a `multiprocessing.reduction` duplicate) of the arena that the coordinator writes."""
    outputs: Any
    control: Any
    """Descriptor of the page in which the coordinator marks calls that nobody waits for, and of the slots behind it in
    which each worker says what it is at."""
    slot: int
    """Which of these is this worker's."""
    stderr: Any
    """Descriptor of a file for what is written to stderr before the worker is ready; None: nobody needs it."""
    worker_id: int
    pool_size: int
    pool_token: bytes
    """Names the pool among all there are: what it shares is kept from call to call."""
    arena_bytes: int
    lease_share_bytes: int
    forked: bool
    """It has all that the program has."""
    moment: Moment
    interpreter: Interpreter
    seed: int | None
    main: dict[str, Any]
    """What the worker's `__main__` says of itself: `__file__` and the like."""
    beginning: Any
    """A `Beginning`, or what is pickled as one."""


def _leave_with(lifeline: Connection) -> None:
    """Make the kernel end this process group the moment the coordinator is gone.

    Linux sends the signal chosen with F_SETSIG to the owner of the pipe's reading end when the last writing end
    closes. That needs no thread and no GIL, so even a worker stuck in compiled code leaves. The descriptor is opened
    anew, because the owner is a property of the open file, which siblings share. Elsewhere a thread watches.
    """
    if hasattr(fcntl, "F_SETSIG"):
        fd = os.open(f"/proc/self/fd/{lifeline.fileno()}", os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
        poll = select.poll()  # select() knows no descriptors from 1,024 on
        poll.register(fd, select.POLLIN)
        if poll.poll(0):  # it was gone before we asked
            os._exit(0)
        return

    def watch() -> None:
        with contextlib.suppress(Exception):
            lifeline.poll(None)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


class InheritedFd(NamedTuple):
    """A descriptor that a forked child has from its parent, in place of a duplicate."""

    fd: int

    def detach(self) -> int:
        """Return a duplicate of the descriptor, as the parent's object may close this one."""
        return os.dup(self.fd)


def received(descriptor: Any) -> Any:
    """Return a descriptor that was duplicated for this process.

    The coordinator's pickle of it calls this.
    """
    return descriptor


def revive(state: dict[str, Any]) -> BaseProcess:
    """Return the process object that the coordinator started.

    Its pickle calls this.
    """
    revived = BaseProcess.__new__(BaseProcess)
    revived.__dict__.update(state)
    return revived


def _descriptor(given: Any) -> int:
    return int(given) if isinstance(given, int) else int(given.detach())


def _settle_process(start: WorkerStart) -> None:
    """Own session and process group, no Ctrl-C, and what the coordinator's process has now.

    In a group of its own within the coordinator's session, a worker that reads the terminal is stopped by the kernel,
    and the pool would wait forever. In a session of its own it has no terminal: opening /dev/tty fails at once, and
    `getpass`, `ssh` and `sudo` say so.
    """
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the fork server was started with it blocked
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _leave_with(start.lifeline)
    start.moment.take_over()
    start.interpreter.take_over()
    if start.forked or "numpy" in sys.modules:  # of such libraries the fork server preloads only numpy's
        threads.limit_loaded()
    with contextlib.suppress(Exception):
        faulthandler.enable()


def _initialize(lane: WorkerLane, pickled: bytes | None) -> tuple[bool, Callable[[], object] | None]:
    """Run the user's initializer, and return whether it succeeded, and the finalizer.

    A failure is reported.
    """
    if pickled is None:
        return True, None
    try:
        function: Callable[..., object] | None
        finalizer: Callable[[], object] | None
        function, arguments, finalizer = pickle.loads(pickled)
        if function is not None:
            function(*arguments)
    except BaseException as error:
        lane.send(payload.frame(Kind.BROKEN, payload.encode(capture(error)), lane.outputs, 0, 0))
        lane.flush()
        return False, None
    return True, finalizer


@contextlib.contextmanager
def _heard(descriptor: Any) -> Iterator[None]:
    """Keep what is written to stderr in a file, so that a death leaves it there."""
    if descriptor is None:
        yield
        return
    kept, usual = _descriptor(descriptor), os.dup(2)
    os.dup2(kept, 2)
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os.dup2(usual, 2)
        os.close(usual)
        with contextlib.suppress(OSError):
            os.write(2, os.pread(kept, 1 << 20, 0))
        os.close(kept)


def main(start: WorkerStart) -> None:
    """Serve one lane, in the worker process."""
    _settle_process(start)
    inputs = ArenaReader(_descriptor(start.inputs), start.lease_share_bytes)
    outputs = Arena(_descriptor(start.outputs), start.arena_bytes)
    lane = WorkerLane(start.inbox.fileno(), start.outbox.fileno(), inputs, outputs)
    page = memoryview(mmap.mmap(_descriptor(start.control), CONTROL_BYTES))
    own_slot = page[MARKS_BYTES + start.slot * watch.SLOT_BYTES :][: watch.SLOT_BYTES].cast("Q")
    shared_object.belong_to(start.pool_token)
    main_module.install(lane.ask, start.main, start.beginning.offered)
    context.enter(context.WorkerContext(start.worker_id, start.pool_size))
    if start.forked:
        leaving.forget_the_programs_own()
    forks.present.worker_id = start.worker_id
    os.register_at_fork(after_in_child=forks.present.forked)
    randomness.begin(start.seed, start.worker_id)
    leaving.settle_in()
    try:
        with _heard(start.stderr):
            initialized, finalizer = _initialize(lane, start.beginning.initializer)
        if initialized:
            lane.send([pack(Kind.READY)])
            ChunkLoop(lane, page[:MARKS_BYTES].cast("Q"), watch.Watch(own_slot), finalizer).serve()
            leaving.run_exit_functions()
    except (EOFError, BrokenPipeError):
        pass  # the coordinator has closed the lane
    except BaseException:
        _leave(1)
        raise
    _leave(0)


def _leave(exitcode: int) -> None:
    """Exit without `multiprocessing`'s exit function, which would wait for pools that user code left open.

    Their workers end with this process, by their own lifeline.
    """
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    if exitcode == 0:
        os._exit(0)
