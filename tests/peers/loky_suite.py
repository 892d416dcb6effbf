"""loky's own tests of its executor, with ours in its place: `python -m tests.peers.loky_suite [arguments of pytest]`.

No wheel carries them: the source is downloaded from the package index, or is in the folder that LOKY_SOURCE names.
"""

import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from tests.peers.cpython import ROOT

PARTS = ("spawn", "forkserver", "loky")
_PROCESSES = "reads `_processes`, which ours has not: its workers are those of a pool"
_INTERNALS = "reads or patches the threads and queues within theirs"
_OPTIONS = "has an option that the standard library's executor, and ours, has not"
SKIPPED = {
    "test_processes_terminate": _PROCESSES,
    "test_processes_terminate_on_executor_gc": _PROCESSES,
    "test_processes_crash_handling_after_executor_gc": _PROCESSES,
    "test_context_manager_shutdown": _PROCESSES,
    "test_killed_child": _PROCESSES,
    "test_killed_child_with_cancelled_work_items": _INTERNALS,
    "test_del_shutdown": _INTERNALS,
    "test_shutdown_no_wait": _INTERNALS,
    "test_shutdown_deadlock_pickle": _INTERNALS,
    "test_manager_thread_crash_breaks_executor": _INTERNALS,
    "test_feeder_error_hook_crash_breaks_executor": _INTERNALS,
    "test_worker_timeout": f"{_OPTIONS}: timeout",
    "test_serialization": f"{_OPTIONS}: job_reducers, result_reducers",
    "test_child_env_executor": f"{_OPTIONS}: env, which is one of `Pool`",
    "test_max_depth": "wants pools within pools to end at a depth of ten: ours don't",
    "test_memory_leak_protection": "wants a worker replaced that grew by 100 MB: ours has `Pool(memory_limit=...)`",
    "test_reference_cycle_collection": "wants workers to collect garbage each second: ours leave that to Python",
    "test_shutdown_with_sys_exit_at_pickle": "exits while it is pickled, which ours does in the caller's thread: so the caller exits",
    "test_exited_child": "looks for loky's words, EXIT(42): ours are `exited with code 42`",
    "test_no_failure_on_large_data_send": "takes 2.2 GB three times over",
}
"""Names of tests, and why they can't be run with our executor."""


def missing():
    """Say what is not installed, or return an empty text."""
    return "" if importlib.util.find_spec("loky") else "loky is not installed"


def pytest_collection_modifyitems(items):
    """Skip these tests; this module is a plugin of the pytest that runs them."""
    for item in items:
        if (reason := SKIPPED.get(item.name.partition("[")[0])) is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
    mixin = sys.modules["loky_tests._executor_mixin"]
    mixin._check_subprocesses_number = lambda *_, **__: None  # counts theirs; ours come with the calls
    mixin.ExecutorMixin.check_no_running_workers = lambda *_, **__: None
    theirs = sys.modules["loky_tests._test_process_executor"]
    run_script = sys.modules["loky_tests.utils"].check_subprocess_call
    theirs.check_subprocess_call = lambda command, **options: run_script(
        [each.replace("from tests.", "from loky_tests.") for each in command], **options
    )


def source(folder):
    """Return the folder of loky's source, downloaded for the version that is installed."""
    if (given := os.environ.get("LOKY_SOURCE")) is not None:
        return Path(given)
    import loky

    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", folder]
    subprocess.run([*download, f"loky=={loky.__version__}"], check=True)
    with tarfile.open(next(Path(folder).glob("loky-*.tar.gz"))) as packed:
        packed.extractall(folder, filter="data")
    return next(each for each in Path(folder).glob("loky-*") if each.is_dir())


def run(*arguments, **options):
    """Run the tests in a process of their own, away from our configuration of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "loky_tests")  # not `tests`, as ours are
        place.symlink_to(source(folder).resolve() / "tests")
        paths = [ROOT / "tests/peers/loky_in_place", folder, ROOT, os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        command = [sys.executable, "-m", "pytest", "-p", "tests.peers.loky_suite", "-p", "no:cacheprovider"]
        command += ["-c", os.devnull, "--rootdir", folder, "--loky-verbosity", "30", "-rs", "-q", *arguments]
        command += [f"loky_tests/test_process_executor_{part}.py" for part in PARTS]
        return subprocess.run(command, cwd=folder, env=environment, check=False, **options)


if __name__ == "__main__":
    sys.exit(missing() or run(*sys.argv[1:]).returncode)
