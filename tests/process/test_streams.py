"""Whole graphs over a real pool, against plain Python: results, errors, ends, and what is refused before a start."""

import asyncio
import gc
import json
import queue
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from itertools import count, takewhile
from time import monotonic

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.engines import EVERY, able, pool_of

from orchestrator import ConfigError, Failure, ItemError, Pool, Stream, WorkerDiedError, Workflow, run
from orchestrator.engine.stage import Stage
from orchestrator.graph.runner import Runner
from orchestrator.graph.sources import BlockingSource


@pytest.fixture(scope="module", params=EVERY)
def pool(request):
    with pool_of(request) as pool:
        yield pool


def square(x):
    return x * x


def is_even(x):
    return x % 2 == 0


def twice(x):
    return [x, x]


def fails_at_500(x):
    if x == 500:
        raise ValueError("no 500")
    return x


def test_taking_the_first_of_an_endless_stream_frees_the_workers_for_the_rest(pool):
    first, log = [], []

    def endless():
        try:
            yield from count()
        finally:
            log.append("closed")

    def others():
        deadline = monotonic() + 30
        yield from takewhile(lambda _: not log and monotonic() < deadline, count())
        log.append("all others")

    ends = Stream(endless()).map(square).flat_map(twice).take(5).to(first), Stream(others()).map(square).to(None)
    run(*ends, pool=pool)
    assert (first, log) == ([0, 0, 1, 1, 4], ["closed", "all others"])


def test_what_fails_in_a_worker_behind_what_was_taken_counts_for_nothing(pool):
    took = []
    run(Stream(range(1000)).map(fails_at_500, chunk=400).take(500).to(took), pool=pool)
    assert took == [*range(500)]


class Recorder:
    """A sink that can be aborted, and counts."""

    def __init__(self):
        self.items = []
        self.closes = self.aborts = 0

    def write(self, items):
        self.items += items

    def close(self):
        self.closes += 1

    def abort(self):
        self.aborts += 1


# ---- results --------------------------------------------------------------------------------------------------


def test_neighbouring_steps_are_fused_and_give_what_plain_python_gives(pool):
    stream = Stream(range(5000)).map(square).filter(is_even).flat_map(twice)
    assert "map square + filter is_even + flat_map twice [workers, fused]" in stream.explain()
    out = []
    report = run(stream.to(out), pool=pool)
    assert out == [x * x for x in range(5000) if x % 2 == 0 for _ in range(2)]
    assert report.nodes["square"].items_out == 5000
    assert (report.nodes["is_even"].items_in, report.nodes["is_even"].items_out) == (5000, 2500)
    assert (report.items_in, report.items_out, report.failed) == (5000, 5000, 0)


def test_steps_with_other_options_are_stages_of_their_own(pool):
    stream = Stream(range(100)).map(square, chunk=3).map(square, chunk=5).filter(is_even)
    assert len(stream.explain().splitlines()) == 3
    out = []
    run(stream.to(out), pool=pool)
    assert out == [x**4 for x in range(100) if x % 2 == 0]


def test_a_step_that_stands_in_two_stages_is_reported_twice(pool):
    report = run(Stream(range(100)).map(square).barrier().filter(is_even).map(square).to(None), pool=pool)
    assert list(report.nodes) == ["source", "square", "barrier", "is_even", "square-2", "sink"]
    assert (report.nodes["square"].items_in, report.nodes["square-2"].items_in) == (100, 50)


