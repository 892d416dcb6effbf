"""Run CPython's tests with our executor: `scripts/peers`, or `scripts/peers Spawn` for one start method."""

import argparse
import sys
import unittest

from tests.peers import cpython


def main():
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/peers", description=__doc__)
    parser.add_argument("kind", nargs="*", help=f"start methods, of {', '.join(cpython.KINDS)}; all by default")
    parser.add_argument("--parts", nargs="+", default=cpython.PARTS, help="modules of CPython's tests (default: all)")
    chosen = parser.parse_args()
    if lacking := cpython.missing():
        parser.exit(1, f"scripts/peers: {lacking}; name one that does with PYTHON=/path/to/python\n")
    tests = cpython.suite(chosen.kind or cpython.KINDS, chosen.parts)
    return not unittest.TextTestRunner(verbosity=2).run(tests).wasSuccessful()


if __name__ == "__main__":
    sys.exit(main())
