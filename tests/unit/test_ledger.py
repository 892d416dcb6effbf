"""Every chunk is in one state, in one lane; what the table does not allow is our bug."""

import pytest

from orchestrator.engine.core.ledger import TRANSITIONS, Chunk, ChunkState, Ledger
from orchestrator.errors import InternalError


def chunk(seq=0, **more):
    return Chunk(1, seq, [seq], seq, **more)


@pytest.fixture
def ledger():
    ledger = Ledger()
    ledger.open_lane(0)
    ledger.open_lane(1)
    return ledger


def test_a_chunk_goes_out_and_comes_back(ledger):
    sent = chunk()
    assert sent.state is ChunkState.CUT
    ident = ledger.sent(sent, 1)
    assert (sent.state, sent.lane, sent.ident) == (ChunkState.IN_FLIGHT, 1, ident)
    assert (len(ledger), ledger.held_by(0), ledger.held_by(1)) == (1, 0, 1)
    assert ledger.done(ident, 1) is sent
    assert sent.state is ChunkState.DONE
    assert (len(ledger), ledger.held_by(1)) == (0, 0)


def test_no_two_chunks_share_a_number_not_even_of_two_lanes_or_of_a_lane_opened_again(ledger):
    idents = [ledger.sent(chunk(i), i % 2) for i in range(6)]
    ledger.close_lane(0)
    ledger.open_lane(0)
    idents.append(ledger.sent(chunk(6), 0))
    assert len(set(idents)) == 7


def test_chunks_of_a_lane_come_back_in_any_order(ledger):
    chunks = [chunk(i) for i in range(3)]
    idents = [ledger.sent(c, 0) for c in chunks]
    assert [ledger.done(idents[i], 0) for i in (2, 0, 1)] == [chunks[i] for i in (2, 0, 1)]


def test_closing_a_lane_gives_what_it_held_in_the_order_of_sending(ledger):
    chunks = [chunk(i) for i in (3, 1, 2, 0)]
    idents = [ledger.sent(c, 0) for c in chunks]
    other = chunk(9)
    ledger.sent(other, 1)
    ledger.done(idents[1], 0)
    lost = ledger.close_lane(0)
    assert lost == [chunks[0], chunks[2], chunks[3]]
    assert {c.state for c in lost} == {ChunkState.LOST}
    assert other.state is ChunkState.IN_FLIGHT
    assert (len(ledger), ledger.held_by(0)) == (1, 0)


def test_closing_a_lane_that_is_not_open_loses_nothing(ledger):
    ledger.close_lane(0)
    assert ledger.close_lane(0) == []
    assert ledger.close_lane(77) == []


def test_a_chunk_can_not_be_sent_twice(ledger):
    once = chunk()
    ledger.sent(once, 0)
    with pytest.raises(InternalError, match="in flight can't be sent"):
        ledger.sent(once, 1)
    assert (len(ledger), once.lane) == (1, 0)


def test_a_lost_chunk_can_not_be_sent_again(ledger):
    lost = chunk()
    ledger.sent(lost, 0)
    ledger.close_lane(0)
    with pytest.raises(InternalError, match="lost can't be sent"):
        ledger.sent(lost, 1)


@pytest.mark.parametrize("lane", [0, 1])
def test_a_chunk_can_not_come_back_twice_nor_from_another_lane(ledger, lane):
    ident = ledger.sent(chunk(), 0)
    if lane == 0:
        ledger.done(ident, 0)
    with pytest.raises(InternalError, match=f"lane {lane} returned chunk {ident}"):
        ledger.done(ident, lane)


@pytest.mark.parametrize("state", list(ChunkState))
@pytest.mark.parametrize("event", ["sent", "dropped", "done", "lost", "returned"])
def test_the_table_is_all_there_is(state, event):
    allowed = {
        ("cut", "sent"): "in flight",
        ("cut", "dropped"): "dropped",
        ("in flight", "done"): "done",
        ("in flight", "lost"): "lost",
        ("in flight", "returned"): "returned",
    }
    expected = allowed.get((state.value, event))
    if expected is None:
        with pytest.raises(InternalError, match="please report it"):
            Ledger.after(state, event)
    else:
        assert Ledger.after(state, event).value == expected
    assert len(TRANSITIONS) == len(allowed)


def test_only_a_chunk_that_went_down_with_a_worker_must_be_alone():
    assert not chunk().alone
    assert chunk(deaths=1).alone


def test_a_part_knows_the_chunk_and_the_place_that_it_stands_for():
    whole = Chunk(1, 4, ["a", "b"], 10)
    part = Chunk(1, 4, ["b"], 11, parent=whole, position=1, attempt=2)
    assert (part.parent, part.position, part.attempt, part.first_index) == (whole, 1, 2, 11)
    assert (whole.parent, whole.position, whole.attempt) == (None, 0, 1)
