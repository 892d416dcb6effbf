"""Graphs of unusual size: thousands of nodes in a row, and merges of nothing."""

import pytest

from orchestrator import Report, Stream, run


@pytest.mark.parametrize("length", [1, 49, 50, 51, 100, 2000])
def test_a_chain_of_steps_may_be_as_long_as_one_likes(length):
    stream = Stream(range(2500))
    for _ in range(length):
        stream = stream.map_inline(lambda x: x + 1)
    assert stream.collect() == list(range(length, 2500 + length))


def test_so_may_one_of_branches_that_meet_again():
    stream = Stream(range(300))
    for _ in range(300):
        one, other = stream.broadcast(2)
        stream = Stream.merge_sorted(one, other.filter_inline(lambda _: False)).tee([])
    out = []
    report = run(stream.to(out))
    assert isinstance(report, Report)
    assert out == list(range(300))
    assert len(report.nodes) == 300 * 4 + 2  # nothing is reported that was not written
    assert (report.items_in, report.items_out) == (300, 300)


def test_leaving_a_long_chain_early_closes_its_source():
    closed = []

    def numbers():
        try:
            yield from range(10**9)
        finally:
            closed.append(True)

    stream = Stream(numbers())
    for _ in range(500):
        stream = stream.map_inline(abs)
    items = iter(stream)
    assert next(items) == 0
    items.close() if hasattr(items, "close") else None
    del items
    assert closed == [True]


def test_many_stages_in_workers(pool):
    stream = Stream(range(40))
    for number in range(120):
        stream = stream.map(abs, retries=number % 2)  # other options: a stage of its own
    out = []
    run(stream.to(out), pool=pool)
    assert out == list(range(40))


def test_merging_nothing_gives_nothing():
    for empty in (
        Stream.merge(),
        Stream.merge_sorted(),
        Stream.merge_sorted(key=abs),
        Stream.merge_by_priority([]),
        Stream.multiplex({}),
    ):
        assert empty.map_inline(abs).collect() == []
    assert Stream.merge(Stream.merge(), Stream([1])).collect() == [1]
