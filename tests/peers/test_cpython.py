"""A short choice of what `scripts/peers` runs: CPython's tests of process pools, with our executor."""

import subprocess
import sys

import pytest

from tests.peers import cpython


@pytest.mark.skipif(cpython.missing() != "", reason=cpython.missing())
def test_cpythons_tests_of_executors():
    command = [sys.executable, "-m", "tests.peers", "Forkserver", "--parts", "test_init", "test_shutdown"]
    done = subprocess.run(command, cwd=cpython.ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-5000:]
