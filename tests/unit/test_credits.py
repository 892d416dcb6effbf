"""Who gets the next chunk: in turn, only lanes with room, and suspects alone."""

import pytest

from orchestrator.engine.core.credits import (
    LONG_CHUNK_S,
    LOOKAHEAD_BYTES,
    LOOKAHEAD_S,
    MAX_DEPTH,
    UNKNOWN_DEPTH,
    WORKERS_AT_LONG,
    Credits,
    depth_for,
)


@pytest.fixture
def lanes():
    lanes = Credits()
    for lane in (0, 1, 2):
        lanes.add_lane(lane)
    return lanes


def test_nothing_queues_behind_a_long_chunk():
    assert depth_for(LONG_CHUNK_S) == 1
    assert depth_for(3600.0) == 1


def test_an_unknown_duration_and_a_medium_one_keep_one_chunk_waiting():
    assert depth_for(None) == UNKNOWN_DEPTH == 2
    assert depth_for(LONG_CHUNK_S * 0.99) == 2


@pytest.mark.parametrize("chunk_s", [0.0, 5e-324, 1e-9, LOOKAHEAD_S / MAX_DEPTH])
def test_very_short_chunks_have_the_greatest_depth(chunk_s):
    assert depth_for(chunk_s) == MAX_DEPTH


def test_the_shorter_the_chunk_the_deeper_the_lane_up_to_the_limit():
    durations = [i * 1e-7 for i in range(1000)] + [i * 1e-4 for i in range(1, 1000)]
    depths = [depth_for(s) for s in durations]
    assert depths == sorted(depths, reverse=True)
    assert max(depths) == MAX_DEPTH
    assert min(depths) == 1


def test_what_waits_in_a_worker_covers_the_look_ahead():
    for micros in range(20, 50_000, 37):
        assert (depth_for(micros / 1e6) - 1) * micros / 1e6 >= LOOKAHEAD_S


def test_little_of_large_payloads_waits_in_a_worker():
    assert depth_for(1e-6, 8 << 20) == 2
    assert depth_for(1e-6, 100 << 20) == 2
    assert depth_for(1e-6, LOOKAHEAD_BYTES / 10) == 10
    assert depth_for(1e-6, LOOKAHEAD_BYTES / MAX_DEPTH) == MAX_DEPTH
    assert depth_for(LONG_CHUNK_S, 8 << 20) == 1


def test_many_workers_have_their_next_chunk_at_hand():
    assert depth_for(LONG_CHUNK_S * 2, workers=WORKERS_AT_LONG) == 1
    assert depth_for(LONG_CHUNK_S * 2, workers=10 * WORKERS_AT_LONG) == 2
    assert depth_for(LONG_CHUNK_S * 10, workers=10 * WORKERS_AT_LONG) == 1


def test_lanes_take_turns(lanes):
    assert [lanes.take(2) for _ in range(7)] == [0, 1, 2, 0, 1, 2, None]


def test_a_full_lane_is_passed_over_and_does_not_stop_the_others(lanes):
    assert [lanes.take(1) for _ in range(3)] == [0, 1, 2]
    lanes.give_back(1)
    assert lanes.take(1) == 1
    assert lanes.take(1) is None
    assert sorted(lanes.take(2) for _ in range(3)) == [0, 1, 2]


def test_room_tells_how_often_take_succeeds(lanes):
    lanes.take(3)
    lanes.take(3)
    assert [lanes.room(depth) for depth in (0, 1, 2, 3)] == [0, 1, 4, 7]
    for left in range(7, 0, -1):
        assert lanes.room(3) == left
        assert lanes.take(3) is not None
    assert lanes.room(3) == 0
    assert lanes.take(3) is None


def test_a_lane_deeper_than_now_allowed_takes_no_room_from_the_others(lanes):
    lanes.spend(0)
    lanes.spend(0)
    lanes.spend(0)
    assert lanes.room(1) == 2
    assert [lanes.take(1) for _ in range(3)] == [1, 2, None]


def test_a_lane_that_was_sent_more_than_any_may_hold_comes_back_into_turn():
    lanes = Credits()
    lanes.add_lane(5)
    for _ in range(MAX_DEPTH + 10):
        lanes.spend(5)
    assert (lanes.room(MAX_DEPTH), lanes.take(MAX_DEPTH)) == (0, None)
    for _ in range(10):
        lanes.give_back(5)
    assert lanes.room(MAX_DEPTH) == 0
    lanes.give_back(5)
    assert (lanes.room(MAX_DEPTH), lanes.take(MAX_DEPTH), lanes.take(MAX_DEPTH)) == (1, 5, None)


def test_the_lane_that_holds_least_is_next(lanes):
    for lane in (0, 0, 1):
        lanes.spend(lane)
    assert [lanes.take(9) for _ in range(6)] == [2, 1, 2, 0, 1, 2]


def test_what_is_sent_to_a_very_lane_does_not_end_the_quarantine_of_another_chunk_there(lanes):
    suspect = lanes.take_alone()
    lanes.spend(suspect)
    assert suspect not in [lanes.take(2) for _ in range(4)]
    assert lanes.room(2) == 0
    assert lanes.room(3) == 2


def test_a_suspect_gets_an_empty_lane_and_stays_alone(lanes):
    lanes.take(1)  # lane 0 is busy
    suspect = lanes.take_alone()
    assert suspect == 1
    assert lanes.room(9) == 8 + 9
    assert suspect not in [lanes.take(9) for _ in range(17)]
    assert lanes.take(9) is None
    lanes.give_back(suspect)
    assert lanes.take(9) == suspect


def test_a_suspect_waits_where_no_lane_is_empty(lanes):
    for _ in range(3):
        lanes.take(1)
    assert lanes.take_alone() is None
    lanes.give_back(2)
    assert lanes.take_alone() == 2
    assert lanes.take_alone() is None


def test_a_lane_that_is_gone_is_never_chosen(lanes):
    lanes.take_alone()
    lanes.remove_lane(0)
    assert lanes.room(1) == 2
    assert [lanes.take(1) for _ in range(3)] == [1, 2, None]
    lanes.give_back(0)  # late news of it
    lanes.remove_lane(0)
    assert lanes.room(1) == 0


def test_a_lane_opened_again_is_empty_and_not_reserved(lanes):
    assert lanes.take_alone() == 0
    lanes.remove_lane(0)
    lanes.add_lane(0)
    assert lanes.room(1) == 3
    assert sorted([lanes.take(1), lanes.take(1), lanes.take(1)]) == [0, 1, 2]


def test_without_lanes_there_is_no_room():
    none = Credits()
    assert none.room(64) == 0
    assert none.take(64) is None
    assert none.take_alone() is None
