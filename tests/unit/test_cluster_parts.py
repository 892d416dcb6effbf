"""The parts of a cluster's engine that need no process: which node is next, what a lost node means, what is packed."""

import pickle
import sys
import threading
import zipfile
from collections import deque
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import ClosedError
from orchestrator.cluster.book import Book
from orchestrator.cluster.code import Packer
from orchestrator.cluster.codec import AsTheyAre
from orchestrator.cluster.dask.engine import is_exposed
from orchestrator.cluster.dask.nodes import SILENT_S, Nodes
from orchestrator.cluster.engine import ClusterEngine
from orchestrator.cluster.node import serve
from orchestrator.cluster.node.code import Code, CodeFile
from orchestrator.cluster.node.definitions import GivenDefinitions
from orchestrator.cluster.node.messages import Block, Call, Outcome, carried, content
from orchestrator.engine.core.chunking import LOCAL, MAX_CHUNK_BYTES, ChunkSizer, Limits
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.core.retry import RetryPolicy
from orchestrator.engine.protocol.counts import StageCounts
from orchestrator.engine.protocol.events import Broken, Ended, Finished, Lost, Returned
from orchestrator.engine.recovery.recovery import Recovery
from orchestrator.settings import PoolSettings
from workers.functions.runner import CallSpec
from workers.pickling.main_module import Definition
from workers.transport.payload import Encoded


def said(slots, seen=1.0, status="running"):
    return {"nthreads": slots, "last_seen": seen, "status": status}


@pytest.fixture
def nodes():
    found = Nodes()
    for address, slots in (("a", 1), ("b", 3)):
        found.greeted(address, slots, "host", 1, 0.0)
    return found


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(1, 40))
@settings(max_examples=50)
def test_chunks_are_spread_by_slots(slots, chunks):
    nodes = Nodes()
    for number, each in enumerate(slots):
        nodes.greeted(str(number), each, "", 0, 0.0)
    for ident in range(chunks):
        nodes.next().held.add(ident)
    loads = [len(node.held) / node.slots for node in nodes.all()]
    assert max(loads) - min(loads) <= 1.0
    assert nodes.slots == sum(slots)


def test_who_leaves_and_who_is_silent_is_lost_once(nodes):
    assert nodes.look({"a": said(1), "b": said(3)}, 1.0) == []
    lost = nodes.look({"a": said(1)}, 2.0)
    assert ([node.address for node in lost], nodes.slots) == (["b"], 1)
    assert [node.address for node in nodes.look({"a": said(1)}, 1.0 + SILENT_S)] == ["a"]
    assert nodes.look({"a": said(1)}, 2.0 + SILENT_S) == []
    assert nodes.next() is None
    assert nodes.look({"a": said(1, seen=2.0)}, 3.0 + SILENT_S) == []  # it answers again
    assert nodes.slots == 1


def test_a_worker_that_retires_or_pauses_gets_nothing_new(nodes):
    nodes.look({"a": said(1, status="paused"), "b": said(3, status="closing_gracefully")}, 1.0)
    assert (nodes.slots, nodes.next()) == (0, None)


@pytest.mark.parametrize(
    ("address", "exposed"),
    [
        ("tcp://127.0.0.1:8786", False), ("tcp://localhost:8786", False), ("tcp://[::1]:8786", False),
        ("tls://node7:8786", False), ("tcp://node7:8786", True), ("tcp://10.0.0.1:8786", True),
    ],
)  # fmt: skip
def test_plain_connections_beyond_this_machine_are_known(address, exposed):
    assert is_exposed(address) is exposed


# ---- a lost node ----------------------------------------------------------------------------------------------


def lose(recovery, chunk):
    ended = Ended("node", chunk.ident, None, 0.0)
    recovery.lost(Lost(chunk, 0, 1, None, to_blame=False, ended=ended))
    found = []
    while (again := recovery.again.next()) is not None:
        found.append(again)
    return found


