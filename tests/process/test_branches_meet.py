"""Branches of one stream that meet again, one far behind the other: bounded buffers grow only where nothing else moves."""

import heapq
import queue

import pytest

from orchestrator import InternalError, ItemError, Pool, Stream, run
from orchestrator.graph.flow import overflow
from orchestrator.graph.flow.node import Node
from orchestrator.graph.runner import Runner
from orchestrator.graph.sinks import SinkNode, as_sink
from orchestrator.graph.sources import SourceNode

N = 20_000


@pytest.fixture(scope="module")
def workers():
    with Pool(workers=2, buffer_bytes="1M") as pool:
        yield pool


def inline(stream):
    return stream.map_inline(abs)


def in_workers(stream):
    return stream.map(abs)


def is_rare(n):
    return n >= N - 3


def is_early(n):
    return n < N // 2


def by_half(n):
    return n % (N // 2)


def in_step_behind_a_barrier(step):
    one, other = step(Stream(range(N))).broadcast(2)
    return [step(one).barrier().in_step(other)], [list(zip(range(N), range(N), strict=True))]


def rare_ones_merged_back(step):
    ways = step(Stream(range(N))).route({"rare": is_rare})
    return [Stream.merge_sorted(step(ways["rare"]), ways["rest"])], [list(range(N))]


def joins_crosswise(step):
    left, right = Stream(range(N)).route({"x": is_early}), Stream(range(N)).route({"x": lambda n: not is_early(n)})
    ends = [step(left[way]).join(step(right[way]), by_half) for way in ("x", "rest")]
    return ends, [[(n, n + N // 2) for n in range(N // 2)], [(n + N // 2, n) for n in range(N // 2)]]


def meeting_twice(step):
    one, two, three = step(Stream(range(N))).broadcast(3)
    late = step(one).window(N, step=N).flat_map_inline(list)
    near = Stream.merge_sorted(late, two)
    return [near.window(2, step=2).map_inline(sum).in_step(step(three))], [[(2 * n, n) for n in range(N)]]


FLOWS = (in_step_behind_a_barrier, rare_ones_merged_back, joins_crosswise, meeting_twice)


@pytest.mark.parametrize("step", [inline, in_workers], ids=["inline", "workers"])
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_the_flow_ends_and_is_right(flow, step, workers):
    ends, wanted = flow(step)
    got = [[] for _ in ends]
    report = run(*(end.to(sink) for end, sink in zip(ends, got, strict=True)), pool=workers)
    assert [sorted(each) for each in got] == wanted
    assert report.grown or step is in_workers  # with workers, what waits may fit into the stages


def test_the_report_names_the_edge_and_what_went_to_disk(workers):
    one, other = Stream({"n": n, "text": str(n) * 20} for n in range(N)).map(dict).broadcast(2)
    report = run(one.barrier().in_step(other).to(None), pool=workers)
    ((name, edge),) = report.grown.items()
    assert name == "broadcast.1 -> in_step"
    assert N - 3000 < edge.items < N
    assert edge.disk_bytes > 1_000_000
    assert f"{name} grew to {edge.items:,} items, {edge.disk_bytes:,} bytes went to disk" in str(report)


def test_nothing_grows_where_only_the_consumer_is_slow(workers):
    one, other = Stream(range(N)).map(abs).broadcast(2)
    report = run(Stream.merge_sorted(one, other.map_inline(abs)).map(abs, chunk=1).to(None), pool=workers)
    assert not report.grown


@pytest.mark.parametrize("step", [inline, in_workers], ids=["inline", "workers"])
def test_a_run_that_failed_goes_on_with_what_waits_on_disk(step, workers, tmp_path, monkeypatch):
    monkeypatch.setattr(overflow, "_KEPT_BYTES", 20_000)
    monkeypatch.setattr(overflow, "SEGMENT_BYTES", 30_000)
    out, failing = tmp_path / "out", [7_000, 15_000, 19_000]

    def breaks(pair):
        if failing and pair[0] >= failing[0]:
            failing.pop(0)
            raise LookupError(pair)
        return pair

    def flow():
        one, other = step(Stream(range(N))).broadcast(2)
        return one.window(12_000, step=12_000).flat_map_inline(list).in_step(other).map_inline(breaks).to(str(out))

    for _ in range(3):
        with pytest.raises(ItemError, match="LookupError"):
            run(flow(), pool=workers, checkpoint=tmp_path / "kept", checkpoint_every_s=0)
    run(flow(), pool=workers, checkpoint=tmp_path / "kept", checkpoint_every_s=0)
    assert out.read_text() == "".join(f"[{n}, {n}]\n" for n in range(N))
    assert not [path for path in (tmp_path / "kept").iterdir() if "edge" in path.name]


def test_a_part_that_stands_still_does_not_wait_for_another_that_never_ends():
    """The merge's other input is a queue that stays open: what is through must come out meanwhile."""
    arriving = queue.Queue()
    one, other = Stream(range(N)).broadcast(2)
    merged = iter(Stream.merge(one.barrier().in_step(other).map_inline(sum), Stream(arriving)))
    got = [next(merged) for _ in range(N)]
    arriving.put(None)
    assert got + list(merged) == [2 * n for n in range(N)]


class Refuses(Node):
    """Takes nothing, ever, and says nothing of a reason."""

    def capacity(self, port):
        return 0

    def receive(self, items, port):
        raise NotImplementedError


@pytest.mark.parametrize("others", [1, 2])
def test_a_graph_that_cannot_move_for_another_reason_is_an_error(others):
    sources = [SourceNode(f"source {n}", range(10)) for n in range(others)]
    node, sink = Refuses("refuses", inputs=others), SinkNode("sink", as_sink(None))
    for port, source in enumerate(sources):
        source.outlets[0].to(node, port)
    node.outlets[0].to(sink)
    with pytest.raises(InternalError, match="graph is stuck"):
        Runner([*sources, node, sink], None).run()


def test_results_that_only_wait_for_a_consumer_count_for_nothing(workers):
    """The stages have finished all they were sent; what they gave waits for edges that have to grow."""
    ways = Stream(range(N)).map(abs).route({"odd": lambda n: n % 2})
    sums = ways["odd"].map(abs).window(N, step=N).flat_map_inline(list)
    merged = Stream.merge_sorted(sums, ways["rest"].map(abs)).map(abs)
    got = []
    run(merged.to(got), pool=workers)
    assert got == list(heapq.merge(range(1, N, 2), range(0, N, 2)))
