"""Ledger, credits, reorder buffer and retry policy together, against a loop that simply runs one item after another.

The machine does what the coordinator and a stage do between them, with workers that are only numbers: they finish
in any order, die at any moment, and are put back or not.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.engine.core.credits import Credits
from orchestrator.engine.core.ledger import Chunk, ChunkState, Ledger
from orchestrator.engine.core.reorder import ReorderBuffer
from orchestrator.engine.core.retry import RetryPolicy, Verdict

MAX_DEATHS = 3
GIVEN_UP = "given up"
pick = st.integers(0, 10**6)


def function(item):
    return item * item + 1


class Dispatch(RuleBasedStateMachine):
    """What is held twice, by the code and by the model, must stay the same."""

    @initialize(lanes=st.integers(1, 4), ordered=st.booleans())
    def start(self, lanes, ordered):
        self.ledger, self.credits = Ledger(), Credits()
        self.reorder = ReorderBuffer(ordered=ordered)
        self.policy = RetryPolicy(max_deaths=MAX_DEATHS)
        self.ordered = ordered
        self.held = {}  # lane -> chunks in it, in the order of sending
        self.reserved = set()
        self.again = []  # to be sent again, alone
        self.cut = 0  # items
        self.next_seq = 0
        self.next_lane = 0
        self.settled = []  # what each seq must give, in the order of completion
        self.delivered = []
        self.expected = {}
        for _ in range(lanes):
            self.add_lane()

    @rule()
    @precondition(lambda self: len(self.held) < 6)
    def add_lane(self):
        self.ledger.open_lane(self.next_lane)
        self.credits.add_lane(self.next_lane)
        self.held[self.next_lane] = []
        self.next_lane += 1

    @rule(items=st.integers(1, 5), depth=st.sampled_from([1, 2, 3, 64]))
    def send(self, items, depth):
        room = self.credits.room(depth)
        assert room == sum(
            max(0, depth - len(chunks)) for lane, chunks in self.held.items() if lane not in self.reserved
        )
        lane = self.credits.take(depth)
        assert (lane is None) == (room == 0)
        if lane is None:
            return
        assert lane not in self.reserved
        assert len(self.held[lane]) < depth
        self._enter(self._cut(items), lane)

    @rule(which=pick)
    @precondition(lambda self: len(self.held) > len(self.reserved))
    def send_to(self, which):
        """Down one lane, whatever that holds."""
        lanes = [lane for lane in self.held if lane not in self.reserved]
        lane = lanes[which % len(lanes)]
        self.credits.spend(lane)
        self._enter(self._cut(1), lane)

    @rule()
    @precondition(lambda self: self.again)
    def send_again(self):
        lane = self.credits.take_alone()
        free = [lane for lane, chunks in self.held.items() if not chunks]
        assert (lane is None) == (not free)
        if lane is not None:
            assert lane in free
            self.reserved.add(lane)
            self._enter(self.again.pop(0), lane)

    @rule(which=pick, place=pick)
    @precondition(lambda self: len(self.ledger))
    def complete(self, which, place):
        busy = [lane for lane, chunks in self.held.items() if chunks]
        lane = busy[which % len(busy)]
        chunk = self.held[lane].pop(place % len(self.held[lane]))
        assert self.ledger.done(chunk.ident, lane) is chunk
        self.credits.give_back(lane)
        self.reserved.discard(lane)
        self._settle(chunk, [function(i) for i in chunk.items])

    @rule(which=pick)
    @precondition(lambda self: self.held)
    def lane_dies(self, which):
        lane = list(self.held)[which % len(self.held)]
        self.credits.remove_lane(lane)
        lost = self.ledger.close_lane(lane)
        assert lost == self.held.pop(lane)
        self.reserved.discard(lane)
        for chunk in lost:
            assert chunk.state is ChunkState.LOST
            chunk.deaths += 1
            if self.policy.after_death(chunk.deaths, single=True) is Verdict.GIVE_UP:
                assert chunk.deaths >= MAX_DEATHS
                self.expected[chunk.seq] = GIVEN_UP
                self._settle(chunk, GIVEN_UP)
            else:
                self.again.append(Chunk(1, chunk.seq, chunk.items, chunk.first_index, deaths=chunk.deaths))
                assert self.again[-1].alone

    @rule(most=st.integers(1, 5))
    def consume(self, most):
        for _ in range(most):
            if (done := self.reorder.pop()) is None:
                break
            self.delivered.append(done)

    def _cut(self, items):
        chunk = Chunk(1, self.next_seq, list(range(self.cut, self.cut + items)), self.cut)
        self.expected[chunk.seq] = [function(i) for i in chunk.items]
        self.next_seq += 1
        self.cut += items
        return chunk

    def _enter(self, chunk, lane):
        ident = self.ledger.sent(chunk, lane)
        assert ident not in [c.ident for chunks in self.held.values() for c in chunks]
        self.held[lane].append(chunk)

    def _settle(self, chunk, outcome):
        self.settled.append((chunk.seq, outcome))
        self.reorder.put(chunk.seq, (chunk.seq, outcome))

    @invariant()
    def both_count_the_same(self):
        assert len(self.ledger) == sum(map(len, self.held.values()))
        assert all(self.ledger.held_by(lane) == len(chunks) for lane, chunks in self.held.items())
        assert len(self.reorder) == len(self.settled) - len(self.delivered)

    @invariant()
    def no_chunk_is_lost_or_doubled(self):
        places = [c.seq for chunks in self.held.values() for c in chunks]
        places += [c.seq for c in self.again]
        places += [seq for seq, _ in self.settled]
        assert sorted(places) == list(range(self.next_seq))

    @invariant()
    def a_suspect_is_alone(self):
        assert all(len(self.held[lane]) == 1 for lane in self.reserved)
        for chunks in self.held.values():
            assert len(chunks) == 1 or not any(chunk.alone for chunk in chunks)

    @invariant()
    def what_was_delivered_is_right(self):
        if self.ordered:
            assert self.delivered == [(seq, self.expected[seq]) for seq in range(len(self.delivered))]
        else:
            assert self.delivered == self.settled[: len(self.delivered)]

    def teardown(self):
        """However it got here, it can be finished, and gives what the loop gives."""
        if not hasattr(self, "held"):
            return
        if not self.held:
            self.add_lane()
        while len(self.ledger) or self.again:
            if len(self.ledger):
                self.complete(0, 0)
            if self.again:
                self.send_again()
            self.a_suspect_is_alone()
        self.consume(len(self.settled))
        self.both_count_the_same()
        self.what_was_delivered_is_right()
        assert sorted(seq for seq, _ in self.delivered) == list(range(self.next_seq))
        items = [r for _, outcome in sorted(self.delivered, key=lambda d: d[0]) if outcome != GIVEN_UP for r in outcome]
        if GIVEN_UP not in self.expected.values():
            assert items == [function(i) for i in range(self.cut)]
        assert self.credits.room(1) == len(self.held)


TestDispatch = Dispatch.TestCase
TestDispatch.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
