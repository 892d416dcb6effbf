"""Compressed data is known by its first bytes, whichever program and level made it, and nothing else is taken for it."""

import bz2
import gzip
import io
import lzma

import pytest
import zstandard

from workers.records import compression

MAKERS = {
    "gz": [lambda data, level=level: gzip.compress(data, level) for level in range(10)],
    "bz2": [lambda data, level=level: bz2.compress(data, level) for level in range(1, 10)],
    "xz": [lambda data, level=level: lzma.compress(data, preset=level) for level in range(10)],
    "zst": [lambda data, level=level: zstandard.ZstdCompressor(level).compress(data) for level in range(1, 20, 3)],
}
HEAD_BYTES = 16


@pytest.mark.parametrize("data", [b"", b"one line\n", b"x" * 100_000], ids=["empty", "short", "long"])
@pytest.mark.parametrize("kind", MAKERS)
def test_its_first_bytes_tell(kind, data):
    for made in [*(maker(data) for maker in MAKERS[kind]), compression.compress(kind, data)]:
        assert compression.kind_of(made[:HEAD_BYTES]) == kind
        assert compression.reader(io.BytesIO(made), kind).read() == data
        for size in range(HEAD_BYTES):  # as long as fewer could be the beginning of such a file, more are asked for
            assert compression.may_be(made[:size]) != (compression.kind_of(made[:size]) == kind)


@pytest.mark.parametrize("text", [b"BZh", b"BZh9", b"BZh1AY&S", b"BZhello world", b"BZh9hello", b"BZ", b"\x1f\x8b", b"plain", b"(", b"\xfd7z"])
def test_text_is_not(text):
    assert compression.kind_of(text) is None
    assert not compression.may_be(text + b" and then some\n")
