"""What tests of one module share."""

import pytest

from workers.functions.columns import slices


class Clock:
    """Time that passes only where the function takes it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """The clock of slices."""
    clock = Clock()
    monkeypatch.setattr(slices, "perf_counter", clock)
    return clock
