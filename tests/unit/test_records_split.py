"""Splitting by byte range gives the records that reading from the front gives, for any content."""

import contextlib
import csv
import gzip
import io
import json
import os
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sources.files import FileSource
from orchestrator.sources.inputs import expand
from workers.records.blocks import Block, Origin
from workers.records.formats import registry
from workers.records.formats.cutting import LineCutter, SizeCutter
from workers.records.formats.json_text import parse_json
from workers.records.formats.kinds.csv import CsvCutter
from workers.records.formats.kinds.lines import Lines
from workers.records.formats.registry import find
from workers.records.formats.rows.ends import RowEnds
from workers.records.line_ends import LineEnds
from workers.records.ranges import read_block
from workers.records.reading.positions import read

PIECES = st.sampled_from(
    ["a", "ä", "€", "\U0001f600", " ", "\n", "\r\n", "\r", "\x0b", "\x1c", "\u2028", "longer text", '"', ","]
)
TEXTS = st.lists(PIECES, max_size=60).map("".join)
BLOCKS = st.integers(min_value=1, max_value=80)


def plain_lines(data: bytes) -> list[str]:
    lines = data.decode("utf-8-sig").split("\n")
    ends = [line.removesuffix("\r") for line in lines[:-1]]
    return ends + ([lines[-1]] if lines[-1] else [])


def records(source, record_format, **options):
    found, chunks = [], list(source)
    for chunk in chunks:
        form = find(record_format, **options)
        cut = form.split(read(chunk, form), chunk.head, skip=False)
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
    source = FileSource(expand([str(file)]), find("lines"), block)
    expected = plain_lines(file.read_bytes())
    assert records(source, "lines") == expected
    assert source.total_bytes == file.stat().st_size


@dataclass(frozen=True)
class Nul(Lines):
    name = "nul"
    told = "text up to a NUL byte"
    line_ends = LineEnds(b"\0")