def test_a_chunk_that_loses_its_node_is_blamed_at_last():
    done = []
    recovery = Recovery(RetryPolicy(max_deaths=3), StageCounts(), done.append)
    again = Chunk(1, 0, ["x", "y"], 0)
    for _ in range(2):
        (again,) = lose(recovery, again)
        assert (again.items, again.deaths) == (["x", "y"], 0)
    x, y = lose(recovery, again)
    assert [part.items for part in (x, y)] == [["x"], ["y"]]
    assert (x.deaths, y.deaths) == (0, 0)
    times = 0
    parts = [x]
    while parts:
        times += 1
        parts = lose(recovery, parts[0])
    assert times == 5  # twice innocent, then three deaths
    recovery.settle(y, "good")
    (assembly,) = done
    assert assembly.outcomes[1] == "good"
    assert "was lost with its node" in str(assembly.outcomes[0].what)


# ---- chunk sizes of other engines -----------------------------------------------------------------------------


@given(st.floats(1e-6, 1.0), st.integers(1, 64), st.floats(0.001, 1.0))
@settings(max_examples=100)
def test_a_chunk_runs_as_long_as_its_engine_wants(item_s, workers, target_s):
    sizer = ChunkSizer("auto", workers, None, Limits(target_s, 20, 1 << 20))
    size = 1
    for _ in range(30):
        sizer.observe(size, size * item_s, 1)
        size = sizer.next_size(0)
    wanted = target_s * max(1, workers / 20)
    assert size == 1 or size * item_s <= wanted * 1.0001
    assert size >= min(wanted / item_s * 0.5, 1 << 16) or size > 30_000
    assert MAX_CHUNK_BYTES < 1 << 20


# ---- what travels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [4, 5])
@given(data=st.binary(max_size=100))
@settings(max_examples=20)
def test_bytes_travel_beside_the_pickle_where_that_can_be(protocol, data):
    block = Block(data)
    buffers = []
    dumped = pickle.dumps(block, protocol, buffer_callback=buffers.append if protocol == 5 else None)
    back = pickle.loads(dumped, buffers=buffers)
    assert bytes(back.writable()) == data
    assert not memoryview(back.writable()).readonly
    assert bytes(content(carried(data * 10_000))) == data * 10_000


def test_what_a_node_lacks_is_noted_and_told_when_it_comes():
    given_names, told = GivenDefinitions(), {}
    old, new = Definition("f", 5, is_current=True, pickled=b"old"), Definition("f", 9, is_current=True, pickled=b"new")
    assert given_names.answer(told, [("f", None), ("g", 3)])[0].pickled is None
    assert sorted(given_names.take_missing(), key=str) == [("f", None), ("g", 3)]
    assert given_names.take_missing() == []
    assert given_names.take_in([old])
    assert given_names.noticed()
    assert given_names.rebound(told) == [old]
    assert given_names.take_in([new])
    assert not given_names.take_in([old, new])
    assert given_names.rebound(told) == [new]
    assert given_names.answer({}, [("f", 5)]) == [old]


