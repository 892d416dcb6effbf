"""Frames are cut out of the stream as they were packed, wherever the reads happen to end."""

import pytest

from workers.transport.wire import HEADER_BYTES, MAX_NUMBER, Flag, FrameReader, Kind, pack


def test_a_frame_comes_back_as_it_was_packed():
    (frame,) = FrameReader().feed(pack(Kind.RESULT, b"body", number=MAX_NUMBER, ident=2**64 - 1, flags=Flag.FAILED))
    assert frame == (Kind.RESULT, Flag.FAILED, 0, MAX_NUMBER, 2**64 - 1, b"body")


def test_the_header_is_as_long_as_it_is_told_to_be():
    assert HEADER_BYTES == 24
    assert len(pack(Kind.STOP)) == 24


def test_several_frames_in_one_read():
    data = pack(Kind.READY) + pack(Kind.RESULT, b"x" * 1000, ident=1) + pack(Kind.RESULT, b"", ident=2)
    assert [(f[0], f[4], len(f[5])) for f in FrameReader().feed(data)] == [
        (Kind.READY, 0, 0),
        (Kind.RESULT, 1, 1000),
        (Kind.RESULT, 2, 0),
    ]


def test_byte_by_byte():
    data = pack(Kind.CHUNK, b"abc", ident=1) + pack(Kind.STOP) + pack(Kind.CHUNK, b"defg", ident=2)
    reader = FrameReader()
    frames = []
    for i in range(len(data)):
        got = reader.feed(data[i : i + 1])
        assert len(got) <= 1
        frames += got
    assert [f[5] for f in frames] == [b"abc", b"", b"defg"]


@pytest.mark.parametrize("cut", [1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, HEADER_BYTES + 9])
def test_a_frame_in_two_reads_and_the_next_behind_it(cut):
    data = pack(Kind.CHUNK, b"0123456789", ident=1)
    reader = FrameReader()
    assert reader.feed(data[:cut]) == []
    frames = reader.feed(data[cut:] + data[:cut])
    assert [f[5] for f in frames] == [b"0123456789"]
    assert [f[5] for f in reader.feed(data[cut:])] == [b"0123456789"]


def test_the_body_is_bytes_of_its_own():
    data = bytearray(pack(Kind.CHUNK, b"0123"))
    reader = FrameReader()
    reader.feed(bytes(data[:26]))
    (frame,) = reader.feed(bytes(data[26:]))
    assert type(frame[5]) is bytes


def test_nothing_makes_no_frame():
    assert FrameReader().feed(b"") == []


def test_no_two_kinds_or_flags_are_the_same():
    kinds = [v for k, v in vars(Kind).items() if k.isupper()]
    flags = [v for k, v in vars(Flag).items() if k.isupper()]
    assert len(kinds) == len(set(kinds))
    assert all(0 < kind < 256 for kind in kinds)
    assert sum(flags) == 2 ** len(flags) - 1
