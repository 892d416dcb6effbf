"""Fixtures for all tests; the most important one lets no test leave anything behind."""

import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from support.leaks import Snapshot, leaks_since, own_temporary_folder
from support.seed import DRAWN

START_METHODS = (
    "forkserver",
    "spawn",
    # Python 3.12 warns of a fork beside threads, which pytest-xdist has; the tests fork knowingly.
    pytest.param("fork", marks=pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")),
)
STARTS_NO_PROCESS = {"unit", "architecture"}
LEFTOVERS = Path(__file__).parents[1] / ".tests"
"""Where the tests write; whatever they leave stays inside the clone."""


# No deadline: a machine that is busy with something else fails no test.
settings.register_profile("suite", deadline=None, derandomize=not DRAWN)
settings.load_profile("suite")


def pytest_configure():
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun by `&` in a script: tests of Ctrl-C would hang
        signal.signal(signal.SIGINT, signal.default_int_handler)
    LEFTOVERS.mkdir(exist_ok=True)
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(LEFTOVERS)  # of `tmp_path`; each session makes a folder of its own
    os.environ["TMPDIR"] = str(own_temporary_folder(LEFTOVERS))  # for the processes of the tests
    tempfile.tempdir = None  # looked up again


@pytest.fixture(scope="session", autouse=True)
def warm_up(request):
    """Make what Python makes once (fork server, resource tracker, lazy modules) before anyone counts."""
    here = Path(__file__).parent
    folders = {item.path.relative_to(here).parts[0] for item in request.session.items}
    if folders - STARTS_NO_PROCESS:
        from orchestrator import Pool

        with Pool(workers=1) as pool:
            pool.submit(os.getpid).result()


@pytest.fixture(autouse=True)
def no_leaks(warm_up):
    """Fail a test that leaves a process, a shared-memory segment, a temporary file, a file descriptor or a thread."""
    if "distributed" in sys.modules:  # its threads stay, beside which the tests fork knowingly
        os.environ["ORCHESTRATOR_FORCE_FORK"] = "1"
    before = Snapshot.take()
    yield
    left = leaks_since(before)
    assert not left, "left behind: " + "; ".join(left)


@pytest.fixture(scope="session")
def dask_engine(warm_up):
    """A cluster of Dask with two worker processes, one of them with a nanny, and the threads that a client keeps."""
    from support.dask_cluster import dask_cluster

    from orchestrator import Pool

    with dask_cluster() as cluster:
        for number in range(2):
            cluster.add_worker(nanny=number == 0)
        cluster.wait_for(2)
        with Pool(engine=cluster.engine) as pool:
            assert list(pool.map(abs, range(8), chunk=1)) == list(range(8))
        yield cluster.engine


@pytest.fixture(params=START_METHODS)
def start_method(request, monkeypatch):
    """Each way in which a worker can be started."""
    if request.param == "fork":
        monkeypatch.setenv("ORCHESTRATOR_FORCE_FORK", "1")
    return request.param


@pytest.fixture
def pool(start_method):
    """Two workers of each start method; closed afterwards, whatever the test did to them."""
    from orchestrator import Pool

    with contextlib.closing(Pool(workers=2, start_method=start_method)) as pool:
        yield pool
