"""Dask's own tests of its processes scheduler pass with ours in its place.

Those of bags are a part here; all of them: `python -m pytest -p tests.peers.dask_scheduler --pyargs dask.bag`, from
another folder and with this one in PYTHONPATH.
"""

import os
import subprocess
import sys

import pytest

from tests.peers import cpython

pytest.importorskip("dask")
PARTS = {
    "dask.tests.test_multiprocessing": "",
    "dask.tests.test_traceback": "not (shorten_traceback and processes)",
    "dask.bag.tests.test_bag": "foldby or join or product or groupby_tasks or (processes and tasks)",
}
"""Modules, and which tests of them; empty: all.

Left out: with tblib, which `distributed` brings, Dask shows a worker's frames as its own. We show them as the cause.
"""


@pytest.mark.parametrize("module", PARTS)
def test_dasks_tests_of_processes(module, tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-c", os.devnull, "--rootdir", tmp_path, "-q"]
    options = ["-p", "tests.peers.dask_scheduler", "-p", "no:cacheprovider", "-k", PARTS[module], "--pyargs", module]
    path = {**os.environ, "PYTHONPATH": str(cpython.ROOT)}
    done = subprocess.run([*command, *options], cwd=tmp_path, env=path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
