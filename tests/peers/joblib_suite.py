"""joblib's own tests with our backend in the place of loky: `python -m tests.peers.joblib_suite [arguments of pytest]`."""

import importlib.util
import os
import subprocess
import sys
import tempfile

import pytest

from tests.peers.cpython import ROOT

PARTS = ("test_parallel", "test_memmapping", "test_config", "test_module")
_FILES = "looks for the files of large arrays: ours lie in memory without a name"
SKIPPED = {
    "test_error_capture": "wants a new pool after an error: ours goes on, as only the calls that ran were ended",
    "test_multiple_generator_call_separated_gc": "wants an error where a generator that is dropped ends other calls: ours don't",
    "test_parallel_with_interactively_defined_bound_method_loky": "looks for the name of loky's processes in the log",
    "test_memmapping_leaks": _FILES,
    "test_parallel_isolated_temp_folders": _FILES,
    "test_managed_backend_reuse_temp_folder": _FILES,
    "test_memmapping_temp_folder_thread_safety": _FILES,
    "test_multithreaded_parallel_termination_resource_tracker_silent": _FILES,
    "test_parallel_config_no_backend": _FILES,
}
"""Names of tests, and why they can't be run with our backend."""


def missing():
    """Say what is not installed, or return an empty text."""
    return "" if importlib.util.find_spec("joblib") else "joblib is not installed"


def pytest_collection_modifyitems(items):
    """Skip these tests, where they use loky; this module is a plugin of the pytest that runs them."""
    for item in items:
        name, _, parameters = item.name.partition("[")
        if name in SKIPPED and (not parameters or "loky" in parameters):
            item.add_marker(pytest.mark.skip(reason=SKIPPED[name]))


def run(*arguments, parts=PARTS, **options):
    """Run the tests in a process of their own, away from our configuration of pytest."""
    places = [ROOT / "tests/peers/joblib_in_place", ROOT, os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    modules = [f"joblib.test.{part}" for part in parts]
    command = [sys.executable, "-m", "pytest", "-p", "tests.peers.joblib_suite", "-p", "no:cacheprovider", "-c", os.devnull]
    with tempfile.TemporaryDirectory() as folder:
        command += ["--rootdir", folder, "-rs", "-q", *arguments, "--pyargs", *modules]
        return subprocess.run(command, cwd=folder, env=environment, check=False, **options)


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]).returncode)
