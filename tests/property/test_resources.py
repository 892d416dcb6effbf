"""The resource pool within one process against a model: who gets a place, what is closed, and that a drain ends."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator import ClosedError, ResourcePool, ResourceTimeoutError


class ResourceModel(RuleBasedStateMachine):
    """One thread takes and gives back, in any order; the model counts."""

    def __init__(self):
        super().__init__()
        self.made = []
        self.closed_ones = []
        self.limit = 2
        self.pool = ResourcePool(self._make, self.limit, close=self.closed_ones.append)
        self.out = []
        self.closed = False

    def _make(self):
        self.made.append(object())
        return self.made[-1]

    @rule()
    def acquire(self):
        if self.closed:
            with pytest.raises(ClosedError):
                self.pool.acquire(timeout=0)
        elif len(self.out) == self.limit:
            with pytest.raises(ResourceTimeoutError):
                self.pool.acquire(timeout=0)
        else:
            loan = self.pool.acquire(timeout=0)
            assert loan.resource not in [other.resource for other in self.out]
            self.out.append(loan)

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 10))
    def release(self, which):
        self.out.pop(which % len(self.out)).release()

    @rule()
    def close(self):
        self.pool.close()
        self.closed = True

    @rule()
    def drain(self):
        self.closed = True
        if self.out:
            with pytest.raises(ResourceTimeoutError):
                self.pool.drain(timeout=0)
        else:
            self.pool.drain(timeout=5)  # nothing is out: there is nothing to wait for

    @invariant()
    def nothing_is_lost(self):
        there = [loan.resource for loan in self.out]
        idle = [one for one in self.made if one not in there and one not in self.closed_ones]
        assert len(there) + len(idle) <= self.limit
        assert not (self.closed and idle)

    def teardown(self):
        while self.out:
            self.out.pop().release()
        self.pool.drain(timeout=5)
        assert len(self.closed_ones) == len(self.made)


ResourceModel.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestResourceModel = ResourceModel.TestCase
