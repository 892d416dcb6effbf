"""Out comes 0, 1, 2 … whatever order it came in; unordered, it comes as it came."""

from itertools import permutations

import pytest

from orchestrator.engine.core.reorder import ReorderBuffer
from orchestrator.errors import InternalError


def emptied(buffer):
    found = []
    while (value := buffer.pop()) is not None:
        found.append(value)
    return found


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_any_order_comes_out_in_order(order):
    buffer = ReorderBuffer()
    out = []
    for seq in order:
        buffer.put(seq, f"v{seq}")
        out += emptied(buffer)
    assert out == ["v0", "v1", "v2", "v3"]
    assert len(buffer) == 0


def test_what_is_early_waits():
    buffer = ReorderBuffer()
    buffer.put(2, "c")
    buffer.put(1, "b")
    assert buffer.pop() is None
    assert len(buffer) == 2
    buffer.put(0, "a")
    assert (buffer.pop(), len(buffer)) == ("a", 2)
    assert emptied(buffer) == ["b", "c"]


def test_unordered_gives_back_at_once():
    buffer = ReorderBuffer(ordered=False)
    out = []
    for seq in (5, 0, 3):
        buffer.put(seq, seq + 10)
        out += emptied(buffer)
    assert out == [15, 10, 13]


@pytest.mark.parametrize("seq", [0, 1, 3])
def test_the_same_twice_is_our_bug(seq):
    buffer = ReorderBuffer()
    for first in (0, 1, 3):
        buffer.put(first, "x")
    buffer.pop()
    with pytest.raises(InternalError, match=f"chunk {seq} completed twice"):
        buffer.put(seq, "y")
    assert len(buffer) == 2


@pytest.mark.parametrize("ordered", [True, False])
def test_drain_gives_up_all_of_it(ordered):
    buffer = ReorderBuffer(ordered=ordered)
    for seq in (0, 1, 4, 3):
        buffer.put(seq, seq)
    assert sorted(buffer.drain()) == [0, 1, 3, 4]
    assert len(buffer) == 0
    assert buffer.pop() is None
    assert buffer.drain() == []
