"""The test suites of other pools, run with our fronts in the place of their classes."""
