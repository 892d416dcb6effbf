"""What waits before a node, in memory and on disk: a queue, whatever is in between, across checkpoints too."""

import tempfile
from collections import deque
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import OrchestratorError
from orchestrator.graph.flow import overflow as module
from orchestrator.graph.flow.overflow import Overflow

lists = st.lists(st.one_of(st.integers(), st.text(max_size=30)), min_size=1, max_size=5)
steps = st.lists(st.one_of(lists, st.sampled_from(["get", "save", "resume"])), max_size=60)


@given(steps, st.integers(0, 800))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_is_a_queue_and_goes_on_where_a_checkpoint_was(tmp_path_factory, script, share_bytes):
    folder = tmp_path_factory.mktemp("overflow")
    place = str(folder / "node-1-edge-0")
    module.SEGMENT_BYTES, before = 200, module.SEGMENT_BYTES
    queue, model, saved = Overflow("the edge", share_bytes, place), deque(), None
    try:
        for step in script:
            if step == "get":
                assert queue.get() == (model.popleft() if model else [])
            elif step == "save":
                saved = queue.snapshot(), list(model)
            elif step == "resume" and saved is not None:
                queue.close(failed=True)
                queue = Overflow("the edge", share_bytes, place)
                queue.restore(saved[0])
                model = deque(saved[1])
            elif isinstance(step, list):
                queue.put(list(step))
                model.append(step)
            assert queue.items == sum(map(len, model))
        while model:
            assert queue.get() == model.popleft()
    finally:
        module.SEGMENT_BYTES = before
        queue.close(failed=False)
    assert not list(folder.iterdir())


def test_without_checkpoints_it_leaves_no_name_and_gives_the_disk_back(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    queue = Overflow("the edge", 0, None)
    for n in range(1000):
        queue.put([n] * 10)
        if n >= 10:
            assert queue.get() == [n - 10] * 10
        assert len(queue._segments) <= 3
        assert not list(tmp_path.iterdir())
    queue.close(failed=True)


def test_what_cannot_be_pickled_waits_in_memory_only():
    queue = Overflow("the edge", 1000, None)
    queue.put([lambda: None])
    with pytest.raises(OrchestratorError, match="waiting at the edge exceed memory and can't be pickled"):
        for _ in range(100):
            queue.put([lambda: None] * 10)
    assert callable(queue.get()[0])
    queue.close(failed=False)


def test_a_file_that_is_gone_or_cut_short_is_named(tmp_path):
    place = str(tmp_path / "node-1-edge-0")
    queue = Overflow("the edge", 0, place)
    queue.put([1, 2, 3])
    state = queue.snapshot()
    queue.close(failed=True)
    path = Path(state["segments"][0][0])
    path.write_bytes(path.read_bytes()[:4])
    with pytest.raises(OrchestratorError, match="waiting at the edge: it has 4 bytes of"):
        Overflow("the edge", 0, place).restore(state)
    path.unlink()
    with pytest.raises(OrchestratorError, match="No such file"):
        Overflow("the edge", 0, place).restore(state)
