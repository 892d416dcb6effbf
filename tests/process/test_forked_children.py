"""A pool in a child that was forked beside it: one clear error, at once, for everything but its end. Many descriptors."""

import os
import resource
import signal
import threading
import time
import traceback

import pytest

from orchestrator import ClosedError, Pool, Stream, run

DEADLINE_S = 20

# Python 3.12 warns of a fork beside threads, which is what this is about.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def double(x):
    return x * 2


class Inherited:
    """What a child may have of its parent's pool."""

    def __init__(self, pool):
        self.pool = pool
        self.results = pool.map(double, range(1000))
        next(self.results)
        self.gate_r, self.gate_w = os.pipe()
        os.set_inheritable(self.gate_r, True)
        self.future = pool.submit(time.sleep, 0)

    def close(self):
        self.results.close()
        os.close(self.gate_r)
        os.close(self.gate_w)


USES = {
    "map": lambda had: list(had.pool.map(double, [1])),
    "submit": lambda had: had.pool.submit(double, 1),
    "run_on_all": lambda had: had.pool.run_on_all(double, 1),
    "resize": lambda had: had.pool.resize(3),
    "share": lambda had: had.pool.share(b"x"),
    "stats": lambda had: had.pool.stats(),
    "status": lambda had: had.pool.status(),
    "workers": lambda had: had.pool.workers,
    "with": lambda had: had.pool.__enter__(),
    "next": lambda had: list(had.results),
    "stream": lambda had: run(Stream([1]).map(double).to(None), pool=had.pool),
}
ENDS = {
    "close": lambda had: had.pool.close(),
    "terminate": lambda had: had.pool.terminate(),
    "close results": lambda had: had.results.close(),
    "drop": lambda had: had.__dict__.clear(),
    "repr": lambda had: repr(had.pool),
}


def in_child(action):
    """Run in a forked child; return what it says: "" if all is well."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(DEADLINE_S)
        said = ""
        try:
            action()
        except BaseException:
            said = traceback.format_exc()
        os.write(write, said.encode()[-4000:])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    return said or (f"the child ended with {os.waitstatus_to_exitcode(status)}" if status else "")


def refuses(use, had):
    with pytest.raises(ClosedError, match=f"belongs to process {os.getppid()}"):
        use(had)


@pytest.fixture
def had(pool):
    had = Inherited(pool)
    yield had
    had.close()


def test_every_use_is_refused_at_once_and_the_parents_pool_is_none_the_worse(had):
    problems = {name: said for name, use in USES.items() if (said := in_child(lambda use=use: refuses(use, had)))}
    assert not problems, "\n".join(f"{name}:\n{said}" for name, said in problems.items())
    assert in_child(lambda: list(Pool(1, start_method="spawn").map(double, [4]))) == ""
    assert list(had.results) == [2 * x for x in range(1, 1000)]
    assert had.pool.submit(double, 3).result() == 6


def test_its_ends_do_nothing_to_the_parents_pool(had):
    problems = {name: said for name, end in ENDS.items() if (said := in_child(lambda end=end: end(had)))}
    assert not problems
    assert list(had.results) == [2 * x for x in range(1, 1000)]


def test_a_future_that_is_not_done_says_so(pool, tmp_path):
    os.mkfifo(tmp_path / "gate")
    future = pool.submit((tmp_path / "gate").read_text)
    assert in_child(lambda: refuses(lambda _: future.result(), None)) == ""
    (tmp_path / "gate").write_text("x")
    assert future.result() == "x"


def test_locks_that_other_threads_held_at_the_fork_hang_nobody(pool):
    done = threading.Event()

    def busy():
        while not done.is_set():
            list(pool.map(double, range(200), chunk=1))

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            assert in_child(lambda: refuses(lambda _: list(pool.map(double, [1])), None)) == ""
    finally:
        done.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def two_thousand_files():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < 4000:
        pytest.skip("the hard limit on open files is too low")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 4000), limits[1]))
    fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(2000)]
    yield
    for fd in fds:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_descriptors_above_1023_serve_as_well(two_thousand_files, start_method, tmp_path):
    with Pool(2, start_method=start_method) as pool:
        assert list(pool.map(double, range(100), timeout=60)) == [2 * x for x in range(100)]
        assert pool.submit(double, b"x" * 300_000).result() == b"x" * 600_000
        assert pool.run_on_all(double, 2) == [4, 4]
        with open(tmp_path / "out", "w") as file:
            run(Stream(range(10)).map(double).to(file), pool=pool)
    assert (tmp_path / "out").read_text().split() == [str(2 * x) for x in range(10)]
