"""The flags of CSV and of encodings, in the real command: several ranges, against the csv module."""

import csv
import gzip
import io
import json

import pytest

ROWS = [[f"{number}", "a;b,c\td"[: number % 8], "é'\"ü"[: number % 5]] for number in range(800)]
NAMES = ["id", "text", "größe"]


def text_of(rows, **dialect):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", **dialect).writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize(
    ("name", "dialect", "encoding", "flags"),
    [
        ("in.csv", {"delimiter": ";", "quotechar": "'"}, "latin-1", ["--delimiter", ";", "--quote", "'", "--encoding", "latin-1"]),
        ("in.txt", {"delimiter": "\t"}, "utf-16", ["--delimiter", r"\t", "--encoding", "utf-16"]),
        ("in.tsv.gz", {"delimiter": "\t"}, "utf-8", []),
        ("in.csv", {"delimiter": ";"}, "utf-8", ["--delimiter", "auto"]),
    ],
)  # fmt: skip
def test_rows_are_those_of_the_csv_module(command, folder, name, dialect, encoding, flags):
    data = text_of([NAMES, *ROWS], **dialect).encode(encoding)
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (folder / "g.py").write_text("def same(row): return row\n")
    done = command("run", "-q", "-j2", "g.py:same", name, "--format", "csv", "--block", "2K", *flags, "--output-format", "jsonl")
    expected = csv.DictReader(io.StringIO(data.decode(encoding), newline=""), **dialect)
    assert list(map(json.loads, done.stdout.splitlines())) == list(expected)


@pytest.mark.parametrize(
    ("flags", "make"),
    [
        (["--no-header"], list),
        (["--header", "x,y,z"], lambda row: dict(zip("xyz", row, strict=True))),
        (["--no-header", "--quote", "none"], list),
    ],
)
def test_a_first_row_may_be_a_record(command, folder, flags, make):
    rows = [[number, text.replace(",", "-"), last.replace('"', "_")] for number, text, last in ROWS]
    (folder / "in").write_text(text_of(rows))
    (folder / "g.py").write_text("def same(row): return row\n")
    done = command("run", "-q", "-j2", "g.py:same", "in", "--format", "csv", "--block", "2K", *flags, "--output-format", "jsonl")
    assert list(map(json.loads, done.stdout.splitlines())) == list(map(make, rows))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--delimiter", ";"], "delimiter is not an option of the format lines, but of csv: give --format csv (format=)"),
        (["--format", "csv", "--delimiter", ";;"], "delimiter must be one ASCII character, or auto or tab, not ';;'"),
        (["--format", "csv", "--quote", ";", "--delimiter", ";"], "the delimiter and the quotation mark are both ';'"),
        (["--format", "csv", "--header", "a,a"], "header must be names of columns, each of them once, not 'a,a'"),
        (["--encoding", "idna"], "unknown encoding of text: 'idna'"),
        (["--storage-option", "key"], "--storage-option takes NAME=VALUE, not 'key'"),
    ],
)
def test_flags_that_can_not_be_are_one_line_before_anything_starts(command, folder, flags, said):
    (folder / "in").write_text("a;b\n")
    err = command("run", "f.py:upper", "in", *flags, code=2).stderr
    assert said in err
    assert err.count("\n") == 1