def test_errors_of_sources_and_of_closing_sinks_name_their_node(pool):
    def broken():
        yield 1
        raise KeyError("no more")

    with pytest.raises(KeyError) as caught:
        run(Stream(broken(), name="feed").map(square).to(None), pool=pool)
    assert caught.value.__notes__ == ["in node 'feed'"]

    class Full(Recorder):
        def close(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space") as caught:
        run(Stream([1]).map(square).to(Full(), name="last"), pool=pool)
    assert caught.value.__notes__ == ["in node 'last'"]


def test_a_whole_flow(pool, tmp_path):
    """Merged by priority, worked on, routed three ways, one windowed, one joined, a tee."""
    urgent, usual = Stream(range(300)), Stream(range(300, 1000))
    worked = Stream.merge_by_priority([(usual, 1), (urgent, 2)]).map(square)
    backup = tmp_path / "backup.txt"
    routes = worked.tee(str(backup)).route({"even": is_even, "huge": lambda x: x > 900_000}, default="rest")
    windows, joined, rest = [], [], []
    reference = Stream([(x * x, "known") for x in range(0, 1000, 10)])
    report = run(
        routes["even"].window(10, step=10).map_inline(sum).to(windows),
        routes["huge"].join(reference, key=lambda x: x, right_key=lambda pair: pair[0]).to(joined),
        routes["rest"].to(rest),
        pool=pool,
    )
    squares = [x * x for x in range(1000)]
    assert Counter(map(int, backup.read_text().split())) == Counter(squares)
    assert sum(windows) == sum(x for x in squares if x % 2 == 0)
    assert sorted(x for x, _ in joined) == [x * x for x in range(0, 1000, 10) if x * x > 900_000]
    assert sorted(rest) == sorted(x for x in squares if x % 2 and x <= 900_000)
    assert report.nodes["merge_by_priority"].items_in == 1000


def test_a_moving_average():
    prices = [3.0, 5.0, 4.0, 8.0, 6.0]
    means = Stream(prices).window(3, partial=False).map_inline(lambda w: sum(w) / len(w)).collect()
    assert means == [4.0, 17 / 3, 6.0]


def test_keyed_totals_of_several_sources():
    totals = defaultdict(int)

    def add(pair):
        totals[pair[0]] += pair[1]

    run(Stream.multiplex({"a": Stream(range(10)), "b": Stream(range(100)), "c": Stream([])}).to(add))
    assert totals == {"a": 45, "b": 4950}


def test_parse_validate_enrich_keep_format(pool):
    flow = (
        Workflow("scores")
        .step("parse", json.loads)
        .step("validate", _validate, when=lambda r: r["check"])
        .step("enrich", lambda r: {**r, "score": r["n"] / 10})
        .filter("keep", lambda r: r["score"] > 0.5)
        .step("format", lambda r: f"{r['n']}:{r['score']}")
    )
    lines = [json.dumps({"n": n, "check": n % 2 == 0}) for n in range(10)]
    assert run_to_list(Stream(lines).through(flow), pool) == [f"{n}:{n / 10}" for n in range(6, 10)]


def _validate(record):
    assert record["n"] >= 0
    return record


def test_a_barrier_between_stages_holds_everything_back(pool, tmp_path):
    mark = tmp_path / "marks"

    def first(x):
        with mark.open("a") as file:
            file.write(f"{x}\n")
        return x

    def second(x):
        return len(mark.read_text().splitlines())

    assert run_to_list(Stream(range(200)).map(first, chunk=7).barrier().map(second, chunk=7), pool) == [200] * 200


def test_a_barrier_spills_what_is_too_much(monkeypatch):
    monkeypatch.setattr("orchestrator.graph.barrier.HELD_ITEMS", 100)
    assert Stream(range(50_000)).barrier().collect() == list(range(50_000))


def test_files_are_read_in_the_workers(pool, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(20_000)))
    stream = Stream.read(path, format="jsonl", block_bytes=10_000).map(lambda record: record["n"])
    assert "flat_map read + map" in stream.explain()
    assert run_to_list(stream, pool) == list(range(20_000))


def test_a_record_that_cannot_be_read_is_named(pool, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(ItemError) as caught:
        run_to_list(Stream.read(path, format="jsonl"), pool)
    assert "in.jsonl" in str(caught.value)
    assert "byte 9" in str(caught.value) or "line 2" in str(caught.value)


operations = st.lists(
    st.sampled_from(["map", "filter", "flat_map", "map_inline", "filter_inline", "window", "barrier", "tee", "chunky"]),
    max_size=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 300), operations)
def test_random_chains_give_what_plain_python_gives(pool, size, chain):
    stream, plain = Stream(range(size)), list(range(size))
    for name in chain:
        if name == "map":
            stream, plain = stream.map(_size), list(map(_size, plain))
        elif name == "chunky":
            stream, plain = stream.map(_size, chunk=2), list(map(_size, plain))
        elif name == "filter":
            stream, plain = stream.filter(_odd_size), list(filter(_odd_size, plain))
        elif name == "flat_map":
            stream, plain = stream.flat_map(twice), [y for x in plain for y in twice(x)]
        elif name == "map_inline":
            stream, plain = stream.map_inline(_size), list(map(_size, plain))
        elif name == "filter_inline":
            stream, plain = stream.filter_inline(_odd_size), list(filter(_odd_size, plain))
        elif name == "window":
            stream, plain = stream.window(3, step=2), [plain[at : at + 3] for at in range(0, len(plain), 2)]
        elif name == "barrier":
            stream = stream.barrier()
        else:
            copy = []
            stream = stream.tee(copy)
    assert run_to_list(stream, pool) == plain


