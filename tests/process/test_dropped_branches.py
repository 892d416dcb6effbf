"""`broadcast(n, on_failure="drop")`: one branch fails, in any node and any way; the others give all, the report tells."""

import os
from functools import partial, reduce

import pytest

from orchestrator import ConfigError, ItemError, Pool, Stream, Workflow, run
from orchestrator.graph import checkpoints

ITEMS = list(range(3000))


def fail(x):
    if x == 1500:
        raise LookupError(x)
    return x


def kill(x):
    if x == 1500:
        os._exit(3)
    return x


def refuse():
    raise LookupError("no hook")


class Sink:
    """Fails as it is told; knows how it ended."""

    def __init__(self, at=None):
        self.at, self.got, self.ends = at, [], []

    def write(self, items):
        if self.at == "write" and len(self.got) > 500:
            raise OSError("no room")
        self.got += items

    def close(self):
        self.ends.append("closed")
        if self.at == "close":
            raise OSError("no room to sync")

    def abort(self):
        self.ends.append("aborted")


def broken():
    yield 1
    raise LookupError("the source")


WAYS = {
    "nothing": lambda s: s,
    "inline": lambda s: s.map_inline(abs).filter_inline(lambda _: True).flat_map_inline(lambda x: [x]),
    "workers": lambda s: s.map(abs),
    "two stages": lambda s: s.map(abs, retries=1).filter(lambda x: x >= 0),
    "window": lambda s: s.window(1).map_inline(lambda w: w[0]),
    "window by time": lambda s: s.window_by_time(1, at=float).map_inline(lambda w: w.items[0]),
    "join": lambda s: s.join(Stream(ITEMS), key=lambda x: x, combine=lambda x, _: x),
    "join workers": lambda s: Stream(ITEMS).map(abs).join(s, key=lambda x: x, combine=lambda x, _: x),
    "merge": lambda s: Stream.merge(s, Stream(range(0))),
    "merge sorted": lambda s: Stream.merge_sorted(s, Stream(range(0)).map(abs)),
    "priority": lambda s: Stream.merge_by_priority([(s, 1), (Stream([]), 2)]),
    "multiplex": lambda s: Stream.multiplex({"a": s}).map_inline(lambda pair: pair[1]),
    "in step": lambda s: s.in_step(Stream(ITEMS)).map_inline(lambda pair: pair[0]),
    "barrier": lambda s: s.barrier(),
    "hook": lambda s: s.barrier(os.getpid),
    "workflow": lambda s: s.through(Workflow().step("one", abs).barrier().step("two", abs)),
    "tee": lambda s: s.tee([]),
    "meets again": lambda s: Stream.merge(*s.route({"low": lambda x: x < 1000}).values()),
    "long": lambda s: reduce(lambda longer, _: longer.map_inline(abs), range(120), s),
}
FAILURES = {
    "inline": lambda s: s.map_inline(fail),
    "filter": lambda s: s.filter_inline(fail),
    "workers": lambda s: s.map(fail, chunk=7),
    "predicate": lambda s: Stream.merge(*s.route({"a": fail}).values()),
    "key": lambda s: Stream.merge(*s.demultiplex(fail, keys=[1], unknown="default").values()),
    "time": lambda s: s.window_by_time(1, at=fail),
    "join key": lambda s: s.join(Stream(ITEMS), key=fail),
    "merge key": lambda s: Stream.merge_sorted(s, Stream(ITEMS), key=fail),
    "tee": lambda s: s.tee(Sink("write")),
    "hook": lambda s: s.barrier(refuse),
    "side source": lambda s: s.in_step(Stream(broken())),
    "side stage": lambda s: s.in_step(Stream(ITEMS).map(fail)),
    "side source that blocks": lambda s: Stream.merge(s, Stream(broken(), blocking=True)),
}


@pytest.fixture(scope="module")
def two():
    with Pool(2) as pool:
        yield pool


def check(report, good, bad, sink):
    assert good == [ITEMS, ITEMS]
    (dropped,) = report.dropped
    assert dropped.branch == 1
    assert str(dropped) in str(report)
    if sink is not None:
        assert sink.ends == ["aborted"]
    assert bad in dropped.error


@pytest.mark.parametrize("way", WAYS)
def test_a_sink_that_raises_behind_any_node(two, way):
    for at in ("write", "close"):
        good, sink = [[], []], Sink(at)
        one, bad, other = Stream(ITEMS).broadcast(3, on_failure="drop")
        report = run(one.map(abs).to(good[0]), WAYS[way](bad).to(sink), other.to(good[1]), pool=two)
        check(report, good, "OSError: no room", None if at == "close" else sink)


