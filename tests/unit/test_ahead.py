"""Chunks that wait for a credit: in order, by call, and in line with the threads that wait for one."""

from orchestrator.engine.core.ahead import Ahead
from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.core.waiting_line import WaitingLine

THREAD = 7


def chunks(call, seqs, **how):
    return [(Chunk(call, seq, [seq], seq, **how), b"") for seq in seqs]


def test_they_leave_in_order_and_what_is_put_first_before_them():
    ahead = Ahead(WaitingLine())
    ahead.put(1, chunks(1, [0, 1]), 2, first=False)
    ahead.put(1, chunks(1, [2]), 2, first=False)
    ahead.put(1, chunks(1, [8, 9]), 2, first=True)
    assert ahead.count(1) == 5
    assert [ahead.take(1)[0].seq for _ in range(5)] == [8, 9, 0, 1, 2]
    assert not ahead
    assert ahead.calls == []
    assert ahead.count(1) == 0


def test_one_that_must_be_alone_needs_a_lane_that_holds_nothing():
    ahead = Ahead(WaitingLine())
    ahead.put(1, chunks(1, [0], deaths=1) + chunks(1, [1]), 4, first=False)
    assert ahead.head(1)[1] == 1
    ahead.take(1)
    assert ahead.head(1)[1] == 4


def test_calls_and_threads_come_in_turn():
    line = WaitingLine()
    ahead = Ahead(line)
    ahead.put(1, chunks(1, range(3)), 2, first=False)
    ahead.put(2, chunks(2, range(3)), 2, first=False)
    line.enter(THREAD, 1)
    assert [line.before(key, 2)[0] for key in (-1, -2, THREAD)] == [0, 1, 2]
    ahead.take(1)
    assert [line.before(key, 2)[0] for key in (-1, -2, THREAD)] == [2, 0, 1]
    assert line.before(-1, 2)[1] == 1  # the thread needs a lane that holds nothing


def test_what_is_dropped_waits_no_more():
    line = WaitingLine()
    ahead = Ahead(line)
    ahead.put(1, chunks(1, range(3)), 2, first=False)
    assert [chunk.seq for chunk, _ in ahead.drop(1)] == [0, 1, 2]
    assert ahead.drop(1) == []
    assert len(line) == 0
    ahead.put(3, [], 2, first=True)
    assert not ahead