def _size(x):
    return sum(map(_size, x)) + 1 if isinstance(x, list) else x + 1


def _odd_size(x):
    return _size(x) % 2 == 1


def run_to_list(stream, pool):
    out = []
    run(stream.to(out), pool=pool)
    return out


# ---- errors and early ends ------------------------------------------------------------------------------------


def test_an_error_names_its_step_and_every_sink_is_aborted_once(pool, tmp_path):
    one, other = Stream(range(1000)).map(fails_at_500, chunk=10).broadcast(2)
    sinks = [Recorder(), Recorder()]
    path = tmp_path / "out.txt"
    with pytest.raises(ItemError, match="no 500") as caught:
        run(one.tee(sinks[0], str(path)).to(sinks[1]), other.to(None), pool=pool)
    assert caught.value.step == "fails_at_500"
    assert [(sink.closes, sink.aborts) for sink in sinks] == [(0, 1), (0, 1)]
    assert not list(tmp_path.iterdir())
    assert list(pool.map(square, [3])) == [9]


def test_a_sink_that_raises_is_named_and_the_others_are_aborted(pool):
    class Full(Recorder):
        def write(self, items):
            raise OSError("disk full")

    one, other = Stream(range(1000)).map(square).broadcast(2)
    sink = Recorder()
    with pytest.raises(OSError, match="disk full") as caught:
        run(one.to(Full(), name="archive"), other.to(sink), pool=pool)
    assert any("archive" in note for note in caught.value.__notes__)
    assert (sink.closes, sink.aborts) == (0, 1)


def test_what_a_source_gave_before_it_raised_goes_through(pool):
    def source():
        yield from range(100)
        raise RuntimeError("the source broke")

    got, sink = [], Recorder()
    with pytest.raises(RuntimeError, match="the source broke"):
        run(Stream(source()).map(square).tee(got.append).to(sink), pool=pool)
    assert sink.items == [x * x for x in range(100)]
    assert (sink.closes, sink.aborts) == (0, 1)


def test_leaving_early_closes_the_source_and_aborts_the_sinks():
    closed, sink = [], Recorder()

    def source():
        try:
            yield from count()
        finally:
            closed.append(True)

    for x in Stream(source()).tee(sink).map(square):
        if x > 100:
            break
    gc.collect()
    assert closed == [True]
    assert (sink.closes, sink.aborts) == (0, 1)


def test_a_dropped_iterator_frees_everything():
    results = iter(Stream(count()).map(square))
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    del results
    gc.collect()


def test_failures_are_skipped_and_counted(pool):
    out = []
    report = run(Stream(range(1000)).map(fails_at_500, on_error="skip").to(out), pool=pool)
    assert out == [x for x in range(1000) if x != 500]
    assert report.failed == report.nodes["fails_at_500"].failed == 1


def test_a_worker_that_dies_costs_nothing(tmp_path):
    flag = tmp_path / "died"

    def dies_once(x):
        if x == 50 and not flag.exists():
            flag.touch()
            import os

            os._exit(1)
        return x

    with Pool(workers=2) as pool:
        assert run_to_list(Stream(range(100)).map(dies_once), pool) == list(range(100))


def test_an_item_that_kills_its_workers_is_named():
    def dies(x):
        if x == 50:
            import os

            os._exit(1)
        return x

    with Pool(workers=2) as pool, pytest.raises(WorkerDiedError):
        run_to_list(Stream(range(100)).map(dies), pool)


