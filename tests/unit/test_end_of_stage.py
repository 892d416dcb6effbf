"""The node of a barrier with a hook, without a pool."""

import pickle

import pytest

from orchestrator.graph.barrier_hook import EndOfStage
from orchestrator.graph.checkpoints import checkpoint_of, resume
from tests.support.nodes import Bench


class Hook:
    """Stands for what runs in the workers: there at the third look."""

    has_news = True

    def __init__(self):
        self.looks = self.closes = 0
        self.results = ["a", "b"]

    def go_on(self):
        assert not self.closes
        self.looks += 1
        return self.looks == 3


@pytest.fixture
def made():
    """Make a node; the list says what happened, in order."""

    def make(busy=0):
        hook, happened, left = Hook(), [], [busy]
        hook.close = lambda: setattr(hook, "closes", hook.closes + 1)

        def begin(graph):
            assert graph is None
            left[0] -= 1
            if left[0] >= 0:
                return None
            happened.append("begun")
            return hook

        node = EndOfStage("end", begin, lambda: left[0] <= 0, happened.append)
        return node, hook, happened

    return make


@pytest.mark.parametrize("items", [[], [5], list(range(3000))])
def test_the_hook_runs_once_behind_the_last_item_and_before_the_first_goes_on(made, items):
    node, hook, happened = made()
    bench = Bench(node, [items])
    while bench.feeds[0].items:
        bench.turn([1000])
    assert not happened
    assert not node.has_news
    bench.turn([1])  # the end
    assert node.is_waiting
    assert not happened or not bench.drains[0].got
    assert bench.run() == [items]
    assert happened == ["begun", ["a", "b"]]
    assert hook.closes == 1
    assert not node.is_waiting


def test_it_waits_for_another_one_in_the_pool(made):
    node, _, happened = made(busy=2)
    bench = Bench(node, [[1]])
    for _ in range(2):
        bench.turn([1])
    assert not node.has_news
    assert not bench.drains[0].got
    for _ in range(9):
        bench.turn([1])
    assert happened == ["begun", ["a", "b"]]
    assert bench.drains[0].got == [1]


@pytest.mark.parametrize("looks", [1, 3])
def test_a_checkpoint_knows_whether_it_was_through(made, looks):
    node, hook, happened = made()
    first = Bench(node, [[1, 2]])
    first.turn([2])
    first.turn([1])
    while hook.looks < looks:
        first.turn([0])
    state = pickle.loads(pickle.dumps(checkpoint_of(node)))
    node.close()
    assert hook.closes == 1
    again, _, happened = made()
    second = Bench(again, [[]])
    resume(again, state)
    assert [*first.drains[0].got, *second.run()[0]] == [1, 2]
    assert happened == ([] if looks == 3 else ["begun", ["a", "b"]])


def test_nobody_runs_it_for_a_consumer_that_walked_away(made):
    node, hook, happened = made()
    bench = Bench(node, [[1]])
    bench.turn([1])
    node.outlets[0].cancel()
    bench.run()
    assert not happened
    assert not node.is_waiting
    assert not hook.looks
