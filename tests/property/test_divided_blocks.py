"""A block cut into parts gives the records that it gives whole: whatever is in it, wherever it is cut."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.sources.block_splitting import Divider
from orchestrator.sources.files import FileSource
from orchestrator.sources.inputs import expand
from orchestrator.sources.line_numbers import LineNumbers
from workers.records.blocks import FailedRecord, Paths
from workers.records.formats.registry import find
from workers.records.reading.positions import read
from workers.records.records import Records

PIECES = st.sampled_from(
    [b"a", b"\xc3\xa4", b"\xff", b"\n", b"\n\n", b"\r\n", b"\r", b"\xe2\x80\xa8", b'"a\n""b"', b",", b'{"n": 1}\n', b" "]
)
FORMATS = st.sampled_from(["lines", "jsonl", "csv"])
DATA = st.lists(PIECES, max_size=40).map(b"".join)


def line_ends(data, record_format):
    """In CSV a bare carriage return ends a line, too."""
    bare = data.count(b"\r") - data.count(b"\r\n") if record_format == "csv" else 0
    return data.count(b"\n") + bare


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("divided") / "input"


def records(block, record_format):
    """What a worker would run, and the lines that are none."""
    if isinstance(block, Paths):
        return list(block.paths), 0
    found = find(record_format).split(read(block, find(record_format)), block.head, skip=True)
    assert isinstance(found, Records)
    return found.values, len(found.bad)


@settings(deadline=None)
@given(data=DATA, block_bytes=st.integers(1, 60), record_format=FORMATS, bom=st.booleans())
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_parts_give_what_the_block_gives(file, data, block_bytes, record_format, bom, suffix):
    import gzip

    plain = (b"\xef\xbb\xbf" if bom else b"") + (b"x,y\n" if record_format == "csv" else b"") + data
    path = file.with_name(f"input{suffix}")
    path.write_bytes(gzip.compress(plain, 1) if suffix else plain)
    divider = Divider(find(record_format))
    for block in FileSource(expand([str(path)]), find(record_format), block_bytes):
        try:
            whole, bad = records(block, record_format)
        except Exception:  # a stray quotation mark
            assert divider.divide(block, None) is None
            continue
        for at in (None, *range(len(whole))):
            found = divider.divide(block, at)
            if len(whole) < 2:
                assert found is None
                continue
            parts = [records(pickle.loads(pickle.dumps(part, 5)), record_format) for part in found.parts]
            assert [value for values, _ in parts for value in values] == whole
            assert sum(count for _, count in parts) == bad
            assert all(part.origin.divided for part in found.parts)
            assert [part.origin.last_of_file for part in found.parts[:-1]] == [False] * (len(parts) - 1)
            assert found.parts[-1].origin.last_of_file == block.origin.last_of_file
            if at is not None:
                assert parts[found.suspect][0] == [whole[at]]
                given_up = divider.describe_block(found.parts[found.suspect])
                assert given_up.raw == whole[at]
                own = plain[given_up.place.start : given_up.place.end]
                assert record_format == "csv" or own.rstrip(b"\r\n") == whole[at].encode().rstrip(b"\r\n")
                assert suffix or given_up.place.line == 1 + line_ends(plain[: given_up.place.start], record_format)
                alone = divider.records(block, [FailedRecord(at, given_up.place, None, None, None)])
                assert records(alone, record_format)[0] == [whole[at]]


def test_paths_are_divided_too():
    paths = next(FileSource(expand([__file__, __file__, __file__]), find("files"), 1, paths_a_chunk=3))
    divider = Divider(find("files"))
    found = divider.divide(paths, 1)
    assert [len(part.paths) for part in found.parts] == [1, 1, 1]
    assert found.suspect == 1
    assert divider.describe_block(found.parts[1]).place.path == __file__
    assert divider.divide(found.parts[0], 0) is None


def test_a_file_that_is_gone_can_not_be_divided(tmp_path):
    path = tmp_path / "gone"
    path.write_text("a\nb\n")
    source = FileSource(expand([str(path)]), find("lines"), 100)
    block = next(source)
    source.close()
    path.unlink()
    assert Divider(find("lines")).divide(block, 1) is None
    assert Divider(find("lines")).describe_block(block).place.describe() == f"{path}, bytes 0 to 4"


@given(st.lists(st.integers(0, 3_000_000), max_size=20))
@settings(max_examples=20, deadline=None)
def test_line_numbers_in_any_order(file, offsets):
    data = (b"x" * 70 + b"\n") * 30_000 + b"\n" * 900_000
    if not file.exists() or file.stat().st_size != len(data):
        file.write_bytes(data)
    numbers = LineNumbers()
    for offset in offsets:
        assert numbers.of(str(file), offset, find("lines").line_ends) == 1 + data.count(b"\n", 0, offset)
    patient = LineNumbers(most_bytes=2**20)
    for offset in [3_000_000] * (len(offsets) % 2):
        with pytest.raises(OSError, match="large"):
            patient.of(str(file), offset, find("lines").line_ends)
        assert patient.of(str(file), offset, find("lines").line_ends) == 1 + data.count(b"\n", 0, offset)  # it has come nearer
