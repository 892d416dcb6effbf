"""Never more than `size` run at once, and never more than twice as many exist: the real supervisor over fake workers.

Workers finish, die, reach their share of items, get too large, are killed at a deadline and take their time to leave,
while the pool is resized and steps of all workers are under way.
"""

from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.engine.core.credits import Credits
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.protocol.events import Ended
from orchestrator.local import supervisor
from orchestrator.local.transport.in_flight import InFlight
from orchestrator.local.transport.lane import LaneState
from orchestrator.settings import PoolSettings

pick = st.integers(0, 10**6)
MOST = 5


class FakeLane:
    """A worker that is only what the supervisor knows of it, and whether it was told to stop or was killed."""

    def __init__(self, worker_id, key, slot, _settings, *, hears_stderr):
        self.worker_id, self.key, self.slot, self.pid = worker_id, key, slot, 1000 + key
        self.active, self.gated, self.spent, self.ended = True, True, False, None
        self.items_sent = self.moved_ns = 0
        self.stopping_s = float("inf")
        self.taken_back = set()
        self.reader_fd, self.sentinel = 10_000 + 2 * key, 10_001 + 2 * key
        self.state = LaneState.STARTING
        self.drained = True
        self.doomed = False
        self.process = SimpleNamespace(kill=self.kill)

    def __hash__(self):  # so that sets of them have one order in every run
        return self.key

    def __eq__(self, other):
        return self is other

    def kill(self):
        self.doomed = True

    def put(self, _):
        self.doomed = True

    def end(self):
        self.state = LaneState.DEAD
        return 0

    def last_words(self):
        return ""


@pytest.fixture(autouse=True)
def no_processes(monkeypatch):
    monkeypatch.setattr(supervisor, "Lane", FakeLane)
    monkeypatch.setattr(supervisor, "end_group", lambda _: None)
    monkeypatch.setattr(supervisor.worker_process, "look_for_room", lambda: None)


