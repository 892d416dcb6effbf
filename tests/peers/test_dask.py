"""Dask's own tests of its processes scheduler pass with ours in its place."""

import os
import subprocess
import sys

import pytest

from tests.peers import cpython

pytest.importorskip("dask")
MODULES = ("dask.tests.test_multiprocessing", "dask.tests.test_traceback", "dask.tests.test_delayed", "dask.bag")


@pytest.mark.parametrize("module", MODULES)
def test_dasks_tests_of_processes(module, tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-c", os.devnull, "--rootdir", tmp_path, "-q"]
    options = ["-p", "tests.peers.dask_scheduler", "-p", "no:cacheprovider", "--pyargs", module]
    path = {**os.environ, "PYTHONPATH": str(cpython.ROOT)}
    done = subprocess.run([*command, *options], cwd=tmp_path, env=path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
