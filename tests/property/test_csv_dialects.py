"""Every dialect and encoding of CSV gives, however it is cut, the rows that the csv module reads from the whole text."""

import csv
import gzip
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.sources.files import FileSource
from orchestrator.sources.inputs import expand
from workers.records.formats.format import FormatError
from workers.records.formats.registry import find

PIECES = st.sampled_from(["a", "bc", "ä", "€", ";", ",", "\t", "|", '"', "'", '""', "''", "\n", "\r\n", "\r", "x y", "\u0a0d", "\ufeff"])
TEXTS = st.lists(PIECES, max_size=50).map("".join)
NO_REPR = type("NoRepr", (), {"__repr__": lambda self: 1 / 0})()
FIELDS = st.text(st.sampled_from("ab;,\t|\"'\n€ä "), max_size=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("dialects")


def records(path, block_bytes, form):
    found = []
    for chunk in FileSource(expand([str(path)]), form, block_bytes):
        cut = form.split(form.read(chunk), chunk.head, skip=False)
        found += [cut.value(index) for index in range(len(cut.values))]
        data = form.read(chunk).data
        spans = cut.spans(data)
        assert len(spans) == len(cut.values)
    return found


def expected_rows(text, delimiter, quote):
    quoting = {"quoting": csv.QUOTE_NONE, "quotechar": None} if quote == "none" else {"quotechar": quote}
    return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, **quoting) if row]


@given(
    text=TEXTS,
    block=st.integers(1, 60),
    delimiter=st.sampled_from([",", ";", "\t", "|", "^", "]", "-"]),
    quote=st.sampled_from(['"', "'", "none"]),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030", "utf-7"]),
    packed=st.booleans(),
)
@settings(deadline=None, max_examples=80)
def test_rows_are_those_of_the_csv_module(folder, text, block, delimiter, quote, encoding, packed):
    text = text.removeprefix("\ufeff").removeprefix("\ufeff") if not encoding.endswith(("e", "f-16", "f-32")) else text.replace("\ufeff", "")
    data = text.encode(encoding)
    (folder / "in").write_bytes(gzip.compress(data) if packed else data)
    form = find("csv", delimiter=delimiter, quote=quote, encoding=encoding, header=False)
    assert records(folder / "in", block, form) == expected_rows(data.decode(encoding).removeprefix("\ufeff"), delimiter, quote)


@given(rows=st.lists(st.lists(FIELDS, min_size=1, max_size=4), min_size=1, max_size=12), block=st.integers(1, 40), encoding=st.sampled_from(["cp1252", "iso8859-15", "utf-16"]))
@settings(deadline=None, max_examples=40)
def test_ragged_rows_have_none_for_what_is_missing_and_a_list_of_what_is_more(folder, rows, block, encoding):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";", quotechar="'").writerows([["one", "two"], *rows])
    (folder / "in").write_bytes(text.getvalue().encode(encoding))
    form = find("csv", delimiter=";", quote="'", encoding=encoding)
    read = csv.DictReader(io.StringIO(text.getvalue(), newline=""), delimiter=";", quotechar="'")
    assert records(folder / "in", block, form) == list(read)


@given(lines=st.lists(st.text(st.characters(codec="utf-16", exclude_characters="\n\r"), max_size=8), max_size=20), block=st.integers(1, 50), encoding=st.sampled_from(["utf-16", "utf-16-be", "utf-32-le", "shift_jis", "latin-1", "cp037"]))
@settings(deadline=None, max_examples=50)
def test_lines_of_any_encoding_are_cut_between_its_characters(folder, lines, block, encoding):
    """U+0A0D, whose bytes are those of line ends, and characters of several bytes are never cut."""
    lines = [line.encode(encoding, "ignore").decode(encoding).replace("\x85", "").replace("\ufeff", "") for line in lines]
    (folder / "in").write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    assert records(folder / "in", block, find("lines", encoding=encoding)) == lines


def test_a_delimiter_is_found_at_the_beginning_of_each_file(folder):
    for mark in ";\t|,":
        (folder / "in").write_text(f"a{mark}b\n" + f"1{mark}2.5\n" * 20)
        assert records(folder / "in", 30, find("csv", delimiter="auto")) == [{"a": "1", "b": "2.5"}] * 20
    (folder / "in").write_text("a|b\n" * 20)
    assert records(folder / "in", 30, find("csv", delimiter="auto", quote="|", header=False)) == [["a|b"]] * 20
    (folder / "in.tsv").write_text("a\tb\n1,0\t2\n")
    assert records(folder / "in.tsv", 30, find("csv").of_file("in.tsv")) == [{"a": "1,0", "b": "2"}]


def test_names_may_be_given_instead_of_a_header(folder):
    (folder / "in").write_text("1,2\n3,4,5\n")
    assert records(folder / "in", 3, find("csv", header="x,y")) == [{"x": "1", "y": "2"}, {"x": "3", "y": "4", None: ["5"]}]
    assert records(folder / "in", 3, find("csv", header=False)) == [["1", "2"], ["3", "4", "5"]]


def test_a_first_row_that_is_a_record_is_line_one(folder):
    (folder / "in.gz").write_bytes(gzip.compress(b"1,2\n3,4\n"))
    first = next(FileSource(expand([str(folder / "in.gz")]), find("csv", header=False), 1000))
    assert (first.first_line, first.start, first.head.names) == (1, 0, None)


@pytest.mark.parametrize("encoding", ["utf-16", "ascii", "cp1252"])
def test_a_line_that_is_not_of_the_encoding_is_named(folder, encoding):
    bad = {"utf-16": b"\x00\xd8\x20\x00", "ascii": b"\xff", "cp1252": b"\x81"}[encoding]
    start = "one\n".encode(encoding)
    more = "\nthree\n".encode(encoding).removeprefix("".encode(encoding))
    (folder / "in").write_bytes(start + bad + more)
    form = find("lines", encoding=encoding)
    chunk = next(FileSource(expand([str(folder / "in")]), form, 1000))
    found = form.split(form.read(chunk), chunk.head, skip=True)
    assert found.values == ["one", "three"]
    (error,) = found.bad
    assert error.line_index == 1
    assert f" not {encoding}" in str(error)
    assert (" byte 0x" in f" {error}") == (encoding != "utf-16"), "recoded bytes are not those of the file"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"delimiter": ";;"}, "delimiter must be one ASCII character, or auto or tab, not ';;'"),
        ({"delimiter": ";", "quote": ";"}, "both ';'"),
        ({"encoding": "utf-99"}, "unknown encoding of text: 'utf-99'"),
        ({"encoding": "base64"}, "unknown encoding of text: 'base64'"),
        ({"header": "a,b,a"}, "each of them once"),
        ({"encoding": "idna"}, "unknown encoding of text: 'idna'"),
        ({"encoding": "a\0b"}, "unknown encoding of text: "),
        *(({option: value}, f"{option} must be ") for option in ("delimiter", "quote", "header", "errors", "encoding") for value in (["x", "x"], NO_REPR)),
    ],
)
def test_options_that_can_not_be_are_refused(options, said):
    with pytest.raises(FormatError, match=re.escape(said)):
        find("csv", **options)
