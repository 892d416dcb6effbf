"""The line that is told of a failed record: for CSV the one that the csv module counts, whatever ends the lines."""

import csv
import gzip
import io
import os
import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.sources import line_numbers
from orchestrator.sources.block_splitting import Divider
from orchestrator.sources.files import FileSource
from orchestrator.sources.inputs import expand
from workers.records.blocks import FailedRecord
from workers.records.formats.registry import find
from workers.records.reading.positions import Located, read

LINE_END = st.sampled_from(["\n", "\r\n", "\r"])
PLAIN = st.sampled_from(["a", "ä", "x y", "", 'st"ray', "\u2028"])
QUOTED = st.lists(st.sampled_from(["\n", "\r\n", "\r", "b", '""', ",", "ä"]), max_size=5).map(
    lambda parts: f'"{"".join(parts)}"'
)
ROW = st.lists(PLAIN | QUOTED, max_size=3).map(",".join)


def texts(line_end):
    return st.tuples(
        st.lists(line_end, max_size=2).map("".join),  # blank lines before the header
        st.sampled_from(["n,m", '"n\r\n\rm",o', '"a\rb\n"']),
        line_end,
        st.lists(st.tuples(ROW, line_end).map("".join), max_size=12).map("".join),
        st.sampled_from(["", "last", '"l\ra\r\nst"']),
    ).map("".join)


TEXT = texts(LINE_END)


def first_lines(text):
    """The oracle: the first line of each row that is not blank, without the header."""
    found, reader, line = [], csv.reader(io.StringIO(text, newline="")), 1
    for row in reader:
        if row:
            found.append(line)
        line = reader.line_num + 1
    return found[1:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lines")


def blocks_of(folder, kind, data, block_bytes, *, max_record=0):
    """The chunks of one input: a plain file, a compressed one, or standard input."""
    path = folder / f"in.csv{'.gz' if kind == 'gz' else ''}"
    path.write_bytes(gzip.compress(data, 1) if kind == "gz" else data)
    if kind != "stdin":
        yield from FileSource(expand([str(path)]), find("csv"), block_bytes, max_record_bytes=max_record)
        return
    taken, given_ = os.pipe()

    def write():
        with open(given_, "wb", buffering=0) as pipe:
            # A line end may come in two pieces.
            pipe.writelines(data[at : at + block_bytes] for at in range(0, len(data), block_bytes))

    thread = threading.Thread(target=write)
    thread.start()
    source = FileSource(expand([f"/dev/fd/{taken}"]), find("csv"), block_bytes, max_record_bytes=max_record)
    try:
        yield from source
    finally:
        thread.join()
        source.close()
        os.close(taken)


def split_csv(block, *, skip=True):
    raw = read(block, find("csv"))
    return Located(block, raw, find("csv").split(raw, block.head, skip=skip), find("csv"))


def told(block, divider):
    """The lines of a block's records, as each who tells one knows them."""
    located = split_csv(block)
    for number in range(len(located.records.values)):
        found = located.place(number)
        line = divider.with_line(found).line
        given_up = divider.describe_block(divider.records(block, [FailedRecord(number, found, None, None, None)]))
        assert given_up.place.line == line
        yield line


@settings(deadline=None)
@given(text=TEXT, block_bytes=st.integers(1, 60), bom=st.booleans())
@pytest.mark.parametrize("kind", ["plain", "gz", "stdin"])
def test_rows_are_of_the_lines_that_the_csv_module_counts(folder, kind, text, block_bytes, bom):
    data = b"\xef\xbb\xbf" * bom + text.encode()
    divider = Divider(find("csv"))
    got = [line for block in blocks_of(folder, kind, data, block_bytes) for line in told(block, divider)]
    assert got == first_lines(text)


@settings(deadline=None)
@given(text=TEXT, block_bytes=st.integers(1, 60))
@pytest.mark.parametrize("kind", ["plain", "gz", "stdin"])
def test_bytes_that_are_no_text_are_of_the_line_they_stand_in(folder, kind, text, block_bytes):
    data = text.encode().replace("ä".encode(), b"\xff")
    divider, got = Divider(find("csv")), set()
    header = next((row for row in csv.reader(io.StringIO(text, newline="")) if row), [])
    for block in blocks_of(folder, kind, data, block_bytes):
        located = split_csv(block)
        for error in located.records.bad:
            at = divider.with_line(located.line_place(error))
            got.add(at.line)
            assert b"\xff" in data[at.start : at.end]
            assert data[at.start : at.end] in data.splitlines(keepends=True)
    lines = [number for number, line in enumerate(data.splitlines(), 1) if b"\xff" in line]
    assert header
    assert got <= set(lines)
    assert not lines or lines[0] in got


@settings(deadline=None)
@given(text=TEXT, block_bytes=st.integers(1, 60), limit=st.integers(4, 20))
@example(text="n\r" + 9 * "a\r" + 40 * "b\r", block_bytes=10, limit=20)
@example(text="n\r" + "aaaaaaaa\r" + 8 * "bbbb" + "\rc\r", block_bytes=9, limit=20)
@pytest.mark.parametrize("kind", ["plain", "gz", "stdin"])
def test_rows_that_are_too_long_are_of_their_lines_and_so_are_those_behind_them(folder, kind, text, block_bytes, limit):
    divider, got = Divider(find("csv")), []
    for block in blocks_of(folder, kind, text.encode(), block_bytes, max_record=limit):
        located = split_csv(block)
        got += [divider.with_line(located.place(number)).line for number in range(len(located.records.values))]
        got += [divider.with_line(located.line_place(error)).line for error in located.records.bad]
    assert sorted(got) == first_lines(text)


@given(pieces=st.lists(st.text("\r\na", max_size=4).map(str.encode), max_size=12), csv_format=st.booleans())
def test_pieces_have_the_line_ends_that_the_whole_has(pieces, csv_format):
    data, record_format = b"".join(pieces), "csv" if csv_format else "lines"
    found, before = 0, b""
    for piece in pieces:
        found += find(record_format).line_ends.number_in(piece, before)
        before = piece[-1:] or before
    lines = find(record_format).line_ends.lines(data)
    assert [line.decode() for line in lines] == list(io.StringIO(data.decode(), newline="" if csv_format else "\n"))
    assert found == sum(line.endswith((b"\n", b"\r") if csv_format else b"\n") for line in lines)
    at = 0
    for line in lines:
        assert all(
            find(record_format).line_ends.around(data, at + n) == (at, at + len(line))
            for n in range(len(line))
            if line[n:] != b"\n" or n == 0
        )
        at += len(line)


@given(
    data=st.text("\r\na", max_size=60).map(str.encode),
    step=st.integers(1, 5),
    csv_format=st.booleans(),
    random=st.randoms(),
)
def test_lines_of_plain_files_are_counted_in_steps(folder, data, step, csv_format, random):
    (folder / "steps").write_bytes(data)
    record_format = "csv" if csv_format else "lines"
    offsets = [0]
    for line in find(record_format).line_ends.lines(data):
        offsets.append(offsets[-1] + len(line))
    wanted = [(offset, number) for number, offset in enumerate(offsets, 1)]
    if not data.endswith((b"\n", b"\r") if csv_format else b"\n"):
        wanted.pop()  # no line begins behind the last
    random.shuffle(wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_numbers, "_STEP_BYTES", step)
        numbers = line_numbers.LineNumbers()
        assert [numbers.of(str(folder / "steps"), offset, find(record_format).line_ends) for offset, _ in wanted] == [
            line for _, line in wanted
        ]
