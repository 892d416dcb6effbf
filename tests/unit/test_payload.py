"""Objects come back as they went, the large parts through shared memory, without being copied twice."""

import os
import pickle
import threading
from typing import NamedTuple

import numpy as np
import pytest

from workers.transport import payload
from workers.transport.arena import Arena, ArenaReader, create_fd
from workers.transport.payload import THRESHOLD_BYTES
from workers.transport.wire import Flag, FrameReader, Kind

LARGE = THRESHOLD_BYTES


class Lane(NamedTuple):
    arena: Arena
    reader: ArenaReader

    def carry(self, obj, number=7, ident=9, flags=0):
        """Return the frame as it arrives."""
        parts = payload.frame(Kind.CHUNK, payload.encode(obj), self.arena, number, ident, flags)
        (frame,) = FrameReader().feed(b"".join(bytes(part) for part in parts))
        assert frame[0] == Kind.CHUNK
        assert frame[3:5] == (number, ident)
        return frame

    def open(self, frame):
        return payload.decode(frame[1], frame[2], frame[5], self.reader)

    def there(self, obj):
        return self.open(self.carry(obj))

    def settle(self):
        while self.reader.released:
            self.arena.release(self.reader.released.popleft())


@pytest.fixture
def fd():
    fd = create_fd("test")
    yield fd
    os.close(fd)


@pytest.fixture
def lane(fd):
    lane = Lane(Arena(fd, 64 << 20), ArenaReader(fd, 64 << 20))
    yield lane
    lane.arena.__dict__.clear()  # its mappings hold a descriptor each
    lane.reader.__dict__.clear()


@pytest.fixture
def full_lane():
    """No shared memory to be had."""
    fd = os.open(os.devnull, os.O_RDONLY)
    yield Lane(Arena(fd, 1 << 30), ArenaReader(fd, 1 << 30))
    os.close(fd)


@pytest.fixture(params=["shared memory", "pipe"])
def any_lane(request, lane, full_lane):
    return lane if request.param == "shared memory" else full_lane


OBJECTS = [
    None,
    [1, "a", b"b"],
    b"x" * (LARGE - 1),
    b"x" * LARGE,
    b"x" * (LARGE * 5),
    "\ud800",
    {"k": [b"y" * LARGE, "z" * LARGE]},
    list(range(50_000)),
]


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda o: type(o).__name__)
def test_objects_come_back_equal(any_lane, obj):
    assert any_lane.there(obj) == obj
    any_lane.settle()
    assert not any_lane.arena._placed


def test_small_objects_stay_in_the_frame(lane):
    frame = lane.carry([np.arange(10), b"x" * 1000])
    assert (frame[1], frame[2]) == (0, 0)
    assert lane.arena.reserved_bytes == 0
    assert pickle.loads(frame[5])[1] == b"x" * 1000


def test_small_buffers_are_inside_the_pickle():
    encoded = payload.encode([np.zeros(LARGE - 1, "u1"), np.zeros(LARGE, "u1")])
    assert [b.raw().nbytes for b in encoded.buffers] == [LARGE]
    assert encoded.size == len(encoded.pickle) + LARGE
    assert len(encoded.pickle) > LARGE - 1


def test_a_large_pickle_leaves_the_frame(lane):
    frame = lane.carry("x" * LARGE, flags=Flag.FAILED)
    assert frame[1] == Flag.BODY_IN_ARENA | Flag.FAILED
    assert frame[2] == 1
    assert len(frame[5]) < 100


def test_a_large_pickle_without_room_stays_in_the_frame(full_lane):
    frame = full_lane.carry("x" * LARGE, flags=Flag.FAILED)
    assert (frame[1], frame[2]) == (Flag.FAILED, 0)
    assert len(frame[5]) > LARGE