def test_two_flows_at_once_on_one_pool(pool):
    results = {}

    def flow(k):
        results[k] = run_to_list(Stream(range(2000)).map(lambda x: x + k), pool)

    threads = [threading.Thread(target=flow, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {k: [x + k for x in range(2000)] for k in range(3)}


# ---- sources that block ---------------------------------------------------------------------------------------


def test_a_queue_up_to_none(pool):
    source = queue.Queue()
    thread = threading.Thread(target=lambda: [source.put(x) for x in [*range(3000), None]])
    thread.start()
    assert run_to_list(Stream(source).map(square), pool) == [x * x for x in range(3000)]
    thread.join()


def test_an_async_generator():
    async def numbers():
        for x in range(100):
            await asyncio.sleep(0)
            yield x

    assert Stream(numbers()).map_inline(square).collect() == [x * x for x in range(100)]


def test_the_output_of_a_subprocess():
    code = "for x in range(1000): print(x)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert Stream(process.stdout).map_inline(int).collect() == list(range(1000))


def test_what_is_ready_does_not_wait_for_what_blocks():
    waiting = queue.Queue()
    seen = []

    def release(x):
        seen.append(x)
        if x == 99:  # everything of the other source is through before this one gives its first
            waiting.put("late")
            waiting.put(None)

    run(Stream.merge(Stream(waiting), Stream(range(100))).to(release))
    assert seen == [*range(100), "late"]


def test_a_blocking_source_that_raises():
    def source():
        yield 1
        raise RuntimeError("gone")

    sink = Recorder()
    with pytest.raises(RuntimeError, match="gone"):
        run(Stream(source(), blocking=True).to(sink))
    assert sink.items == [1]
    assert (sink.closes, sink.aborts) == (0, 1)


# ---- what is refused before anything starts -------------------------------------------------------------------


def test_a_stream_that_is_consumed_twice():
    stream = Stream(never_read())
    with pytest.raises(ConfigError, match=r"consumed twice.*broadcast"):
        run(stream.map(square).to([]), stream.filter(is_even).to([]))


def test_a_branch_that_nobody_consumes():
    one, _ = Stream(never_read()).broadcast(2)
    with pytest.raises(ConfigError, match=r"branch '1'.*never consumed"):
        run(one.to([]))
    with pytest.raises(ConfigError, match="never consumed"):
        one.collect()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (run, "to\\(sink\\)"),
        (lambda s: s.to(5), "is not a sink"),
        (lambda s: s.to("/nonexistent/folder/x"), "no folder"),
        (lambda s: s.map(3), "needs a function"),
        (lambda s: s.map(square, retrys=1), "retries"),
        (lambda s: s.map(square, chunk=0), "chunk"),
        (lambda s: s.join([], key=square), "a stream is needed"),
        (lambda s: s.demultiplex(square), "needs either keys"),
        (lambda s: s.through(square), "Workflow"),
        (lambda s: Stream(5), "iterable"),
        (lambda s: Stream.read("/nonexistent"), "can't read"),
        (lambda s: Stream.read("-", format="xml"), "format"),
    ],
)
def test_mistakes_are_told_before_anything_starts(make, said):
    with pytest.raises(ConfigError, match=said):
        make(Stream(never_read()))


def never_read():
    raise AssertionError("nothing was to be read")
    yield


# ---- one engine for maps and streams --------------------------------------------------------------------------


def test_a_source_that_refills_one_buffer_gives_each_item_once(pool):
    if able(pool, "background") and not able(pool, "processes"):
        pytest.skip("threads get the items themselves, not copies")
    def refilled():
        buffer = bytearray(4)
        for number in range(2000):
            buffer[:] = number.to_bytes(4, "big")
            yield buffer

    out = []
    run(Stream(refilled()).map(bytes).to(out), pool=pool)
    assert out == [number.to_bytes(4, "big") for number in range(2000)]


def test_an_error_keeps_its_cause_on_its_way_out_of_a_graph(pool):
    stream = Stream(range(1000)).map(fails_at_500, chunk=10)
    seen = []
    with pytest.raises(ItemError) as caught:
        seen.extend(stream)
    assert isinstance(caught.value.__cause__, ValueError)
    assert seen == list(range(500))  # what came before the failure was given
    with pytest.raises(ItemError) as caught:
        run(stream.to([]), pool=pool)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_failure_passes_the_stages_behind_it_by(pool):
    stream = Stream(range(600)).map(fails_at_500, on_error="return").barrier().map(square, on_error="return")
    out = []
    run(stream.to(out), pool=pool)
    assert sorted(item for item in out if item or item == 0) == [x * x for x in range(600) if x != 500]
    assert [item.index for item in out if isinstance(item, Failure)] == [500]


def test_a_source_waits_whose_room_another_thread_takes_between_a_turn_and_the_wait(monkeypatch):
    """The stage behind it stands in line for a credit then; the graph is not stuck."""
    source, taken, waited = queue.Queue(), [], []
    is_waiting, wants_room, wait = BlockingSource.is_waiting.fget, Stage.wants_room, Runner._wait

    def asked(node):
        taken.extend([] if waited else ["by another"])
        return is_waiting(node)

    def waits(runner):
        if not waited:
            waited.append(True)
            taken.clear()
            source.put(-1)
            source.put(None)
        wait(runner)

    monkeypatch.setattr(BlockingSource, "is_waiting", property(asked))
    monkeypatch.setattr(Stage, "wants_room", lambda stage, **how: not taken and wants_room(stage, **how))
    monkeypatch.setattr(Runner, "_wait", waits)
    found = []
    with Pool(1) as pool:
        run(Stream(source).map(abs).to(found), pool=pool)
    assert found == [1]
