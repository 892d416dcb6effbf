"""What the system refuses: descriptors, processes, anonymous memory. Each is told clearly, or made do without."""

import errno
import os
import signal
import threading

import numpy
import pytest
from support.scripts import run_script, succeeded
from support.waiting import until

from orchestrator import Pool, WorkerStartError
from orchestrator.local.transport import worker_process

TOO_FEW = """
import os, resource, signal
from orchestrator import Pool, WorkerStartError

def limit(number):
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

def wait_and_say(n):
    return n

os.environ["ORCHESTRATOR_FORCE_FORK"] = "1"
for method in ("forkserver", "spawn", "fork"):
    limit(100)
    try:
        Pool(40, start_method=method)
    except WorkerStartError as error:
        print(error)
    before = len(os.listdir("/proc/self/fd"))
    try:
        Pool(40, start_method=method)
    except WorkerStartError as error:
        print(len(os.listdir("/proc/self/fd")) - before)
    with Pool(2, start_method=method) as pool:
        print(sum(pool.map(wait_and_say, range(10))))
        limit(len(os.listdir("/proc/self/fd")) + 3)
        os.kill(pool.workers[0].pid, signal.SIGKILL)
        try:
            for _ in range(10**9):
                list(pool.map(wait_and_say, range(10)))
        except WorkerStartError as error:
            print(error)
"""


def test_too_few_descriptors_are_told_and_nothing_is_left_open(tmp_path):
    said = succeeded(run_script(tmp_path, TOO_FEW)).splitlines()
    assert len(said) == 12
    for first, left, works, later in zip(*[iter(said)] * 4, strict=True):
        assert "can't be started: too many open files; the limit is 100" in first
        assert int(left) <= 0  # a descriptor of before may have been freed meanwhile
        assert works == "45"
        assert later.startswith("worker 0 can't be started: too many open files")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (BlockingIOError(errno.EAGAIN, "no"), "the system refused to create another process; check `ulimit -u`"),
        (OSError(errno.ENOMEM, "no"), "there is no memory for another process"),
        (EOFError(), "the fork server died"),
        (OSError(errno.EIO, "no luck"), "no luck"),
    ],
)
def test_a_process_that_is_refused(error, says, monkeypatch):
    def refuse(*_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(worker_process, "start_process", refuse)
        with pytest.raises(WorkerStartError) as caught:
            Pool(2)
    assert f"worker 0 can't be started: {says}" in str(caught.value)


def test_a_fork_server_that_was_killed_is_started_again():
    with Pool(1) as pool:
        servers = [worker_process._forkserver._forkserver_pid]
        os.kill(servers[0], signal.SIGSTOP)  # it takes the question for another worker, and gives no answer
        killing = threading.Timer(0.05, os.kill, (servers[0], signal.SIGKILL))
        killing.start()
        pool.resize(2)
        killing.join()
        assert list(pool.map(abs, range(-100, 0))) == list(range(100, 0, -1))
        until(lambda: [each.state for each in pool.workers] == ["ready", "ready"])
        servers.append(worker_process._forkserver._forkserver_pid)
        os.kill(servers[1], signal.SIGKILL)  # at once, so that it may still seem to be there
        os.kill(pool.workers[0].pid, signal.SIGKILL)
        assert list(pool.map(abs, range(-100, 0))) == list(range(100, 0, -1))
        until(lambda: [each.state for each in pool.workers] == ["ready", "ready"])
    assert worker_process._forkserver._forkserver_pid not in servers


def test_without_anonymous_memory_a_file_without_a_name_serves(monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EPERM, "a seccomp filter")

    monkeypatch.setattr(os, "memfd_create", refused)
    arrays = [numpy.full(100_000, n) for n in range(6)]
    with Pool(2) as pool:
        results = list(pool.map(numpy.negative, arrays))
        assert sum(pool.stats().arena_bytes.values()) > 0
    assert all((result == -array).all() for result, array in zip(results, arrays, strict=True))
