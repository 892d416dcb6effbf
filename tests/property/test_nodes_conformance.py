"""Every node, by the same rules: what it gives doesn't depend on how the items were cut, who reads, or how fast.

To enter a node: add a `Case` to `CASES`.
"""

import heapq
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count, takewhile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.aggregates import collect_of, first_of, sum_of
from orchestrator.aggregates import count as count_of
from orchestrator.errors import ItemError
from orchestrator.graph.barrier import BarrierNode
from orchestrator.graph.flow.node import ROOM, NodeError
from orchestrator.graph.sources import BlockingSource, SourceNode
from orchestrator.sinks.given import GivenSink
from orchestrator.streams.patterns.gathered.grouping import GroupMerge
from orchestrator.streams.patterns.gathered.sorting import SortMerge
from orchestrator.streams.patterns.inline import FilterInline, FlatMapInline, MapInline
from orchestrator.streams.patterns.joining import Join
from orchestrator.streams.patterns.merging import Concat, InStep, Merge, Multiplex, PriorityMerge
from orchestrator.streams.patterns.picking import Distinct, Enumerate, Skip, Take, TakeWhile, Top
from orchestrator.streams.patterns.sorted_merging import MergeSorted
from orchestrator.streams.patterns.splitting import Broadcast, Demultiplex, Route, Tee
from orchestrator.streams.patterns.timed.pacing import Throttle
from orchestrator.streams.patterns.timed.sessions import SessionWindow
from orchestrator.streams.patterns.timed.windows import CountWindow, TimeWindow
from tests.support.nodes import Bench, Drain, SideSink, side_sink
from tests.support.waiting import until
from workers.functions.aggregates.grouping import Grouping
from workers.functions.aggregates.sorting import Sorting

DOWN = "the greatest first"


def arranged(case, items):
    """The items as a case wants them."""
    return sorted(items, reverse=case.sorts == DOWN) if case.sorts else items


def fussy(item):
    """The user function of every case: item 13 is bad luck."""
    if item == 13:
        raise LookupError(item)
    return item


@dataclass(frozen=True)
class Case:
    """How to make a node, and the sequential model: lists of the inputs -> lists of the outlets."""

    make: Callable[..., Any]  # (sink) -> node; the sink is for nodes that write aside
    model: Callable[..., list]
    inputs: int = 1
    interleaves: bool = False  # compare as multisets: the order depends on who comes first
    calls: bool = True  # calls `fussy` for each item
    sorts: bool | str = False  # wants sorted inputs
    aside: bool = False  # closes the sink
    bounded: bool = True  # holds or reads no more than its consumer wants


def windows(items, size, step, partial):
    cut = [items[k : k + size] for k in range(0, len(items), step)]
    return [each for each in cut if partial or len(each) == size]


