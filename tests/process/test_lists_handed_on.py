"""A list that a node passes on belongs to its receiver: nothing that stands before a sink looks at it again."""

import pytest

from orchestrator import Pool, Stream, run

ITEMS = 20_000


@pytest.fixture(scope="module")
def pool():
    with Pool(workers=2) as pool:
        yield pool


FLOWS = {
    "source": lambda s: s,
    "blocking source": lambda s: Stream(range(ITEMS), blocking=True),
    "map": lambda s: s.map(abs),
    "two stages": lambda s: s.map(abs).map_inline(abs).map(abs),
    "inline": lambda s: s.map_inline(abs).filter_inline(lambda _: True).flat_map_inline(lambda n: [n]),
    "barrier": lambda s: s.map_inline(abs).barrier(),
    "tee": lambda s: s.tee(Spoiler()),
    "broadcast": lambda s: Stream.merge(*s.broadcast(1)),
    "route": lambda s: Stream.merge(*s.route({"all": lambda _: True}).values()),
    "merge": lambda s: Stream.merge(s, Stream([])),
    "merge_sorted": lambda s: Stream.merge_sorted(s, Stream([])),
    "merge_by_priority": lambda s: Stream.merge_by_priority([(s, 1), (Stream([]), 2)]),
    "multiplex": lambda s: Stream.multiplex({"a": s}).map_inline(lambda pair: pair[1]),
    "in_step": lambda s: s.in_step(Stream([])).map_inline(lambda pair: pair[0]),
    "window": lambda s: s.window(2, step=30).flat_map_inline(lambda w: range(w[0], min(w[0] + 30, ITEMS))),
    "window_by_time": lambda s: s.window_by_time(7, at=abs).flat_map_inline(lambda w: w.items),
    "join": lambda s: s.join(Stream([]), abs, how="left").map_inline(lambda pair: pair[0]),
}


class Spoiler:
    """A sink that does with its lists what it likes."""

    def __init__(self):
        self.got = []

    def write(self, items):
        self.got += items
        items.clear()

    def close(self):
        pass


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_a_sink_may_change_the_lists_that_it_gets(flow, pool):
    sink = Spoiler()
    run(flow(Stream(range(ITEMS))).to(sink), pool=pool)
    assert sorted(sink.got) == list(range(ITEMS))