@given(text=TEXTS, block=BLOCKS, packed=st.booleans())
def test_a_format_may_name_another_byte_that_ends_its_records(file, text, block, packed):
    """Nothing else has to know it: neither who cuts, nor who reads, nor who counts."""
    data = text.encode().replace(b" ", b"\0")
    file.write_bytes(gzip.compress(data) if packed else data)
    *expected, last = data.decode().split("\0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._known, "nul", Nul)
        assert records(FileSource(expand([str(file)]), find("nul"), block), "nul") == expected + [last] * bool(last)


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
    assert records(FileSource(expand([str(file)]), find("jsonl"), block), "jsonl") == values


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
    assert records(FileSource(expand([str(file)]), find("csv"), block), "csv") == expected


@given(data=st.binary(max_size=200), block=BLOCKS)
def test_blocks_put_together_are_the_file(file, data, block):
    file.write_bytes(data)
    found = records(FileSource(expand([str(file)]), find("blocks"), block), "blocks")
    assert b"".join(found) == data
    assert all(len(piece) == block for piece in found[:-1])


@given(text=TEXTS, sizes=st.lists(st.integers(1, 30), min_size=1))
@pytest.mark.parametrize("make", [lambda: LineCutter(0), lambda: CsvCutter(find("csv"), 0), lambda: SizeCutter(7)])
def test_cutters_lose_and_invent_nothing(make, text, sizes):
    data, cut, blocks, at = text.encode(), make(), [], 0
    for size in sizes:
        blocks += cut.feed(data[at : at + size]) if data[at : at + size] else []
        at += size
    blocks += cut.feed(data[at:]) if data[at:] else []
    blocks.append(cut.finish())
    header = cut.head.size_bytes if cut.head else 0
    assert b"".join(blocks) == data[header:]
    if isinstance(cut, LineCutter):
        assert all(block.endswith(b"\n") for block in blocks[:-1])


MARKS = st.lists(st.sampled_from(['"', '""', ",", "\n", "\r\n", "\r", "a", 'x"y', '",', ',"', "ä"]), max_size=40).map("".join)


def row_ends(data: bytes) -> list[int]:
    """Where rows end, by the csv module; a carriage return at the very end may be half a line end."""
    taken = 0

    def lines():
        nonlocal taken
        for line in io.StringIO(data.decode(), newline=""):
            taken += len(line.encode())
            yield line

    ends = [taken for _ in csv.reader(lines())]
    return [end for end in ends if data[end - 1 : end] == b"\n" or (data[end - 1 : end] == b"\r" and end < len(data))]


@given(text=MARKS, sizes=st.lists(st.integers(1, 30), min_size=1))
def test_rows_end_where_the_csv_module_ends_them_whatever_the_pieces(text, sizes):
    data, rows, at = text.encode() + b"\n", RowEnds(), 0
    ends = row_ends(data + b'"')
    ends = [end for end in ends if end <= len(data)]
    for size in [*sizes, len(data)]:
        piece = data[at : at + size]
        cut = rows.last_in(piece)
        ended = [end for end in ends if at < end <= at + len(piece) and (data[end - 1 : end] == b"\n")]
        assert not cut or at + cut in ends
        assert at + cut >= max(ended, default=0)
        at += len(piece)


@given(text=MARKS, block=BLOCKS, shape=st.sampled_from(["plain", "compressed", "pipe"]), skip=st.booleans())
def test_csv_with_marks_anywhere_is_what_the_csv_module_reads_however_it_comes(file, *, text, block, shape, skip):
    data = ("\n\r\n" if skip else "").encode() + b"one,two\n" + text.encode()
    with io.StringIO(data.decode().lstrip("\r\n"), newline="") as plain:
        expected = list(csv.DictReader(plain))
    assert records(source_of(file, data, shape, block), "csv") == expected


def source_of(file, data, shape, block):
    """The same bytes as a plain file, a compressed one, or a pipe."""
    if shape == "pipe":
        read, write = os.pipe()
        with os.fdopen(write, "wb") as pipe:
            pipe.write(data)
        source = FileSource(expand([f"/dev/fd/{read}"]), find("csv"), block)
        return closing_too(source, read)
    name = file.with_suffix(".gz") if shape == "compressed" else file
    name.write_bytes(gzip.compress(data) if shape == "compressed" else data)
    return FileSource(expand([str(name)]), find("csv"), block)


def closing_too(source, fd):
    yield from source
    source.close()
    os.close(fd)


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("a,b", ["a", "b"]),
        ("a,a,a", ["a", "a.1", "a.2"]),
        ("a,a,a.1", ["a", "a.2", "a.1"]),
        ("a.1,a,a", ["a.1", "a", "a.2"]),
        (",,b", ["", ".1", "b"]),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_columns_are_distinct_and_any_line_end_ends_the_header(file, header, names, end):
    file.write_bytes(f"{end}{header}{end}1,2,3{end}4,5,6{end}".encode())
    source = FileSource(expand([str(file)]), find("csv"), 4)
    repeated = len(set(header.split(","))) < len(names)
    with pytest.warns(UserWarning, match="more than once") if repeated else contextlib.nullcontext():
        found = records(source, "csv")
    rows = [["1", "2", "3"], ["4", "5", "6"]]
    surplus = [{None: row[len(names) :]} if len(names) < 3 else {} for row in rows]
    assert found == [dict(zip(names, row, strict=False)) | more for row, more in zip(rows, surplus, strict=True)]


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
    assert records(FileSource(expand([str(file)]), find("lines"), 1000), "lines") == ["a", "x" * 1_000_000, "b"]


def test_a_block_may_lie_in_foreign_memory():
    memory = memoryview(bytearray(b"a\nb\n"))
    raw = read_block(Block(Origin(0, "-", 0, 0, True, 4), memory, 0, 1), text=True)
    assert find("lines").split(raw, None, skip=False).values == ["a", "b"]