def time_windows(items, length, step):
    found = {}
    for item in items:
        for k in range((item - length) // step, item // step + 1):
            if k * step <= item < k * step + length:
                found.setdefault(k, []).append(item)
    return [(k * step, k * step + length, found[k]) for k in sorted(found)]


def in_step(*inputs):
    longest = max(map(len, inputs), default=0)
    return [tuple(each[k] if k < len(each) else None for each in inputs) for k in range(longest)]


def outer_join(left, right, *, many):
    pairs, free, matched = [], list(right), set()
    for item in left:
        mates = [k for k, other in enumerate(right) if other == item] if many else []
        if many and mates:
            matched.update(mates)
            pairs += [(item, right[k]) for k in mates]
        elif not many and item in free:
            free.remove(item)
            pairs.append((item, item))
        else:
            pairs.append((item, None))
    rest = [other for k, other in enumerate(right) if k not in matched] if many else free
    return pairs + [(None, other) for other in rest]


class ChunkByChunk:
    """A gathering node that is given items, of which it makes what a worker would make of each list."""

    def __init__(self, function, **options):
        self.function = function
        super().__init__(**options)

    def take_in(self, items):
        parts = items and not isinstance(items[0], int)
        super().take_in(items if parts or not items else [self.function.together(rows_of(self.function, items))[0]])


def rows_of(function, items):
    return [tuple(item if column is None else column(item) for column in function.columns) for item in items]


class Groups(ChunkByChunk, GroupMerge):
    """By the remainder: count, sum, first and list."""

    def __init__(self, memory):
        made = {"n": count_of(), "sum": sum_of(), "first": first_of(), "all": collect_of()}
        grouping = Grouping(lambda i: i % 7, made.values())
        super().__init__(grouping, labels=tuple(made.items()), row=lambda key, found: (key, *found), memory=memory)


class Sorts(ChunkByChunk, SortMerge):
    """By the remainder."""

    def __init__(self, memory, *, reverse):
        super().__init__(Sorting(lambda i: i % 7, reverse=reverse), reverse=reverse, memory=memory)


def groups(items):
    found = {}
    for item in items:
        found.setdefault(item % 7, []).append(item)
    return [(key, len(some), sum(some), some[0], some) for key, some in found.items()]


def sessions(items, gap):
    found = []
    for item in sorted(items):
        if found and item < found[-1][1]:
            found[-1][1] = item + gap
        else:
            found.append([item, item + gap])
    return [(start, end, [i for i in items if start <= i < end]) for start, end in found]


def split(items, **named):
    return [[item for item in items if keep(item)] for keep in named.values()]


CASES = {
    "barrier": Case(lambda _: BarrierNode("barrier"), lambda a: [a], calls=False),
    "map": Case(lambda _: MapInline(lambda i: fussy(i) * 2), lambda a: [[i * 2 for i in a]]),
    "filter": Case(lambda _: FilterInline(lambda i: fussy(i) % 3), lambda a: [[i for i in a if i % 3]]),
    "flat_map": Case(
        lambda _: FlatMapInline(lambda i: [fussy(i)] * (i % 3)), lambda a: [[i for i in a for _ in range(i % 3)]]
    ),
    "merge": Case(lambda _: Merge(3), lambda *a: [[i for each in a for i in each]], 3, interleaves=True, calls=False),
    "multiplex": Case(
        lambda _: Multiplex("ab"),
        lambda a, b: [[("a", i) for i in a] + [("b", i) for i in b]],
        2,
        interleaves=True,
        calls=False,
    ),
    "priority": Case(lambda _: PriorityMerge([1, 5]), lambda a, b: [a + b], 2, interleaves=True, calls=False),
    "ageing": Case(lambda _: PriorityMerge([1, 5], ageing=2), lambda a, b: [a + b], 2, interleaves=True, calls=False),
    "sorted": Case(lambda _: MergeSorted(3), lambda *a: [list(heapq.merge(*a))], 3, calls=False, sorts=True),
    "sorted by key": Case(
        lambda _: MergeSorted(3, key=lambda i: fussy(i) // 4),
        lambda *a: [list(heapq.merge(*a, key=lambda i: i // 4))],
        3,
        sorts=True,
    ),
    "in step": Case(lambda _: InStep(3), lambda *a: [in_step(*a)], 3, calls=False),
    "broadcast": Case(lambda _: Broadcast(3), lambda a: [a, a, a], calls=False),
    "route all": Case(
        lambda _: Route({"even": lambda i: fussy(i) % 2 == 0, "third": lambda i: i % 3 == 0}),
        lambda a: split(a, x=lambda i: i % 2 == 0, y=lambda i: i % 3 == 0, z=lambda i: i % 2 and i % 3),
    ),
    "route first": Case(
        lambda _: Route({"even": lambda i: fussy(i) % 2 == 0, "third": lambda i: i % 3 == 0}, match="first"),
        lambda a: split(a, x=lambda i: i % 2 == 0, y=lambda i: i % 2 and i % 3 == 0, z=lambda i: i % 2 and i % 3),
    ),
    "demultiplex": Case(
        lambda _: Demultiplex(lambda i: fussy(i) % 3, [0, 1], unknown="default"),
        lambda a: split(a, x=lambda i: i % 3 == 0, y=lambda i: i % 3 == 1, z=lambda i: i % 3 == 2),
    ),
    "demultiplex create": Case(
        lambda sink: Demultiplex(lambda i: fussy(i) is None, make=lambda _: sink), lambda _: [], aside=True
    ),
    "tee": Case(Tee, lambda a: [a], calls=False, aside=True),
    "window": Case(lambda _: CountWindow(3, 2), lambda a: [windows(a, 3, 2, True)], calls=False),
    "window full": Case(
        lambda _: CountWindow(4, 1, partial=False), lambda a: [windows(a, 4, 1, False)], calls=False
    ),
    "window gaps": Case(lambda _: CountWindow(2, 5), lambda a: [windows(a, 2, 5, True)], calls=False),
    "window by time": Case(
        lambda sink: TimeWindow(5, fussy, step_s=2, lateness_s=1000, late=sink),
        lambda a: [time_windows(a, 5, 2)],
        aside=True,
    ),
    **{
        f"join {'many' if many else 'one'} {overflow}": Case(
            lambda sink, many=many, overflow=overflow: Join(
                fussy, how="full", many=many, unmatched=sink, max_items=3 if overflow == "spill" else None,
                overflow=overflow,
            ),
            lambda a, b, many=many: [outer_join(a, b, many=many)],
            2,
            interleaves=True,
            aside=True,
        )
        for many in (False, True)
        for overflow in ("error", "spill")
    },
    "take": Case(lambda _: Take(5), lambda a: [a[:5]], calls=False, bounded=False),
    "take none": Case(lambda _: Take(0), lambda a: [[]], calls=False, bounded=False),
    "take many": Case(lambda _: Take(19_000), lambda a: [a[:19_000]], calls=False),
    "take while": Case(
        lambda _: TakeWhile(lambda i: fussy(i) < 30), lambda a: [list(takewhile(lambda i: i < 30, a))], bounded=False
    ),
    "skip": Case(lambda _: Skip(3), lambda a: [a[3:]], calls=False),
    "distinct": Case(lambda _: Distinct(), lambda a: [list(dict.fromkeys(a))], calls=False, bounded=False),
    "distinct by key": Case(
        lambda _: Distinct(lambda i: fussy(i) % 7),
        lambda a: [[i for k, i in enumerate(a) if i % 7 not in {j % 7 for j in a[:k]}]],
        bounded=False,
    ),
    "enumerate": Case(lambda _: Enumerate(2), lambda a: [list(enumerate(a, 2))], calls=False),
    "top": Case(
        lambda _: Top(4, lambda i: fussy(i) // 4),
        lambda a: [sorted(a, key=lambda i: i // 4, reverse=True)[:4]],
        bounded=False,
    ),
    "top smallest": Case(
        lambda _: Top(4, lambda i: fussy(i) // 4, smallest=True),
        lambda a: [sorted(a, key=lambda i: i // 4)[:4]],
        bounded=False,
    ),
    "throttle": Case(lambda _: Throttle(3, clock=count(0, 0.25).__next__), lambda a: [a], calls=False),
    "concat": Case(lambda _: Concat("concat", inputs=3), lambda *a: [list(chain(*a))], 3, calls=False),
    "in step shortest": Case(
        lambda _: InStep(3, strict="shortest"), lambda *a: [list(zip(*a, strict=False))], 3, calls=False
    ),
    "sorted reverse": Case(
        lambda _: MergeSorted(2, reverse=True), lambda *a: [list(heapq.merge(*a, reverse=True))], 2, calls=False,
        sorts=DOWN,
    ),
    "sorted reverse by key": Case(
        lambda _: MergeSorted(2, key=lambda i: fussy(i) // 4, reverse=True),
        lambda *a: [list(heapq.merge(*a, key=lambda i: i // 4, reverse=True))],
        2,
        calls=False,
        sorts=DOWN,
    ),
    "batch": Case(lambda _: CountWindow(3, 3), lambda a: [windows(a, 3, 3, True)], calls=False),
    "window by session": Case(
        lambda sink: SessionWindow(3, fussy, lateness_s=1000, late=sink),
        lambda a: [sessions(a, 3)],
        aside=True,
        bounded=False,
    ),
    **{
        f"groups {memory}": Case(lambda _, m=memory: Groups(m), lambda a: [groups(a)], calls=False, bounded=False)
        for memory in (400, "256M")
    },
    **{
        f"sort {memory} {reverse}": Case(
            lambda _, m=memory, r=reverse: Sorts(m, reverse=r),
            lambda a, r=reverse: [sorted(a, key=lambda i: i % 7, reverse=r)],
            calls=False,
            bounded=False,
        )
        for memory in (400, "256M")
        for reverse in (False, True)
    },
    "join in turns": Case(
        lambda sink: in_turns(Join(fussy, how="full", many=True, unmatched=sink)),
        lambda a, b: [outer_join(a, b, many=True)], 2, interleaves=True, aside=True,
    ),
}  # fmt: skip



def in_turns(join):
    """A join that takes a few items of each input in turn, as the plan has it for inputs that are apart."""
    join.in_turns = 2
    return join


each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
numbers = st.lists(st.integers(0, 60).filter(lambda i: i != 13), max_size=40)
cuts = st.lists(st.lists(st.integers(0, 7), max_size=3), max_size=20)


def plain(results):
    """Windows as tuples."""
    return [(r.start_s, r.end_s, r.items) if hasattr(r, "start_s") else r for r in results]


def check(case, outputs, inputs):
    for got, wanted in zip(map(plain, outputs), case.model(*inputs), strict=True):
        if case.interleaves:
            assert sorted(got, key=repr) == sorted(wanted, key=repr)
        else:
            assert got == wanted


@pytest.mark.parametrize("count", [0, 1, 7, 5000])
@pytest.mark.parametrize("make", [SourceNode, BlockingSource])
def test_only_the_source_says_where_it_ends(make, count):
    """Its lists are the receiver's, which empties them, grows them, or leaves them as they are."""
    source, drain = make("source", iter(range(count))), Drain(room=7)
    source.outlets[0].to(drain)
    getattr(source, "start", lambda wake: None)(lambda: None)

    def over():
        drain.left = drain.room
        source.pump()
        return drain.over

    until(over)
    source.close()
    assert drain.got == list(range(count))


@given(a=st.lists(st.integers(0, 9), max_size=40), b=st.lists(st.integers(0, 9), max_size=40), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_join_in_turns_gives_the_same_order_however_its_inputs_were_cut(a, b, data):
    wanted = Bench(in_turns(Join(lambda i: i, how="full", many=True)), [a, b]).run()
    for _ in range(3):
        cut = data.draw(cuts)
        assert Bench(in_turns(Join(lambda i: i, how="full", many=True)), [a, b]).run(cut) == wanted


@each_case
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_cutting_and_any_pace_give_the_model(case, data):
    inputs = [data.draw(numbers) for _ in range(case.inputs)]
    inputs = [arranged(case, each) for each in inputs]
    sink = SideSink()
    bench = Bench(case.make(GivenSink(sink)), inputs, data.draw(st.lists(st.integers(1, 5), max_size=4)))
    outputs = bench.run(data.draw(cuts))
    check(case, outputs, inputs)
    assert all(drain.over == 1 for drain in bench.drains)
    assert sink.closes == (case.aside and (bool(inputs[0]) or not isinstance(bench.node, Demultiplex)))


@each_case
@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_one_item(case, count):
    inputs = [[7] * count] * case.inputs
    check(case, Bench(case.make(side_sink()), inputs).run(), inputs)


@each_case
@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_an_error_names_node_and_item_and_what_came_before_it_counts(case, size):
    if not case.calls:
        pytest.skip("calls nothing")
    before = [1, 2, 3, 4, 5]
    bench = Bench(case.make(side_sink()), [[*before, 13, 14]] + [[]] * (case.inputs - 1))
    with pytest.raises(NodeError) as caught:
        bench.run([[size]] * 10)
    error = caught.value.cause
    assert isinstance(error, ItemError)
    assert isinstance(error.__cause__, LookupError)
    assert (error.item, error.index) == (13, 5)
    assert bench.node.name in str(error)
    bench.node.close()


@each_case
def test_a_slow_consumer_bounds_what_waits(case):
    inputs = [sorted((i % 50 + 20 for i in range(20_000)), reverse=case.sorts == DOWN)] * case.inputs
    if not case.bounded or isinstance(case.make(side_sink()), Join | TimeWindow | BarrierNode):
        pytest.skip("its state is what it was asked to hold")
    bench = Bench(case.make(side_sink()), inputs, [1] * 4)
    for _ in range(300):
        bench.turn([500] * case.inputs)
    held = getattr(bench.node, "held", [])
    kept = sum(len(part) if isinstance(part, list) else 1 for part in held)
    if bench.drains:
        assert bench.waiting + kept <= (ROOM + 500) * (case.inputs + 3)
        assert all(feed.items for feed in bench.feeds)


@each_case
def test_when_every_consumer_walks_away_the_inputs_are_left(case):
    bench = Bench(case.make(side_sink()), [[20] * 10] * case.inputs)
    if not bench.drains:
        pytest.skip("has no consumer")
    bench.turn([3] * case.inputs)
    for outlet in bench.node.outlets:
        outlet.cancel()
    assert all(feed.outlets[0].cancelled for feed in bench.feeds)
    bench.node.close()


@each_case
def test_one_consumer_of_several_walks_away(case):
    inputs = [[20, 21, 22, 23, 24, 25] * 3] * case.inputs
    bench = Bench(case.make(side_sink()), inputs, [2] * 4)
    if len(bench.drains) < 2:
        pytest.skip("has one consumer")
    bench.turn([3])
    bench.node.outlets[0].cancel()
    outputs = bench.run()
    assert outputs[1:] == case.model(*inputs)[1:]


@each_case
@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_snapshot_goes_on_where_it_was_taken(case, tmp_path, data):
    place = str(tmp_path / "node")
    node = case.make(side_sink())
    node.close()
    if not hasattr(node, "snapshot"):
        pytest.skip("has no state")
    inputs = [sorted(data.draw(numbers), reverse=case.sorts == DOWN) for _ in range(case.inputs)]
    drawn = data.draw(cuts)
    first = Bench(case.make(side_sink()), inputs)
    if isinstance(node, ChunkByChunk):
        first.node.keep_written(place, "secret")
    for counts in drawn:
        first.turn((*counts, 0, 0, 0)[: case.inputs])
        if any(feed.outlets[0].ended for feed in first.feeds):
            first.node.close()
            return
    second = Bench(case.make(side_sink()), [feed.items for feed in first.feeds])
    state = pickle.dumps(first.node.snapshot())
    if isinstance(node, ChunkByChunk):
        second.node.keep_written(place, "secret")
    second.node.restore(pickle.loads(state))
    before = [drain.got for drain in first.drains]
    outputs = [a + b for a, b in zip(before, second.run(), strict=True)]
    check(case, outputs, inputs)
    first.node.close()
