"""CPython's own tests of `multiprocessing.Pool`, with ours in its place: `python -m tests.peers.cpython_pools METHOD`."""

import importlib.util
import multiprocessing
import sys
import unittest

from orchestrator.fronts.multiprocessing import Pool

HOME = "test._test_multiprocessing"
SKIPPED = {
    "test_make_pool": "reads `_pool`, the processes",
    "test_pool_worker_lifetime": "reads `_pool`, the processes",
    "test_resource_warning": "sets `_state`",
    "test_unpickleable_result": "the result is a lambda, which ours can send",
}
"""Names of tests, and why they can't be run with another class."""


def missing():
    """Say what the interpreter lacks, or return an empty text."""
    return "" if importlib.util.find_spec(HOME) else f"this interpreter ships no {HOME}"


def make(*args, **kwargs):
    """Make our pool by the start method of the context that tests run in."""
    return Pool(*args, context=multiprocessing.get_context(), **kwargs)


class Theirs:
    """The module `multiprocessing`, but for its pool."""

    Pool = staticmethod(make)

    def __getattr__(self, name):
        return getattr(multiprocessing, name)


def cases():
    """Return their test cases over our pool."""
    theirs = importlib.import_module(HOME)
    theirs.multiprocessing = Theirs()
    mixin = type("Mixin", (theirs.ProcessesMixin,), {"Pool": staticmethod(make)})
    for name in ("_TestPool", "_TestPoolWorkerErrors", "_TestPoolWorkerLifetime"):
        made = type(name[1:], (getattr(theirs, name), mixin, unittest.TestCase), {"__module__": __name__})
        for skipped in SKIPPED.keys() & set(dir(made)):
            setattr(made, skipped, unittest.skip(SKIPPED[skipped])(getattr(made, skipped)))
        yield made


def main(method):
    """Run them; return the exit code."""
    multiprocessing.set_start_method(method, force=True)
    found = [unittest.defaultTestLoader.loadTestsFromTestCase(case) for case in (TestPool, TestPoolWorkerErrors, TestPoolWorkerLifetime)]
    return not unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(found)).wasSuccessful()


if not missing():
    TestPool, TestPoolWorkerErrors, TestPoolWorkerLifetime = cases()
if __name__ == "__main__":
    from tests.peers import cpython_pools  # the module that workers know by its name

    sys.exit(cpython_pools.main(sys.argv[1]))
