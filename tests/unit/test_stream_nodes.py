"""What is particular to one node: priority, ageing, unknown keys, walk-away, late items, joins in time, spilling."""

import itertools
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Stream
from orchestrator.errors import ConfigError, ItemError
from orchestrator.graph.checkpoints import checkpoint_of, resume
from orchestrator.graph.flow.node import NodeError
from orchestrator.sinks.given import GivenSink
from orchestrator.streams.patterns.inline import FlatMapInline
from orchestrator.streams.patterns.joining import Join, JoinOverflowError
from orchestrator.streams.patterns.merging import InStep, PriorityMerge
from orchestrator.streams.patterns.sorted_merging import MergeSorted
from orchestrator.streams.patterns.splitting import Broadcast, Demultiplex, Route, Tee
from orchestrator.streams.patterns.timed.sessions import SessionWindow
from orchestrator.streams.patterns.timed.windows import CountWindow, TimeWindow, Window
from tests.support.nodes import Bench, SideSink


def filled(node, inputs):
    """Fill the inputs' buffers while the consumer has no room, then let it take one item a turn."""
    bench = Bench(node, inputs, [0])
    bench.turn([100] * len(inputs))
    bench.drains[0].room = 1
    return bench.run()[0]


def test_the_highest_priority_goes_first():
    assert filled(PriorityMerge([1, 9, 5]), [["a"] * 2, ["b"] * 2, ["c"] * 2]) == [*"bbccaa"]


def test_ageing_lets_nobody_starve():
    got = filled(PriorityMerge([0, 2], ageing=3), [["low"] * 3, ["high"] * 60])
    assert got.index("low") < 10


def test_the_place_of_an_input_that_left_holds_missing():
    assert Bench(InStep(2, missing="-"), [[1], [1, 2]]).run() == [[(1, 1), ("-", 2)]]


def test_an_unsorted_input_is_told():
    with pytest.raises(NodeError) as caught:
        Bench(MergeSorted(2), [[1, 3, 2], []]).run([[1, 1]] * 5)
    assert (caught.value.cause.index, caught.value.cause.item) == (2, 2)


def test_an_unknown_key_is_an_error():
    with pytest.raises(NodeError) as caught:
        Bench(Demultiplex(str, ["1"]), [[1, 2]]).run()
    assert isinstance(caught.value.cause, ItemError)
    assert "'2'" in str(caught.value.cause)


def test_a_key_gets_its_sink_when_it_is_first_seen():
    sinks = {}
    Bench(Demultiplex(lambda i: i % 2, make=lambda key: GivenSink(sinks.setdefault(key, SideSink()))), [[1, 3, 2, 5]]).run([[1]])
    assert {key: (sink.got, sink.closes) for key, sink in sinks.items()} == {1: ([1, 3, 5], 1), 0: ([2], 1)}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Route({}, match="any"),
        lambda: Route({"rest": bool}),
        lambda: Broadcast(1, on_failure="x"),
        lambda: Demultiplex(str, unknown="create"),
        lambda: Demultiplex(str, ["a", "a"]),
        lambda: Join(str, how="outer"),
        lambda: Join(str, within_s=1),
        lambda: Join(str, max_items="many"),
        lambda: CountWindow("3"),
        lambda: CountWindow(2.5),
        lambda: CountWindow(2, None),
        lambda: PriorityMerge([1, 2], ageing="old"),
        lambda: Stream([]).broadcast("2"),
        lambda: Stream([]).map_inline(None),
        lambda: Stream([]).filter_inline(None),
        lambda: Stream([]).flat_map_inline(None),
        lambda: Stream([]).take_while(None),
        lambda: Stream([]).top(1, smallest=3),
        lambda: Stream([]).throttle(10**400),
        lambda: Stream([]).window_by_time(1, None),
        lambda: Stream([]).window_by_time_and_late(1, None),
        lambda: Stream([]).window_by_session(1, None),
        lambda: Stream([]).window_by_session(1, abs, key=3),
    ],
)
def test_what_can_not_be_used_is_refused(make):
    with pytest.raises(ConfigError):
        make()


def test_every_side_sink_is_closed_although_one_fails_to():
    class Stuck(SideSink):
        def close(self):
            super().close()
            raise OSError("disk full")

    sinks = [Stuck(), SideSink()]
    bench = Bench(Tee(*map(GivenSink, sinks)), [[1]])
    with pytest.raises(OSError, match="disk full"):
        bench.run()
    bench.node.close()
    assert [sink.closes for sink in sinks] == [1, 1]


