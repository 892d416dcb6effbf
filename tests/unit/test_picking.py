"""What is particular to nodes that pick, pace, and end early: who is left when, ties, late sessions, retries here."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Stream, run
from orchestrator.errors import ConfigError, ItemError, OrchestratorError
from orchestrator.graph.flow.node import NodeError
from orchestrator.streams.patterns.merging import InStep
from orchestrator.streams.patterns.picking import Distinct, Top
from orchestrator.streams.patterns.timed.pacing import Throttle
from orchestrator.streams.patterns.timed.sessions import SessionWindow
from orchestrator.streams.patterns.timed.windows import Window
from tests.support.nodes import Bench, SideSink


def logged(log, items, name="source"):
    """A source that says when it is closed."""
    try:
        yield from items
    finally:
        log.append(f"{name} closed")


def fails_behind(n):
    def call(item):
        if item > n:
            raise LookupError(item)
        return item

    return call


def test_take_closes_its_source_while_the_rest_of_the_run_goes_on():
    log = []
    rest = Stream(range(20_000)).map_inline(lambda n: log.append("other") if n == 19_999 else None)
    run(Stream(logged(log, itertools.count())).take(3).to(log), rest.to(None))
    assert log == [0, 1, 2, "source closed", "other"]


def test_a_branch_that_is_left_does_not_hold_the_other():
    got, whole = [], []
    one, other = Stream(range(5000)).broadcast(2)
    run(one.take(2).to(got), other.to(whole))
    assert (got, len(whole)) == ([0, 1], 5000)


def test_what_fails_behind_the_end_of_one_branch_costs_the_other_nothing():
    got, whole = [], []
    one, other = Stream(range(50)).broadcast(2)
    run(one.map_inline(fails_behind(4)).take(5).to(got), other.to(whole))
    assert (got, whole) == ([*range(5)], [*range(50)])


def test_take_nothing_reads_nothing():
    assert Stream(fails_behind(-1)(item) for item in range(3)).take(0).collect() == []


@pytest.mark.parametrize("cut", ["take", "take_while", "shortest"])
def test_what_fails_behind_the_end_counts_for_nothing(cut):
    stream = Stream(range(100)).map_inline(fails_behind(4)).filter_inline(lambda n: fails_behind(4)(n) >= 0)
    ends = {
        "take": lambda: stream.take(5),
        "take_while": lambda: stream.take_while(lambda n: n < 4),
        "shortest": lambda: stream.in_step(Stream("abcd"), strict="shortest"),
    }
    assert len(ends[cut]().collect()) == (5 if cut == "take" else 4)


def test_what_fails_before_the_end_fails():
    with pytest.raises(ItemError):
        Stream(range(100)).map_inline(fails_behind(4)).take(6).collect()


def test_a_source_that_raises_behind_what_was_taken_is_forgiven(tmp_path):
    def source():
        yield from range(3)
        raise LookupError("nobody asked")

    run(Stream(source()).throttle(19).take(3).to(str(tmp_path / "out")))
    assert (tmp_path / "out").read_text().split() == [*"012"]


def test_what_has_written_aside_is_whole_though_it_is_left(tmp_path):
    run(Stream(range(3)).tee(str(tmp_path / "all")).take(1).to(None))
    assert (tmp_path / "all").read_text().split() == [*"012"]


@pytest.mark.parametrize("lengths", [(2, 3), (3, 2), (0, 1)])
def test_strict_branches_must_be_equally_long(lengths):
    with pytest.raises(OrchestratorError, match=rf"ended after {min(lengths)} items"):
        Stream(range(lengths[0])).in_step(Stream(range(lengths[1])), strict=True).collect()
    assert Stream("ab").in_step(Stream("cd"), strict=True).collect() == [("a", "c"), ("b", "d")]


def test_an_odd_length_rule_is_refused():
    with pytest.raises(ConfigError, match="strict must be"):
        InStep(2, strict="long")


def test_a_key_that_has_no_hash_is_the_items_error():
    with pytest.raises(NodeError) as caught:
        Bench(Distinct(), [[1, [2], 3]]).run()
    assert (caught.value.cause.item, caught.value.cause.index) == ([2], 1)


def test_keys_that_cannot_be_compared_are_the_items_error():
    with pytest.raises(NodeError) as caught:
        Bench(Top(2), [[1, 2, "3"]]).run()
    assert (caught.value.cause.item, caught.value.cause.index) == ("3", 2)


@given(items=st.lists(st.tuples(st.integers(0, 3), st.integers())), n=st.integers(0, 6), smallest=st.booleans())
def test_of_equal_items_the_earlier_is_at_the_top(items, n, smallest):
    wanted = sorted(items, key=lambda item: item[0], reverse=not smallest)[:n]
    assert Stream(items).top(n, lambda item: item[0], smallest=smallest).collect() == wanted


# ---- sessions ----------------------------------------------------------------------------------------------------


def plain_sessions(events, gap):
    """Sessions by user of (user, time) events, in the order of their ends."""
    found = []
    for user in dict.fromkeys(user for user, _ in events):
        open_ = None
        for number, event in sorted(enumerate(events), key=lambda each: each[1][1]):
            if event[0] != user:
                continue
            if open_ is None or event[1] >= open_[1]:
                open_ = [event[1], event[1] + gap, []]
                found.append(open_)
            open_[1] = event[1] + gap
            open_[2].append(number)
    found.sort(key=lambda each: (each[1], min(each[2])))
    return [Window(start, end, [events[k] for k in sorted(numbers)]) for start, end, numbers in found]


@given(events=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12))), cuts=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=1), max_size=10))
def test_sessions_by_key_in_any_order_within_the_lateness(events, cuts):
    node = SessionWindow(3, lambda event: event[1], key=lambda event: event[0], lateness_s=1000)
    assert Bench(node, [events]).run(cuts) == [plain_sessions(events, 3)]


@given(times=st.lists(st.integers(0, 60)))
def test_sessions_of_sorted_times_come_as_soon_as_they_are_over(times):
    times.sort()
    node = SessionWindow(3, lambda time: time)
    bench = Bench(node, [times])
    while bench.feeds[0].items:
        bench.turn([1])
        assert all(window.end_s <= node.seen_s for window in bench.drains[0].got)
        assert node.open[None][0].end_s > node.seen_s
    wanted = plain_sessions([("a", time) for time in times], 3)
    assert [window.items for window in bench.run()[0]] == [[time for _, time in each.items] for each in wanted]


def test_items_late_for_every_open_session_go_aside():
    sink = SideSink()
    node = SessionWindow(3, lambda time: time, late=sink)
    (got,) = Bench(node, [[1, 10, 5, 8, 20]]).run()
    assert [window.items for window in got] == [[1], [10, 8], [20]]
    assert (sink.got, node.late_items) == ([5], 1)


@pytest.mark.parametrize("gap_s", [0, -1, math.inf])
def test_an_odd_gap_is_refused(gap_s):
    with pytest.raises(ConfigError, match="gap_s"):
        Stream([]).window_by_session(gap_s, at=int)


# ---- pace --------------------------------------------------------------------------------------------------------


@given(steps=st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0, 1, 3, 80])), max_size=200), rate=st.sampled_from([1, 10, 40]))
def test_no_second_has_more_than_its_share(steps, rate):
    """Whatever comes when: in any second at most a second's items, and what may go at once."""
    now = [0.0]
    bench = Bench(Throttle(rate, clock=lambda: now[0]), [range(10_000)])
    went = []
    for count, hundredths in steps:
        bench.turn([count])
        went += [now[0]] * (len(bench.drains[0].got) - len(went))
        now[0] += hundredths / 100
    at_once = max(1, rate // 10)
    for start in went:
        assert sum(start <= time < start + 1 - 1e-6 for time in went) <= rate + at_once - 1
    assert bench.drains[0].got == list(range(len(went)))


def test_what_waits_goes_when_its_time_has_come_and_not_before():
    now = [0.0]
    node = Throttle(4, clock=lambda: now[0])
    bench = Bench(node, [range(5)])
    bench.turn([5])
    assert (bench.drains[0].got, node.wait_s, node.is_waiting, node.has_news) == ([0], 0.25, True, False)
    now[0] = 0.25
    assert node.has_news
    bench.turn([0])
    assert bench.drains[0].got == [0, 1]


def test_a_run_without_workers_waits_for_the_time():
    assert Stream(range(3)).throttle(19).collect() == [0, 1, 2]


# ---- here --------------------------------------------------------------------------------------------------------


class Flaky:
    """Fails so many times for each item."""

    def __init__(self, times, error=LookupError):
        self.left, self.times, self.error = {}, times, error

    def __call__(self, item):
        if self.left.setdefault(item, self.times):
            self.left[item] -= 1
            raise self.error(item)
        return item + 1


def test_retries_here():
    assert Stream([1, 2]).map_inline(Flaky(2), retries=2).collect() == [2, 3]
    assert Stream([1, 2]).filter_inline(Flaky(2), retries={LookupError: 2}).collect() == [1, 2]
    with pytest.raises(ItemError):
        Stream([1, 2]).map_inline(Flaky(3), retries=2).collect()
    with pytest.raises(ItemError):
        Stream([1, 2]).map_inline(Flaky(1), retries={OSError: 2}).collect()


@pytest.mark.parametrize(
    ("method", "options", "reason"),
    [
        ("map_inline", {"timeout": 1}, "nothing can stop a function in this process"),
        ("filter_inline", {"chunk": 1}, "its function runs in this process"),
        ("flat_map_inline", {"retries": 1}, "passed on already"),
    ],
)
def test_options_that_would_be_a_pretence_are_refused(method, options, reason):
    with pytest.raises(ConfigError, match=reason):
        getattr(Stream([]), method)(str, **options)


@pytest.mark.parametrize(
    "make",
    [
        lambda s: s.take(-1), lambda s: s.skip(True), lambda s: s.top(1.5), lambda s: s.enumerate("1"),
        lambda s: s.batch(0), lambda s: s.throttle(0), lambda s: s.distinct(3), lambda s: s.map_inline(str, retries=-1),
    ],
)  # fmt: skip
def test_odd_values_are_refused_at_once(make):
    with pytest.raises(ConfigError):
        make(Stream([]))
