"""How far a call runs ahead: never past the budget, never stuck, little where chunks are cheap."""

import pytest

from orchestrator.engine.core.window import CHEAP_BYTES, CHEAP_CHUNK_S, MAX_CHUNKS, MIN_CHUNKS_PER_WORKER, Window

BUDGET = 100 << 20


def filled(window, chunks, size_bytes=0):
    for _ in range(chunks):
        window.sent(size_bytes)
    return window


@pytest.mark.parametrize("in_flight", [0, BUDGET, BUDGET * 100])
def test_a_call_with_nothing_out_may_always_send(in_flight):
    assert Window(4, BUDGET).allows(in_flight, None)
    assert Window(4, 1).allows(in_flight, 0.0)


def test_one_that_is_full_may_send_again_once_all_is_consumed():
    window = filled(Window(1, 10), 1, 100)
    assert not window.allows(100, None)
    window.consumed(100)
    assert window.allows(100, None)
    assert (window.chunks, window.size_bytes) == (0, 0)


def test_the_number_of_chunks_is_limited():
    window = filled(Window(1000, BUDGET), MAX_CHUNKS - 1)
    assert window.allows(0, None)
    window.sent(0)
    assert not window.allows(0, None)
    window.consumed(0)
    assert window.allows(0, None)


def test_the_budget_is_not_passed():
    window = filled(Window(4, BUDGET), 1, 10)
    assert window.allows(BUDGET, None)
    assert not window.allows(BUDGET + 1, None)


def test_room_is_left_for_the_results_of_what_is_at_work():
    window = Window(4, BUDGET)
    for _ in range(40):
        window.sent(1 << 20)
        window.grew(3 << 20, 4 << 20)  # results come back three times as large as their inputs
        window.consumed(4 << 20)
    filled(window, 10, 1 << 20)
    room = 10 * (3 << 20) + (4 << 20)  # the results of ten, and one more chunk as a whole
    assert window.allows(BUDGET - room, None)
    assert not window.allows(BUDGET - room + (1 << 20), None)
    window.grew(3 << 20, 4 << 20)  # what is back is in flight, and nothing more is to come of it
    assert window.allows(BUDGET - room + (3 << 20), None)
    window.lost(1 << 20)
    assert window.allows(BUDGET - room + (6 << 20), None)
    assert not window.allows(BUDGET - room + (7 << 20), None)


def test_results_count_until_they_are_consumed():
    window = filled(Window(4, BUDGET), 2, 100)
    window.grew(50, 150)
    assert (window.chunks, window.size_bytes) == (2, 250)
    window.consumed(150)
    assert (window.chunks, window.size_bytes) == (1, 100)


def test_cheap_chunks_are_not_hoarded():
    window = filled(Window(2, BUDGET), MIN_CHUNKS_PER_WORKER * 2, CHEAP_BYTES)
    assert not window.allows(0, CHEAP_CHUNK_S * 0.9)
    assert window.allows(0, CHEAP_CHUNK_S)  # dear ones are
    assert window.allows(0, None)  # and unknown ones


def test_each_worker_has_a_few_cheap_chunks_whatever_their_bytes():
    assert filled(Window(2, BUDGET), MIN_CHUNKS_PER_WORKER * 2 - 1, CHEAP_BYTES).allows(0, 0.0)


def test_small_cheap_chunks_may_be_many():
    window = filled(Window(2, BUDGET), 500, 100)
    assert window.allows(0, 0.0)
    assert not filled(window, 500, CHEAP_BYTES // 500).allows(0, 0.0)