def test_the_sinks_of_a_run_that_failed_are_aborted_if_they_can_be():
    class Abortable(SideSink):
        aborts = 0

        def abort(self):
            self.aborts += 1

    sinks = [Abortable(), SideSink()]
    node = Tee(*map(GivenSink, sinks))
    node.failed = True
    node.close()
    node.close()
    assert (sinks[0].aborts, sinks[0].closes, sinks[1].closes) == (1, 0, 1)


def test_late_items_go_aside():
    sink = SideSink()
    node = TimeWindow(10, float, lateness_s=5, late=GivenSink(sink))
    got = Bench(node, [[1, 9, 14, 3, 15, 2, 11]]).run([[2]] * 9)[0]
    assert got == [Window(0, 10, [1, 9, 3]), Window(10, 20, [14, 15, 11])]
    assert (sink.got, node.late_items) == ([2], 1)


@given(st.integers(-3000, 3000))
def test_a_start_is_in_its_own_window_whatever_the_rounding(k):
    first, last = TimeWindow(0.1, float).first_and_last(k * 0.1)
    assert last == k
    assert first <= k


pairs = st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 30)), max_size=25)


@given(pairs, pairs, st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=2), max_size=15), st.booleans())
def test_many_within_a_time_finds_every_pair_however_the_sides_interleave(left, right, cuts, spill):
    left, right = sorted(left, key=lambda i: i[1]), sorted(right, key=lambda i: i[1])
    bound = {"max_items": 2, "overflow": "spill"} if spill else {}
    node = Join(lambda i: i[0], many=True, within_s=3, at=lambda i: i[1], **bound)
    got = Bench(node, [left, right]).run(cuts)[0]
    wanted = [(a, b) for a in left for b in right if a[0] == b[0] is not None and abs(a[1] - b[1]) <= 3]
    assert sorted(got, key=repr) == sorted(wanted, key=repr)


def test_more_than_may_wait_is_an_error_or_is_evicted():
    with pytest.raises(NodeError) as caught:
        Bench(Join(int, max_items=2), [[1, 2, 3], []]).run()
    assert isinstance(caught.value.cause, JoinOverflowError)
    sink = SideSink()
    node = Join(int, max_items=2, overflow="evict", unmatched=GivenSink(sink))
    assert Bench(node, [[1, 2, 3], [2, 3, 1]]).run([[9, 0]]) == [[(2, 2), (3, 3)]]
    assert sink.got == [("left", 1), ("right", 1)]
    assert sink.closes == 1


def test_what_is_spilled_leaves_with_the_node():
    node = Join(int, max_items=1, overflow="spill")
    bench = Bench(node, [[1, 2, 3], []])
    bench.turn([3, 0])
    assert node.spill.count == [2, 0]
    assert len(pickle.loads(pickle.dumps(node.snapshot()))["spilled"]) == 2
    node.close()
    assert node.spill is None


def test_an_unhashable_key_names_the_item():
    with pytest.raises(NodeError) as caught:
        Bench(Join(lambda i: [i]), [[1], []]).run()
    assert "unhashable" in str(caught.value.cause)


def test_mappings_are_merged_and_the_right_wins():
    got = Bench(Join(lambda i: i["k"], how="left"), [[{"k": 1, "v": 1}, {"k": 2}], [{"k": 1, "v": 2}]]).run()[0]
    assert got == [{"k": 1, "v": 2}, ({"k": 2}, None)]


SMALL = ["a", "b", "b", None]


def looked_up(big, how, many, small_side):
    """What a join with few items on one side gives, that side being there first."""
    free, found, met = list(range(len(SMALL))), [], set()
    for item in big:
        mates = [k for k in free if SMALL[k] is not None and SMALL[k] == item][: None if many else 1]
        found += [(item, SMALL[k]) if small_side else (SMALL[k], item) for k in mates]
        met.update(mates)
        if not many:
            free = [k for k in free if k not in mates]
        if not mates and how in {"full", "left" if small_side else "right"}:
            found.append((item, None) if small_side else (None, item))
    if how in {"full", "right" if small_side else "left"}:
        alone = [each for k, each in enumerate(SMALL) if k not in met]
        found += [(None, each) if small_side else (each, None) for each in alone]
    return sorted(found, key=repr)


