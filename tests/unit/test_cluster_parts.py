"""The parts of a cluster's engine that need no process: which node is next, what a lost node means, what is packed."""

import pickle
import sys
import zipfile
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cluster.code import Packer
from orchestrator.cluster.dask.engine import is_exposed
from orchestrator.cluster.dask.nodes import SILENT_S, Nodes
from orchestrator.cluster.node.definitions import GivenDefinitions
from orchestrator.cluster.node.messages import Block, carried, content
from orchestrator.engine.core.chunking import MAX_CHUNK_BYTES, ChunkSizer, Limits
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.core.retry import RetryPolicy
from orchestrator.engine.protocol.counts import StageCounts
from orchestrator.engine.protocol.events import Ended, Lost
from orchestrator.engine.recovery.recovery import Recovery
from workers.pickling.main_module import Definition


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
