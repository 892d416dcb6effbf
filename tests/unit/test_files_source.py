"""Inputs are found, checked and cut; compressed files and pipes give the same records as plain ones."""

import bz2
import contextlib
import gzip
import lzma
import os
import threading

import pytest

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.sources.byte_stream import StdinPieces
from orchestrator.sources.files import FileSource
from orchestrator.sources.inputs import expand, mean_record_bytes
from workers.records import compression
from workers.records.blocks import ByteRange
from workers.records.formats.registry import find

LINES = "".join(f"line {i} ä\n" for i in range(5000)).encode()


def data_of(source):
    """What it reads; raises what stands for the rest of a file that can't be read."""
    chunks = list(source)
    for chunk in chunks:
        if chunk.unreadable is not None:
            raise OrchestratorError(chunk.unreadable)
    return b"".join(bytes(memoryview(chunk.data)) for chunk in chunks)


def test_patterns_are_sorted_and_folders_in_them_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.txt", "a.txt", "c[1].txt"):
        (tmp_path / name).write_text("x\n")
    (tmp_path / "d.txt").mkdir()
    assert [entry.path for entry in expand(["*.txt"])] == ["a.txt", "b.txt", "c[1].txt"]
    assert [entry.path for entry in expand(["c[1].txt"])] == ["c[1].txt"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.txt", "can't read gone.txt: No such file"),
        ("*.gone", "no file matches"),
        (".", "is a folder"),
        ("a/", "No such file"),
    ],
)
def test_inputs_that_can_not_be_are_mistakes(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        expand([name])


def test_standard_input_can_be_given_once():
    with pytest.raises(ConfigError, match="once"):
        expand(["-", "-"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_a_mistake(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "a").chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        expand([str(tmp_path / "a")])


def test_plain_files_are_cut_without_being_read(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 250)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "b").write_bytes(b"x" * 100)
    source = FileSource(expand([str(tmp_path / name) for name in ("a", "empty", "b")]), find("lines"), 100)
    assert source.total_bytes == 350
    assert source.chunk_count() == 5
    chunks = list(source)
    assert all(isinstance(chunk, ByteRange) for chunk in chunks)
    assert [
        (c.start, c.end, c.origin.file_index, c.origin.index_in_file, c.origin.last_of_file) for c in chunks
    ] == [
        (0, 100, 0, 0, False),
        (100, 200, 0, 1, False),
        (200, 250, 0, 2, True),
        (0, 0, 1, 0, True),
        (0, 100, 2, 0, True),
    ]


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed_files_of_several_members_are_cut_between_lines(tmp_path, suffix, compress):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(compress(LINES[:20_000]) + compress(LINES[20_000:]))
    source = FileSource(expand([str(path)]), find("lines"), 4096)
    chunks = list(source)
    assert data_of(chunks) == LINES
    assert all(bytes(memoryview(chunk.data)).endswith(b"\n") for chunk in chunks[:-1])
    assert sum(chunk.origin.size_bytes for chunk in chunks) == source.total_bytes == path.stat().st_size
    for chunk in chunks:
        assert chunk.first_line == 1 + LINES[: chunk.start].count(b"\n")


def members(kind):
    """Two members of a compressed file, as this package writes them; both hold lines."""
    return [compression.compress(kind, text) for text in (b"first 1\nsecond 2\n" * 20, b"third 3\n" + os.urandom(20).hex().encode())]


def content(path):
    """What the source reads, or the one error that it may raise."""
    try:
        return data_of(FileSource(expand([str(path)]), find("lines"), 4096))
    except OrchestratorError as error:
        found = error
    assert str(found).startswith(f"can't read {path} to its end: ")
    return found


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_a_compressed_file_cut_at_any_byte_is_an_error_and_never_a_shorter_file(tmp_path, kind):
    """But for a cut between two members, which nobody can tell from a whole file; gzip takes an empty file for that too."""
    first, second = members(kind)
    path = tmp_path / f"a.{kind}"
    for cut in range(len(first + second)):
        path.write_bytes((first + second)[:cut])
        found = content(path)
        if cut == len(first):
            assert found == compression.decompress(kind, first)
        elif cut == 0 and kind == "gz":
            assert found == b""
        else:
            assert isinstance(found, OrchestratorError), f"cut at byte {cut}"


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_a_changed_byte_anywhere_is_an_error_or_changes_nothing(tmp_path, kind):
    whole = b"".join(members(kind))
    expected = compression.decompress(kind, whole)
    path = tmp_path / f"a.{kind}"
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        found = content(path)
        assert isinstance(found, OrchestratorError) or found == expected, f"changed at byte {at}"


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_zeros_behind_the_last_member_are_padding(tmp_path, kind):
    whole = b"".join(members(kind))
    path = tmp_path / f"a.{kind}"
    path.write_bytes(whole + bytes(100_000))
    assert content(path) == compression.decompress(kind, whole)


def test_zstandard_files_are_read(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    compress = zstandard.ZstdCompressor().compress
    (tmp_path / "a.zst").write_bytes(compress(LINES[:9]) + compress(LINES[9:]))
    assert data_of(FileSource(expand([str(tmp_path / "a.zst")]), find("lines"), 4096)) == LINES


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
@pytest.mark.parametrize("damage", ["cut off", "changed", "no such format"])
def test_damaged_files_are_one_clear_error(tmp_path, suffix, compress, damage):
    data = bytearray(compress(os.urandom(50_000)))
    if damage == "cut off":
        del data[-1000:]
    elif damage == "changed":
        data[len(data) // 2 : len(data) // 2 + 20] = bytes(20)
    else:
        data[:6] = b"nothin"
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    with pytest.raises(OrchestratorError, match="to its end") as caught:
        data_of(FileSource(expand([str(path)]), find("blocks"), 4096))
    assert "\n" not in str(caught.value)


def test_a_named_pipe_is_read_as_a_stream(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(LINES))
    writer.start()
    source = FileSource(expand([str(path)]), find("lines"), 4096)
    assert source.total_bytes is None
    assert data_of(source) == LINES
    writer.join()


def test_csv_from_a_stream_has_the_header_and_counts_its_lines(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b'a,"b\nb"\n1,"x\ny"\n2,z\n'))
    chunks = list(FileSource(expand([str(path)]), find("csv"), 5))
    assert {chunk.head.names for chunk in chunks} == {("a", "b\nb")}
    assert data_of(chunks) == b'1,"x\ny"\n2,z\n'
    assert (chunks[0].start, chunks[0].first_line) == (8, 3)


def test_files_are_paths_and_several_go_together(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text("")
    inputs = expand([str(tmp_path / "*")])
    source = FileSource(inputs, find("files"), 1, paths_a_chunk=2)
    assert source.chunk_count() == 2
    assert [chunk.paths for chunk in source] == [
        tuple(str(tmp_path / n) for n in "ab"),
        (str(tmp_path / "c"),),
    ]


def test_records_are_estimated_from_the_head(tmp_path):
    (tmp_path / "a").write_bytes(b"123456789\n" * 100_000)
    assert mean_record_bytes(expand([str(tmp_path / "a")]), find("lines")) == 10
    assert mean_record_bytes([], find("lines")) == 256


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def test_a_slow_producers_lines_are_passed_on_as_they_come(pipe):
    read, write = pipe
    pieces = StdinPieces(read, 2**20)
    called = threading.Semaphore(0)
    pieces.when_ready(called.release)
    assert not pieces.ready()
    os.write(write, b"on")
    assert called.acquire(timeout=60)
    assert not pieces.ready()
    os.write(write, b"e\n")
    assert called.acquire(timeout=60)
    assert pieces.ready()
    assert pieces.take(2**20) == b"one\n"
    assert not pieces.ready()
    os.write(write, b"two\n")
    assert pieces.take(2**20) == b"two\n"
    os.close(write)
    assert pieces.take(2**20) == b""
    assert pieces.ready()
    assert pieces.taken == 8


def test_no_more_is_read_ahead_than_the_limit(pipe):
    read, write = pipe
    pieces = StdinPieces(read, 1000)
    data = os.urandom(3_000_000)

    def produce():
        with os.fdopen(os.dup(write), "wb") as file:
            file.write(data)

    os.set_blocking(write, True)
    producer = threading.Thread(target=produce)
    producer.start()
    found = []
    while sum(map(len, found)) < len(data):
        found.append(pieces.take(1000))
        assert pieces._held <= 1000 + 256 * 1024
    producer.join()
    os.close(write)
    assert pieces.take(1) == b""
    assert b"".join(found) == data
