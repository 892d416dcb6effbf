"""Failures on their way past a stage: whatever the cutting and the delays, each keeps its place, after a resume too."""

import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.protocol.counts import StageCounts
from orchestrator.engine.recovery.delivery import Delivery
from orchestrator.engine.recovery.item_errors import Failure
from orchestrator.errors import ItemError
from orchestrator.graph.checkpoints import checkpoint_of, resume
from orchestrator.graph.stage_node import MapNode
from tests.support.nodes import Drain


class LazyStage:
    """A stage that gives back what it was sent, in order, when the test says so."""

    ordered = True
    is_ready = False
    events = ()
    dead_letters = None

    def __init__(self):
        self.counts = StageCounts()
        self.sent, self.done, self.chunk_items = [], [], 3

    def tell_split(self, on_split):
        pass

    def wants_room(self, *, source_ended=False):
        return len(self.sent) < 4

    @property
    def wanted_items(self):
        return self.chunk_items

    def room(self):
        return self.chunk_items if len(self.sent) < 4 else 0

    def submit(self, items, first_index):
        assert not any(isinstance(item, Failure) for item in items)
        self.sent.append((first_index, items))

    def send(self):
        pass

    @property
    def outstanding(self):
        return len(self.sent) + len(self.done)

    def finish(self, chunks):
        self.done += self.sent[:chunks]
        del self.sent[:chunks]

    def take(self):
        if not self.done:
            return None
        first, items = self.done.pop(0)
        return Delivery([each for item in items for each in [item] * (item % 3)], None, len(items), first, 10)


class Upstream:
    cancelled = False
    items = 0


def made(got):
    node = MapNode("stage", LazyStage)
    node.set_up(None)
    node.inlets[0] = Upstream()
    node.outlets[0].to(got)
    return node


def named(item):
    return f"F{item.item}" if isinstance(item, Failure) else item


items = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60)
moves = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 9), st.booleans()), max_size=40)


@given(items=items, moves=moves)
@settings(max_examples=300, deadline=None)
def test_every_failure_keeps_its_place(items, moves):
    error = ItemError("no good")
    came = [Failure(value, 0, error) if failed else value for failed, value in items]
    wanted = [each for failed, value in items for each in ([f"F{value}"] if failed else [value] * (value % 3))]
    drain = Drain()
    node = made(drain)
    left = list(came)
    for pushed, finished, room, again in [*moves, *[(9, 9, 9, False)] * 70]:
        drain.left = room
        taken = min(pushed, max(0, node.capacity(0)), len(left))
        if taken:
            node.receive(left[:taken], 0)
            del left[:taken]
        elif not left and not node.ended[0]:
            node.end(0)
        node.stage.finish(finished)
        node.feed()
        node.pump()
        if again:  # in another process
            state, got = pickle.loads(pickle.dumps(checkpoint_of(node))), drain.got
            over, drain = drain.over, Drain()
            drain.got, drain.over = got, over
            node = made(drain)
            resume(node, state)
    assert [named(each) for each in drain.got] == wanted
    assert drain.over == 1
