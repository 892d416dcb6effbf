"""CPython's own tests of `multiprocessing.Pool` pass with ours in its place."""

import subprocess
import sys

import pytest

from tests.peers import cpython, cpython_pools


@pytest.mark.skipif(cpython_pools.missing() != "", reason=cpython_pools.missing())
@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_cpythons_tests_of_pools(method):
    command = [sys.executable, "-m", "tests.peers.cpython_pools", method]
    done = subprocess.run(command, cwd=cpython.ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-5000:]