def test_what_is_not_installed_is_packed_whole_and_again_when_it_changes(tmp_path, monkeypatch):
    package = tmp_path / "of_mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "data.json").write_text("{}")
    (tmp_path / "alone.py").write_text("x = 1\n")
    (tmp_path / "beside.py").write_text("y = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import alone  # noqa: F401
    import of_mine  # noqa: F401

    packer = Packer()
    first = packer.packed()
    names = set(zipfile.ZipFile(BytesIO(content(first.archive))).namelist())
    assert {"of_mine/__init__.py", "of_mine/data.json", "alone.py", "beside.py"} <= names
    assert not any(name.startswith(("orchestrator", "workers", "pytest", "hypothesis")) for name in names)
    assert packer.packed() is first
    (tmp_path / "beside.py").write_text("y = 22\n")
    assert packer.packed().digest != first.digest
    for name in ("alone", "of_mine"):
        del sys.modules[name]


# ---- the book of calls and chunks -----------------------------------------------------------------------------

STEPS = st.sampled_from(["open", "close", "send", "put ahead", "put first", "send ahead", "drop ahead", "brought", "nothing", "shorten", "consumed"])


@given(st.lists(st.tuples(STEPS, st.integers(0, 99)), max_size=60))
@settings(max_examples=100)
def test_the_book_counts_the_bytes_that_are_on_the_way(steps):  # noqa: PLR0912 - a step each
    book, opened, ahead, unconsumed = Book(), [], [], {}
    call = Call(b"", 0, 0, (), None, "f", None, b"", forwards_output=False)
    for step, pick in steps:
        if step == "open":
            opened.append(book.open(call, deque()).call.number)
            assert opened == sorted(opened)
        if not opened:
            continue
        number = opened[pick % len(opened)]
        encoded = Encoded(b"", (), 7 * pick + 5)
        sent = list(book.sent)
        if step == "send":
            book.send(number, Chunk(number, 0, ["x"] * (pick + 1), 0), encoded)
        elif step in {"put ahead", "put first"}:
            chunk = Chunk(number, 0, ["x"], 0)
            book.put_ahead(number, [(chunk, encoded)], first=step == "put first")
            ahead.insert(0 if step == "put first" else len(ahead), (chunk, encoded))
        elif step == "send ahead" and book.has_ahead:
            assert book.sent[book.send_ahead()].chunk is ahead.pop(0)[0]
        elif step == "drop ahead":
            kept = [each for each in ahead if each[0].call != number]
            assert book.drop_ahead(number) == len(ahead) - len(kept)
            ahead = kept
        elif step == "close":
            opened.remove(number)
            ahead = [each for each in ahead if each[0].call != number]
            unconsumed.pop(number, None)
            book.close(number)
        elif step == "consumed":
            book.consumed(number, unconsumed[number].pop() if unconsumed.get(number) else 0)
        elif sent and step in {"brought", "nothing"}:
            back = book.sent.pop(sent[pick % len(sent)])
            if step == "brought":
                book.brought(back, pick)
                unconsumed.setdefault(back.chunk.call, []).append(back.chunk.size_bytes)
            else:
                book.brought_nothing(back)
        elif sent and step == "shorten":
            chunk = book.sent[sent[pick % len(sent)]].chunk
            whole, size_bytes = list(chunk.items), chunk.size_bytes
            split = book.shorten(chunk, min(1, len(whole)))
            assert ([*chunk.items, *split.rest], chunk.size_bytes + split.size_bytes) == (whole, size_bytes)
        assert [book.count_ahead(each) for each in opened] == [sum(it[0].call == each for it in ahead) for each in opened]
        assert book.in_flight_bytes == (
            sum(each.chunk.size_bytes for each in book.sent.values())
            + sum(encoded.size for _, encoded in ahead)
            + sum(map(sum, unconsumed.values()))
        )
        assert book.oldest == min(opened, default=book.oldest)


# ---- the engine, over a carrier that only notes ---------------------------------------------------------------


class Notes:
    """A `Carrier` that keeps what it is sent."""

    slots = 2

    def __init__(self):
        self.works, self.dropped, self.interrupts = [], [], False

    def start(self, done, changed, broke):
        self.done, self.broke = done, broke

    def sites(self):
        return []

    def carry(self, call):
        if self.interrupts:
            raise KeyboardInterrupt
        return call.number

    def send(self, carried, call, work, *, once):
        self.works.append(work)

    def drop(self, idents, carried, oldest):
        self.dropped.append((idents, carried, oldest))

    def stop(self, timeout_s):
        return []

    def close(self):
        pass


@pytest.fixture
def engine():
    carrier = Notes()
    limits = {"name": "noting", "capabilities": frozenset(), "limits": LOCAL}
    found = ClusterEngine(PoolSettings(8, "forkserver", None, (), 1 << 20, 3), carrier, AsTheyAre, **limits)
    yield found, carrier
    found.terminate()


def opened_on(engine):
    events = deque()
    spec = CallSpec(abs, star=False, stop_at_failure=False, forward_output=False)
    return engine.open(events, engine.encode_function(spec), name="abs"), events


def chunk_of(number, *items):
    return Chunk(number, 0, list(items), 0), AsTheyAre.message((0, items))


def test_a_call_whose_opening_is_interrupted_is_closed(engine):
    engine, carrier = engine
    carrier.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        opened_on(engine)
    carrier.interrupts = False
    number, _ = opened_on(engine)
    engine.dispatch(number, [chunk_of(number, 1)], 1)
    assert carrier.works[0].oldest == number


def test_chunks_are_sent_as_there_is_room_and_those_ahead_as_it_comes(engine):
    engine, carrier = engine
    number, events = opened_on(engine)
    assert engine.dispatch(number, [chunk_of(number, x) for x in range(3)], 1) == 2
    engine.put_ahead(number, [chunk_of(number, x) for x in range(10, 14)], 2)
    assert (len(carrier.works), engine.count_ahead(number)) == (4, 2)
    carrier.done(carrier.works[0].ident, Outcome("returned", "", 1))
    assert [type(event) for event in events] == [Returned]
    assert (len(carrier.works), engine.count_ahead(number), engine.chunks_in_flight) == (5, 1, 4)
    carrier.done(carrier.works[0].ident, Outcome("returned", "", 1))  # once is enough
    assert len(events) == 1


def test_an_outcome_is_told_and_its_prints_are_shown_by_who_waits(engine):
    engine, carrier = engine
    said = []
    engine.show_output_by(lambda *printed: said.append(printed))
    number, events = opened_on(engine)
    engine.dispatch(number, [chunk_of(number, -1)], 1)
    carrier.done(carrier.works[0].ident, Outcome("finished", "", 1, body=[1], printed=((0, "stdout", "hello\n"),)))
    assert [(type(event), event.body.decode()) for event in events] == [(Finished, [1])]
    assert said == []
    engine.drive(lambda: True)
    assert said == [(0, "stdout", "hello\n")]


def test_what_still_runs_is_told_when_the_engine_breaks_or_ends(engine):
    engine, carrier = engine
    number, events = opened_on(engine)
    engine.dispatch(number, [chunk_of(number, 1)], 1)
    assert "pid" not in str(engine.status(str))
    engine.terminate()
    assert isinstance(events[0], Broken)
    assert isinstance(events[0].error, ClosedError)
    assert carrier.dropped[-1][0] == [carrier.works[0].ident]
    with pytest.raises(ClosedError):
        engine.dispatch(number, [chunk_of(number, 2)], 1)


# ---- the end of a node pool -----------------------------------------------------------------------------------


class Closing:
    """A node pool that only notes how it is ended."""

    def __init__(self, busy):
        self.busy, self.used_s = busy, float("inf")
        self.closing = threading.Event()
        self.given = []

    def close(self, timeout_s):
        self.given.append(timeout_s)
        self.closing.set()
        return []


def test_what_runs_for_a_pool_that_has_ended_is_not_waited_for():
    busy, idle, asked = Closing(True), Closing(False), Closing(True)
    serve._pools.update({(b"gone", "1"): busy, (b"gone", "2"): idle, (b"closed", ""): asked})
    serve.end(b"gone")
    serve.end(b"closed", 3.0)
    assert (busy.given, idle.given, asked.given) == ([0.0], [serve._CLOSING_S], [3.0])


def test_the_watch_of_a_node_elsewhere_ends_with_its_pool():
    pool, key = Closing(True), (b"watched", "")
    serve._pools[key] = pool
    watch = threading.Thread(target=serve._watch, args=(key, pool, None), daemon=True)
    watch.start()
    serve.end(b"watched")
    watch.join(30)
    assert not watch.is_alive()


def test_sent_modules_are_freed_with_the_node_pool():
    file = CodeFile(Code("digest", carried(b"zip" * 50_000)))
    assert Path(file.path).read_bytes() == b"zip" * 50_000
    file.close()
    file.close()
    assert not Path(file.path).exists()