@pytest.mark.parametrize("small_side", [0, 1])
@pytest.mark.parametrize("turns", [0, 4])
@pytest.mark.parametrize("overflow", ["error", "evict", "spill", None])
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("how", ["inner", "left", "right", "full"])
def test_once_an_input_has_ended_nothing_waits_for_it(how, many, overflow, turns, small_side):
    big = [("a", "b", "c", None, "d")[k % 5] for k in range(5000)]
    limits = {"max_items": 12, "overflow": overflow} if overflow else {}
    node = Join(lambda x: x, how=how, many=many, combine=lambda x, y: (x, y), **limits)
    node.in_turns = turns
    bench = Bench(node, [big, SMALL] if small_side else [SMALL, big])
    bench.turn([0, 10] if small_side else [10, 0])
    bench.turn([0, 10] if small_side else [10, 0])  # the end
    most = 0
    while bench.turn([50, 50]):
        spilled = node.spill.count[1 - small_side] if node.spill is not None else 0
        most = max(most, spilled + sum(map(len, node.state[1 - small_side].values())))
    assert most <= (8 if turns else 0)  # in turns the other side may have gone first
    node.close()
    assert sorted(bench.drains[0].got, key=repr) == looked_up(big, how, many, small_side)


@given(st.data())
def test_what_waits_can_still_match(data):
    """Whatever comes when, and whichever input ends first: an ended input's other side keeps nothing."""
    node = Join(lambda x: x, how="full", many=data.draw(st.booleans()), max_items=data.draw(st.sampled_from([None, 3])),
                overflow="spill")  # fmt: skip
    node.in_turns = data.draw(st.sampled_from([0, 2]))
    bench = Bench(node, [data.draw(st.lists(st.integers(0, 5), max_size=30)) for _ in "ab"])
    for counts in data.draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30)):
        bench.turn(counts)
        for side in (0, 1):
            if node.over[1 - side]:
                assert not node.state[side]
                assert node.spill is None or not node.spill.count[side]
    node.close()


def test_an_iterable_is_read_no_further_than_there_is_room_and_closed():
    read, closed = [], []

    def endless(start):
        try:
            for number in itertools.count(start):
                read.append(number)
                yield number
        finally:
            closed.append(start)

    bench = Bench(FlatMapInline(endless), [[0, 1]], [10])
    for _ in range(20):
        bench.turn([2])
    assert bench.drains[0].got == list(range(200))
    assert len(read) <= 210
    bench.node.outlets[0].cancel()
    assert closed == [0]
    bench.node.close()


@given(st.lists(st.integers(0, 3000), max_size=4), st.integers(1, 700), st.integers(0, 12), st.booleans())
def test_in_the_middle_of_an_iterable_a_run_can_be_resumed(sizes, room, turns, as_list):
    def spread(size):
        return list(range(size)) if as_list else iter(range(size))

    first = Bench(FlatMapInline(spread), [sizes], [room])
    for _ in range(turns):
        first.turn([1])
    second = Bench(FlatMapInline(spread), [first.feeds[0].items], [room])
    resume(second.node, pickle.loads(pickle.dumps(checkpoint_of(first.node))))
    assert first.drains[0].got + second.run()[0] == [each for size in sizes for each in range(size)]
    first.node.close()


def test_equal_keys_of_a_later_input_wait_for_those_that_an_earlier_one_may_still_bring():
    pairs = [[(1, 0), (1, 1), (1, 2)], [(1, 3), (1, 4)]]
    (got,) = Bench(MergeSorted(2, key=lambda pair: pair[0]), pairs).run([[1, 1]] * 3)
    assert got == [*pairs[0], *pairs[1]]


@pytest.mark.parametrize("make", [SessionWindow, TimeWindow])
def test_what_is_late_stays_late_in_a_run_that_is_resumed(make):
    before = make(5, float)
    Bench(before, [[100, 1]]).turn([2])
    assert before.late_items == 1
    sink = SideSink()
    after = make(5, float, late=GivenSink(sink))
    after.restore(pickle.loads(pickle.dumps(before.snapshot())))
    (windows,) = Bench(after, [[2]]).run()
    assert (after.late_items, [window.items for window in windows]) == (2, [[100]])
    assert (sink.got, sink.closes) == ([2], 1)
