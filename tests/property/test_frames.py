"""A pipe may end a read anywhere: the frames are the same."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from workers.transport.wire import HEADER, MAX_NUMBER, FrameReader

frames = st.tuples(
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 2**16 - 1),
    st.integers(0, MAX_NUMBER),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=70),
)


def packed(frame):
    return HEADER.pack(*frame[:5], len(frame[5])) + frame[5]


@settings(max_examples=300, deadline=None)
@given(sent=st.lists(frames, max_size=8), data=st.data())
def test_any_split_of_the_stream_gives_the_same_frames(sent, data):
    stream = b"".join(map(packed, sent))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    edges = [0, *sorted(cuts), len(stream)]
    reader = FrameReader()
    received = []
    for start, end in pairwise(edges):
        received += reader.feed(stream[start:end])
        # A frame is given as soon as it is whole, no later.
        assert len(received) == whole(sent, end)
    assert received == sent


def whole(sent, end):
    count = size = 0
    for frame in sent:
        size += len(packed(frame))
        if size > end:
            break
        count += 1
    return count
