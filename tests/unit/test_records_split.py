"""Splitting by byte range gives the records that reading from the front gives, for any content."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sources.cutting import CsvCutter, LineCutter, SizeCutter, csv_boundary, last_csv_boundary
from orchestrator.sources.files import FileSource, expand
from workers.chunks import Block, Origin
from workers.formats import parse_json, split
from workers.ranges import read_block, read_range

PIECES = st.sampled_from(
    ["a", "ä", "€", "\U0001f600", " ", "\n", "\r\n", "\r", "\x0b", "\x1c", "\u2028", "longer text", '"', ","]
)
TEXTS = st.lists(PIECES, max_size=60).map("".join)
BLOCKS = st.integers(min_value=1, max_value=80)


def plain_lines(data: bytes) -> list[str]:
    lines = data.decode("utf-8-sig").split("\n")
    ends = [line.removesuffix("\r") for line in lines[:-1]]
    return ends + ([lines[-1]] if lines[-1] else [])


def records(source, record_format, errors="strict"):
    found, chunks = [], list(source)
    for chunk in chunks:
        text = record_format != "blocks"
        raw = read_block(chunk, text=text) if isinstance(chunk, Block) else read_range(chunk, text=text)
        cut = split(raw, record_format, errors, chunk.fieldnames, skip=False)
        found += [cut.parse(value) if cut.parse else value for value in cut.values]
    assert [chunk.origin.seq for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.origin.last_of_file for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("split") / "input"


@given(text=TEXTS, block=BLOCKS, bom=st.booleans())
def test_lines_by_range_are_the_lines(file, text, block, bom):
    file.write_bytes(text.encode("utf-8-sig" if bom else "utf-8"))
    source = FileSource(expand([str(file)]), "lines", block)
    expected = plain_lines(file.read_bytes())
    assert records(source, "lines") == expected
    assert source.total_bytes == file.stat().st_size


VALUES = st.none() | st.integers() | st.text() | st.dictionaries(st.text(), st.floats(allow_nan=False))
LINE_ENDS = st.sampled_from(["\n", "\r\n"])


@given(
    values=st.lists(VALUES),
    block=BLOCKS,
    blank=st.sampled_from(["", "\n", " \t\r\n"]),
    end=LINE_ENDS,
    ascii_only=st.booleans(),
)
def test_json_lines_by_range_are_the_values(file, *, values, block, blank, end, ascii_only):
    def dumped(value):
        try:
            text = json.dumps(value, ensure_ascii=ascii_only)
            text.encode()
        except UnicodeEncodeError:
            text = json.dumps(value)
        return text

    file.write_bytes(blank.join(dumped(value) + end for value in values).encode())
    assert records(FileSource(expand([str(file)]), "jsonl", block), "jsonl") == values


FIELDS = st.text(alphabet=st.sampled_from(list('ab",\n ä')), max_size=12)


def written(rows, end, last_end):
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows(rows)
    return text.getvalue() if last_end else text.getvalue().removesuffix(end)


@given(
    rows=st.lists(st.lists(FIELDS, min_size=1, max_size=4), max_size=12),
    block=BLOCKS,
    end=LINE_ENDS,
    last_end=st.booleans(),
    bom=st.booleans(),
)
def test_csv_by_range_is_what_dictreader_reads(file, *, rows, block, end, last_end, bom):
    data = written([["one", "two\nlines", "three"], *rows], end, last_end).encode(
        "utf-8-sig" if bom else "utf-8"
    )
    file.write_bytes(data)
    with file.open(newline="", encoding="utf-8-sig") as plain:
        expected = list(csv.DictReader(plain))
    assert records(FileSource(expand([str(file)]), "csv", block), "csv") == expected


@given(data=st.binary(max_size=200), block=BLOCKS)
def test_blocks_put_together_are_the_file(file, data, block):
    file.write_bytes(data)
    found = records(FileSource(expand([str(file)]), "blocks", block), "blocks")
    assert b"".join(found) == data
    assert all(len(piece) == block for piece in found[:-1])


@given(text=TEXTS, sizes=st.lists(st.integers(1, 30), min_size=1))
@pytest.mark.parametrize("make", [LineCutter, CsvCutter, lambda: SizeCutter(7)])
def test_cutters_lose_and_invent_nothing(make, text, sizes):
    data, cut, blocks, at = text.encode(), make(), [], 0
    for size in sizes:
        blocks += cut.feed(data[at : at + size]) if data[at : at + size] else []
        at += size
    blocks += cut.feed(data[at:]) if data[at:] else []
    blocks.append(cut.finish())
    assert cut.header + b"".join(blocks) == data
    if make is LineCutter:
        assert all(block.endswith(b"\n") for block in blocks[:-1])


@given(text=TEXTS)
def test_csv_boundaries_are_line_ends_with_an_even_count_before(text):
    data = text.encode()
    all_ends = [i + 1 for i, byte in enumerate(data) if byte == 10 and data.count(b'"', 0, i) % 2 == 0]
    assert csv_boundary(data, 0) == (all_ends[0] if all_ends else -1)
    assert last_csv_boundary(data, 0) == (all_ends[-1] if all_ends else 0)
    for target in range(1, len(data) + 1):
        assert csv_boundary(data, 0, target) == next((end for end in all_ends if end >= target), -1)


@given(
    value=st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5),
    before=st.sampled_from(["", " "]),
)
def test_parse_json_is_json_loads(value, before):
    line = before + json.dumps(value) + before
    assert repr(parse_json(line)) == repr(json.loads(line))


@pytest.mark.parametrize("line", ["", "{", "1 2", "[1", "nope", "\ufeff1"])
def test_parse_json_refuses_what_json_loads_refuses(line):
    with pytest.raises(json.JSONDecodeError):
        parse_json(line)


def test_a_line_longer_than_many_blocks_goes_to_one_worker(file):
    file.write_bytes(b"a\n" + b"x" * 1_000_000 + b"\nb")
    assert records(FileSource(expand([str(file)]), "lines", 1000), "lines") == ["a", "x" * 1_000_000, "b"]


def test_a_block_may_lie_in_foreign_memory():
    memory = memoryview(bytearray(b"a\nb\n"))
    raw = read_block(Block(Origin(0, "-", 0, 0, True, 4), memory, 0, 1), text=True)
    assert split(raw, "lines", "strict", None, skip=False).values == ["a", "b"]