class Coming(RuleBasedStateMachine):
    """What runs is counted here from what was written to the workers, not from what the supervisor thinks of them."""

    @initialize(size=st.integers(1, MOST), share=st.sampled_from([None, 1, 2, 5]))
    def start(self, size, share):
        self.credits = Credits()
        io = SimpleNamespace(add=lambda _: None, remove=lambda _: None, flush=lambda _: None)
        calls = SimpleNamespace(
            slot=lambda _: memoryview(bytearray(64)).cast("Q"), events=lambda _: None, shortest_timeout_s=None
        )
        self.share = share
        in_flight = InFlight(calls)
        self.ledger = in_flight.ledger
        self.supervisor = supervisor.Supervisor(
            PoolSettings(size, "forkserver", None, (), 1 << 20, 3, items_per_worker=share), None, in_flight, self.credits, io
        )
        self.broke = []
        self.step = set()
        self.broken_step = set()
        self.seq = 0
        self.ran = self.existed = 0
        self.supervisor.fill()

    def _note(self, fatal):
        if fatal is not None:
            self.broke.append(fatal)

    # ---- what the coordinator does --------------------------------------------------------------------------------

    def _send(self, worker_id, *, in_step=False, alone=False):
        lane = self.supervisor.lanes[worker_id]
        chunk = Chunk(1, self.seq, [self.seq], self.seq, deaths=int(alone))
        chunk.in_step = in_step
        self.seq += 1
        self.ledger.sent(chunk, lane.key)
        if self.share is not None:
            self._note(self.supervisor.count_sent(lane, 1))

    @rule(depth=st.sampled_from([1, 2, 4]), alone=st.booleans())
    def send(self, depth, alone):
        worker_id = self.credits.take_alone() if alone else self.credits.take(depth)
        if worker_id is not None:
            assert len(self._running()) < self.supervisor.size or self._running_in(self.supervisor.lanes[worker_id])
            self._send(worker_id, alone=alone)

    @rule()
    @precondition(lambda self: not self._left_of_step() and self.supervisor.lanes)
    def step_of_all(self):
        lanes = dict(self.supervisor.lanes)
        self.step, self.broken_step = {lane.key for lane in lanes.values()}, set()
        for worker_id in lanes:
            self.credits.spend(worker_id)
            self._send(worker_id, in_step=True)

    # ---- what workers do ------------------------------------------------------------------------------------------

    def _lanes(self):
        return sorted(self.supervisor.all, key=lambda lane: lane.key)

    def _left_of_step(self):
        """Whether any worker has its part of the last step yet: no other begins before."""
        return any(chunk.in_step for lane in self._lanes() for chunk in self.ledger.list_of(lane.key))

    def _begin(self):
        """Every worker begins with what it holds first, and says so in its slot."""
        for lane in self._lanes():
            first = self.ledger.first_of(lane.key)
            if first is not None and not lane.gated:
                lane.slot[4] = 2 * first.ident + 2

    def _running_in(self, lane):
        first = self.ledger.first_of(lane.key)
        return first is not None and not first.in_step and not lane.gated

    def _running(self):
        return [lane for lane in self._lanes() if self._running_in(lane)]

    def _finish(self, lane):
        chunk = self.ledger.first_of(lane.key)
        self.ledger.done(chunk.ident, lane.key)
        if lane.active:
            self.credits.give_back(lane.worker_id)
        if not self.supervisor.crew.settled:
            self.supervisor.finished(lane)

    @rule(which=pick)
    @precondition(lambda self: self._may_finish())
    def finish(self, which):
        running = self._may_finish()
        self._finish(running[which % len(running)])

    def _may_finish(self):
        steps = [lane for lane in self._lanes() if lane.key in self.broken_step and self.supervisor._steps(lane.key)]
        return self._running() + [lane for lane in steps if not lane.gated]

    def _step_is_full(self):
        at = [lane for lane in self._lanes() if lane.key in self.step and not lane.gated]
        return self.step and len(at) == len(self.step) and all(self.supervisor._steps(lane.key) for lane in at)

    @rule()
    @precondition(_step_is_full)
    def end_step(self):
        lanes = [lane for lane in self._lanes() if lane.key in self.step]
        self.step = set()
        for lane in lanes:
            self._finish(lane)

    @rule(which=pick)
    @precondition(lambda self: self._lanes())
    def get_ready(self, which):
        lane = self._lanes()[which % len(self._lanes())]
        if not lane.doomed:
            self._note(self.supervisor.ready(lane))

    def _die(self, lane):
        if lane.key in self.step:  # its barrier breaks: the others may end their part
            self.broken_step, self.step = self.step, set()
        if lane.state is LaneState.STARTING and not lane.doomed:
            self._note(self.supervisor.ready(lane))  # dying early again and again stops the pool: tested elsewhere
        self._note(self.supervisor.settle_death(lane).fatal)

    @rule(which=pick)
    @precondition(lambda self: self._lanes())
    def die(self, which):
        self._die(self._lanes()[which % len(self._lanes())])

    @rule(which=pick)
    @precondition(lambda self: any(lane.doomed for lane in self._lanes()))
    def leave(self, which):
        doomed = [lane for lane in self._lanes() if lane.doomed and not self.ledger.held_by(lane.key)]
        if doomed:
            self._die(doomed[which % len(doomed)])

    # ---- what is done to them -------------------------------------------------------------------------------------

    @rule(size=st.integers(0, MOST))
    def resize(self, size):
        self._note(self.supervisor.resize(size))

    @rule(which=pick)
    @precondition(lambda self: self.supervisor.lanes)
    def gets_too_large(self, which):
        lanes = list(self.supervisor.lanes.values())
        self._note(self.supervisor.replace(lanes[which % len(lanes)]))

    @rule(which=pick)
    @precondition(lambda self: self._running())
    def misses_a_deadline(self, which):
        running = self._running()
        lane = running[which % len(running)]
        lane.ended = Ended("timeout", self.ledger.first_of(lane.key).ident, 0, 1.0)
        self._die(lane)

    def _bound_to_run(self):
        """Those too that were sent something behind their part of a step: here no chunk can be taken back."""
        held = {lane: self.ledger.list_of(lane.key) for lane in self._lanes() if not lane.gated}
        return [lane for lane, chunks in held.items() if not all(chunk.in_step for chunk in chunks)]

    # ---- what holds -----------------------------------------------------------------------------------------------

    @invariant()
    def no_more_run_than_are_wanted(self):
        """After a shrink more may run, and fewer and fewer do."""
        self._begin()
        running = len(self._running())
        assert running <= max(self.supervisor.size, self.ran)
        self.ran = len(self._bound_to_run())

    @invariant()
    def no_more_exist_than_twice_as_many(self):
        there = len(self._lanes())
        assert there <= max(2 * self.supervisor.size, self.existed)
        self.existed = there

    @invariant()
    def nothing_is_broken(self):
        assert not self.broke

    def teardown(self):
        """However it got here, all workers come, and all that was sent is run."""
        if not hasattr(self, "supervisor"):
            return
        self._note(self.supervisor.resize(MOST))
        for _ in range(10_000):
            if self._step_is_full():
                self.end_step()
            elif self._may_finish():
                self.finish(0)
            elif any(lane.doomed for lane in self._lanes()):
                self.leave(0)
            else:
                break
            self.no_more_run_than_are_wanted()
            self.no_more_exist_than_twice_as_many()
        assert len(self.ledger) == 0
        assert not self.supervisor.leaving
        assert sorted(self.supervisor.lanes) == list(range(MOST))
        assert self.credits.room(3) == 3 * MOST


@pytest.mark.usefixtures("no_processes")
class TestComing(Coming.TestCase):
    settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
