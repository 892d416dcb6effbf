"""The resource pool against a plain model: whom each resource goes to, which is reused, made, closed, and in what order."""

import queue
import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.waiting import until

from orchestrator import ClosedError, ResourcePool, ResourceTimeoutError

WAIT_S = 20


class Spoilt(Exception):
    """What the user's functions raise here."""


class AgainstAModel(RuleBasedStateMachine):
    """`idle`, `out` and `waiting` are the model; resources are the numbers 0, 1, 2 … in the order of their making."""

    @initialize(limit=st.integers(1, 4), on_error=st.sampled_from(["discard", "keep"]))
    def begin(self, limit, on_error):
        self.limit, self.on_error = limit, on_error
        self.made, self.closed, self.bad, self.reused, self.timeouts = 0, [], set(), 0, 0
        self.create_fails = False
        self.idle, self.out, self.waiting = [], {}, []
        self.expected_closed = []
        self.pool = ResourcePool(
            self.create, limit, close=self.closed.append, check=lambda one: one not in self.bad, on_error=on_error
        )
        self.pool_is_closed = False

    def create(self):
        if self.create_fails:
            raise Spoilt
        self.made += 1
        return self.made - 1

    def expected(self):
        """What an acquire that gets a place will get, and None where `create` will raise."""
        made = self.made
        while self.idle:
            one = self.idle.pop()
            if one not in self.bad:
                self.reused += 1
                return one
            self.expected_closed.append(one)
            break  # another is created in its place, not looked for
        return None if self.create_fails else made

    @property
    def full(self):
        return len(self.out) + len(self.idle) >= self.limit

    @rule()
    def acquire_at_once(self):
        if self.pool_is_closed:
            with pytest.raises(ClosedError):
                self.pool.acquire(timeout=0)
        elif self.idle or (not self.full and not self.waiting):
            self.check_taken(self.expected())
        else:
            with pytest.raises(ResourceTimeoutError, match=f"{self.limit} of {self.limit} are taken"):
                self.pool.acquire(timeout=0)
            self.timeouts += 1

    def check_taken(self, expected):
        if expected is None:
            with pytest.raises(Spoilt):
                self.pool.acquire(timeout=0)
            return
        loan = self.pool.acquire(timeout=0)
        assert loan.resource == expected
        self.out[expected] = loan

    @precondition(lambda self: not self.pool_is_closed and not self.idle and len(self.out) == self.limit)
    @rule()
    def wait_in_a_thread(self):
        told = queue.Queue()

        def wait():
            try:
                told.put(self.pool.acquire(timeout=WAIT_S))
            except (ClosedError, Spoilt) as error:
                told.put(error)

        thread = threading.Thread(target=wait)
        thread.start()
        self.waiting.append((thread, told))
        until(lambda: self.pool.stats().waiting == len(self.waiting))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), how=st.sampled_from(["well", "discard", "raise", "by resource"]))
    def give_back(self, data, how):
        one = data.draw(st.sampled_from(sorted(self.out)))
        loan = self.out.pop(one)
        if how == "raise":
            with pytest.raises(Spoilt), loan as resource:
                assert resource == one
                raise Spoilt
        elif how == "by resource":
            self.pool.release(one)
        else:
            loan.release(discard=how == "discard")
        loan.release()  # a second time does nothing
        sound = how in {"well", "by resource"} or (how == "raise" and self.on_error == "keep")
        if self.pool_is_closed or not sound:
            self.expected_closed.append(one)
            self.next_one()
        else:
            self.idle.append(one)
            self.next_one()

    def next_one(self):
        """The first of those who wait has what was given back, or its place; if `create` fails, the next has it."""
        while self.waiting and not self.full | self.pool_is_closed or (self.waiting and self.idle):
            thread, told = self.waiting.pop(0)
            expected = self.expected()
            got = told.get(timeout=WAIT_S)
            thread.join()
            if expected is None:
                assert isinstance(got, Spoilt)
                continue
            # Who was given only a place creates the resource in its own time, so `made` may have been read before.
            assert got.resource in {expected, self.made - 1}
            self.out[got.resource] = got

    @rule(fails=st.booleans())
    def creating_fails_from_now_on(self, fails):
        self.create_fails = fails

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def spoil(self, data):
        self.bad.add(data.draw(st.sampled_from(self.idle)))

    @rule(chance=st.integers(0, 9))
    def close(self, chance):
        if chance:
            return
        self.pool.close()
        self.expected_closed += [] if self.pool_is_closed else self.idle
        self.idle, self.pool_is_closed = [], True
        for thread, told in self.waiting:
            assert isinstance(told.get(timeout=WAIT_S), ClosedError)
            thread.join()
        self.waiting = []

    @invariant()
    def is_as_the_model(self):
        if not hasattr(self, "pool"):
            return
        stats = self.pool.stats()
        assert stats.in_use == len(self.out)
        assert stats.idle == len(self.idle)
        assert stats.waiting == stats.waiting_everywhere == len(self.waiting)
        assert stats.taken_everywhere == len(self.out) + len(self.idle) <= self.limit
        assert (stats.created, stats.reused, stats.timeouts) == (self.made, self.reused, self.timeouts)
        assert stats.discarded == len(self.closed)
        assert self.closed == self.expected_closed

    def teardown(self):
        if not hasattr(self, "pool"):
            return
        self.pool.close()
        for thread, _ in self.waiting:
            thread.join()
        for loan in self.out.values():
            loan.release()
        assert sorted(self.closed) == list(range(self.made))
        self.pool.drain(timeout=WAIT_S)


TestAgainstAModel = AgainstAModel.TestCase
TestAgainstAModel.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