ARRAYS = [
    np.arange(LARGE, dtype="i8"),
    np.asfortranarray(np.arange(LARGE * 2.0).reshape(2, -1)),
    np.arange(LARGE * 4, dtype="i4")[::2],  # not contiguous
    np.zeros((0, 5)),
    np.array([{"a": 1}, None], dtype=object),
    np.zeros(LARGE, dtype=[("a", "u1"), ("b", "f8")]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_come_back_equal(any_lane, array):
    back = any_lane.there([array, 1])[0]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.array_equal(back, array)


def test_buffers_beyond_what_a_header_counts_go_inside_the_pickle(lane, monkeypatch):
    monkeypatch.setattr(payload, "MAX_BUFFERS", 2)
    arrays = [np.full(LARGE, number, "u1") for number in range(5)]
    assert len(payload.encode(arrays).buffers) == 2
    for number, array in enumerate(lane.there(arrays)):
        assert (array == number).all()


def test_several_buffers_keep_their_places(any_lane):
    sent = [np.full(LARGE + i, i, "u1") for i in range(5)]
    back = any_lane.there([sent[0], "x" * LARGE, *sent[1:]])
    assert back[1] == "x" * LARGE
    assert all(np.array_equal(a, b) for a, b in zip([back[0], *back[2:]], sent, strict=True))


def test_some_buffers_with_room_and_some_without(fd):
    lane = Lane(Arena(fd, 4 << 20), ArenaReader(fd, 64 << 20))
    sent = [np.full(3 << 20, i, "u1") for i in range(3)] + [np.full(LARGE, 9, "u1")]
    assert lane.arena.place(memoryview(b"x")) is not None  # a segment of 4 MiB, and no more
    frame = lane.carry(sent)
    assert frame[2] == 4
    assert (6 << 20) < len(frame[5]) < (6 << 20) + 1000
    back = lane.open(frame)
    assert all(np.array_equal(a, b) for a, b in zip(back, sent, strict=True))


def test_a_large_pickle_with_buffers_of_which_one_has_no_room(fd):
    lane = Lane(Arena(fd, 4 << 20), ArenaReader(fd, 64 << 20))
    sent = ["s" * LARGE, np.full(5 << 20, 1, "u1"), np.full(LARGE, 2, "u1")]
    frame = lane.carry(sent)
    assert frame[1] == Flag.BODY_IN_ARENA
    back = lane.open(frame)
    assert back[0] == sent[0]
    assert np.array_equal(back[1], sent[1])
    assert np.array_equal(back[2], sent[2])


def test_an_array_can_be_written_whichever_way_it_came(any_lane):
    back = any_lane.there(np.zeros(LARGE, "u1"))
    back[:] = 7
    assert back.sum() == 7 * LARGE


def test_a_read_only_array_stays_read_only(any_lane):
    array = np.zeros(LARGE, "u1")
    array.flags.writeable = False
    assert not any_lane.there(array).flags.writeable


def test_an_array_is_a_view_whose_space_is_free_once_it_is_gone(lane):
    back = lane.there(np.zeros(LARGE, "u1"))
    kept = back[5:]
    del back
    assert not lane.reader.released
    del kept
    lane.settle()
    assert not lane.arena._placed


def test_nothing_is_kept_of_a_large_pickle(lane):
    back = lane.there(["x" * LARGE, b"y" * LARGE])
    assert len(lane.reader.released) == 1
    assert back[1] == b"y" * LARGE


class UnreadableError(Exception):
    pass


def refuse(_):
    raise UnreadableError


class Unreadable:
    def __init__(self, size):
        self.array = np.zeros(size, "u1")

    def __reduce__(self):
        return refuse, ([self.array, b"x" * len(self.array)],)


def test_what_can_not_be_read_frees_its_space(lane):
    with pytest.raises(UnreadableError):
        lane.there(Unreadable(LARGE))
    lane.settle()
    assert not lane.arena._placed


@pytest.mark.parametrize("obj", [1, "x" * LARGE, [np.zeros(LARGE, "u1"), "x" * LARGE], [np.zeros(LARGE, "u1")]])
def test_what_nobody_reads_frees_its_space(any_lane, obj):
    frame = any_lane.carry(obj)
    payload.discard(frame[2], frame[5], any_lane.reader)
    any_lane.settle()
    assert not any_lane.arena._placed


@pytest.mark.parametrize("obj", [1, "x" * LARGE, [np.zeros(LARGE * 3, "u1"), "x" * LARGE]])
def test_the_size_is_known_without_reading(any_lane, obj):
    frame = any_lane.carry(obj)
    told = payload.size_of(frame[2], frame[5])
    assert payload.encode(obj).size <= told < payload.encode(obj).size + 200


def test_what_plain_pickle_refuses_goes_by_value(lane):
    factor = 3
    function, array = lane.there([lambda x: x * factor, np.ones(LARGE, "u1")])
    assert function(5) == 15
    assert array.sum() == LARGE


def test_no_buffer_is_sent_twice_where_plain_pickle_stopped_midway():
    encoded = payload.encode([np.ones(LARGE, "u1"), lambda: 0])
    assert len(encoded.buffers) == 1


def test_what_can_not_be_pickled_says_why():
    with pytest.raises(TypeError, match="lock"):
        payload.encode([np.ones(LARGE, "u1"), threading.Lock()])
