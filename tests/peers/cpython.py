"""CPython's own tests of `ProcessPoolExecutor`, with ours in its place.

`python -m tests.peers` runs them in the interpreter that it is started with, if that ships them; not all do.
"""

import importlib
import importlib.util
import os
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = "test.test_concurrent_futures"
PARTS = ("test_as_completed", "test_deadlock", "test_init", "test_process_pool", "test_shutdown", "test_wait")
KINDS = ("Fork", "Forkserver", "Spawn")
OURS = "from orchestrator.fronts.executor import ProcessPoolExecutor"

_PROCESSES = "reads `_processes`, which ours has not: its workers are those of a pool"
_INTERNALS = "reads or patches the threads and queues within theirs"
SKIPPED = {
    "test_killed_child": _PROCESSES,
    "test_saturation": _PROCESSES,
    "test_idle_process_reuse_one": _PROCESSES,
    "test_idle_process_reuse_multiple": _PROCESSES,
    "test_max_tasks_per_child": _PROCESSES,
    "test_processes_terminate": _PROCESSES,
    "test_context_manager_shutdown": _PROCESSES,
    "test_del_shutdown": _INTERNALS,
    "test_shutdown_no_wait": _INTERNALS,
    "test_shutdown_deadlock_pickle": _INTERNALS,
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": _INTERNALS,
    "test_python_finalization_error": _INTERNALS,
    "test_hang_gh83386": "its script uses `multiprocessing` without importing it",
}
"""Names of tests, and why they can't be run with another class."""


def missing():
    """Say what the interpreter lacks, or return an empty text."""
    try:
        found = importlib.util.find_spec(HOME)
    except ImportError:
        found = None
    return "" if found else f"this interpreter ships no {HOME}"


def suite(kinds, parts=PARTS):
    """Return CPython's tests with our executor, for these start methods."""
    from orchestrator import Executor

    home = importlib.import_module(HOME)
    modules = [importlib.import_module(f"{HOME}.{part}") for part in parts] if hasattr(home, "__path__") else [home]
    util = importlib.import_module(f"{HOME}.util") if hasattr(home, "__path__") else home
    mixins = tuple(getattr(util, f"ProcessPool{kind}Mixin") for kind in kinds)
    for mixin in mixins:
        mixin.executor_type = Executor
    found = unittest.TestSuite()
    for part in modules:
        _run_scripts_with_ours(part)
        for case in list(vars(part).values()):
            if isinstance(case, type) and issubclass(case, unittest.TestCase) and issubclass(case, mixins):
                _skip(case)
                found.addTest(unittest.defaultTestLoader.loadTestsFromTestCase(case))
    return found


def _skip(case):
    for name in SKIPPED.keys() & set(dir(case)):
        setattr(case, name, unittest.skip(SKIPPED[name])(getattr(case, name)))


def _run_scripts_with_ours(part):
    """Have the scripts that a test runs import our class, and find our packages."""
    theirs = getattr(part, "assert_python_ok", None)
    if theirs is None:
        return

    def run(flag, script, **environment):
        ours = script.replace("from concurrent.futures import ProcessPoolExecutor", OURS)
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        return theirs(flag, ours, PYTHONPATH=path, __isolated=False, **environment)

    part.assert_python_ok = run
