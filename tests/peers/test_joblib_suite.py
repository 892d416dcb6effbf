"""A short choice of joblib's own tests passes with our backend in loky's place; `tests.peers.joblib_suite` runs all."""

import pytest

from tests.peers import joblib_suite

CHOSEN = (
    "loky and (test_auto_memmap_on_arrays_from_generator or test_nested_loop or test_parallel_timeout_fail or test_error_in_task"
    " or test_dispatch_multiprocessing or test_deadlock_with_generator or test_nested_exception_dispatch)"
    " or test_parallel_pickling or test_globals_update_at_each_parallel_call or test_nested_parallel_warnings"
)


@pytest.mark.skipif(joblib_suite.missing() != "", reason=joblib_suite.missing())
def test_joblibs_tests_of_parallel():
    """Errors, timeouts, generators, arrays and nesting are as with loky."""
    done = joblib_suite.run("-k", CHOSEN, parts=["test_parallel"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "passed" in done.stdout