@pytest.mark.parametrize("failure", sorted(FAILURES))
@pytest.mark.parametrize("way", ["nothing", "window", "join", "barrier"])
def test_a_node_that_fails(two, way, failure):
    good, sink = [[], []], Sink()
    one, bad, other = Stream(ITEMS).map(abs).broadcast(3, on_failure="drop")
    bad = FAILURES[failure](WAYS[way](bad))
    report = run(one.to(good[0]), bad.map_inline(lambda x: x).to(sink), other.map(abs).to(good[1]), pool=two)
    check(report, good, "", sink)


def test_an_item_that_kills_its_workers():
    good, sink = [[], []], Sink()
    one, bad, other = Stream(ITEMS).broadcast(3, on_failure="drop")
    with Pool(2, max_deaths=2) as pool:
        report = run(one.to(good[0]), bad.map(kill).to(sink), other.map(abs).to(good[1]), pool=pool)
    check(report, good, "WorkerDiedError", sink)


@pytest.mark.parametrize("inner", ["raise", "drop"])
def test_of_a_broadcast_inside_a_branch(two, inner):
    good, sinks = [[], []], [Sink(), Sink()]
    one, bad, other = Stream(ITEMS).broadcast(3, on_failure="drop")
    this, that = bad.map(abs).broadcast(2, on_failure=inner)
    report = run(
        one.to(good[0]), this.map(fail).to(sinks[0]), that.map(abs).to(sinks[1]), other.to(good[1]), pool=two
    )
    assert good == [ITEMS, ITEMS]
    assert [len(report.dropped), report.dropped[0].branch] == [1, 0 if inner == "drop" else 1]
    assert sinks[0].ends == ["aborted"]
    assert sinks[1].ends == (["closed"] if inner == "drop" else ["aborted"])
    assert sinks[1].got == ITEMS or inner == "raise"


def test_where_branches_meet_again_a_dropped_one_just_ends(two):
    out = []
    one, bad = Stream(ITEMS).broadcast(2, on_failure="drop")
    report = run(Stream.merge(one.map(abs), bad.map(fail, chunk=10).map_inline(lambda x: -x)).to(out), pool=two)
    assert [x for x in out if x >= 0][-3000:] == ITEMS or sorted(x for x in out if x > 0) == ITEMS[1:]
    assert len(report.dropped) == 1
    one, bad = Stream(ITEMS).broadcast(2, on_failure="drop")
    with pytest.raises(LookupError):  # behind the meeting point nothing goes on without the other
        run(Stream.merge(one, bad).to(lambda x: {}[x]), pool=two)


def test_the_last_branch_fails_the_run(two):
    sinks = [Sink("write"), Sink()]
    one, other = Stream(ITEMS).broadcast(2, on_failure="drop")
    with pytest.raises((ItemError, OSError)):
        run(one.to(sinks[0]), other.map(fail).to(sinks[1]), pool=two)
    assert [sink.ends for sink in sinks] == [["aborted"], ["aborted"]]


def test_an_interrupt_is_no_failure_of_a_branch():
    def interrupt(_):
        raise KeyboardInterrupt

    one, other = Stream(ITEMS).broadcast(2, on_failure="drop")
    with pytest.raises(KeyboardInterrupt):
        run(one.to([]), other.map_inline(interrupt).to([]))


def last_digit(x):
    return x % 10


def path_by_key(folder, key):
    return str(folder / f"key-{key}")


def test_after_a_resume_it_is_still_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_SHARE", 0)  # one a turn
    stopped = []

    def once(x):
        if x == 2500 and not stopped:
            stopped.append(x)
            raise KeyboardInterrupt
        return x

    def go():
        one, bad, by_key, other = Stream(ITEMS).broadcast(4, on_failure="drop")
        return run(
            one.map_inline(once).to(str(tmp_path / "one")),
            bad.map_inline(fail).to(str(tmp_path / "bad")),
            by_key.map_inline(fail).demultiplex(last_digit, to=partial(path_by_key, tmp_path)),
            other.to(str(tmp_path / "other")),
            checkpoint=tmp_path / "kept", checkpoint_every_s=0,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        go()
    report = go()
    assert sorted(each.branch for each in report.dropped) == [1, 2]
    wanted = "".join(f"{x}\n" for x in ITEMS)
    assert (tmp_path / "one").read_text() == (tmp_path / "other").read_text() == wanted
    assert sorted(os.listdir(tmp_path)) == ["kept", "one", "other"]


def test_what_can_not_be_chosen():
    with pytest.raises(ConfigError, match="on_failure"):
        run(*(each.to(None) for each in Stream([1]).broadcast(2, on_failure="skip")))
