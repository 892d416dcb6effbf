"""A name means the same to every writer: `run -o`, folders, `exec -o`, `Stream.to`, `tee`, `demultiplex`, job files."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random

import pytest

from orchestrator import ConfigError, OrchestratorError, Stream, run
from orchestrator.graph.checkpoints import Checkpoints
from orchestrator.sinks import compressed
from orchestrator.streams.running import plan_of, run_plan
from workers.records import compression, file_names

RECORDS = [{"a": 1, "b": 'x,"y"\nz'}, {"b": "é", "a": None}, {"a": [1, 2], "b": ""}]
VALUES = [*RECORDS, "text", 'a "quoted" text', "", 7, 1.5, True, [1, "two"], "\x0b\u2028 no line ends"]
NAMES = ("a.txt", "a", "a.json", "a.csv", "a.CSV", "a.jsonl", "a.ndjson", "A.JSONL", "a.csv.gz", "a.jsonl.bz2", "a.txt.xz", "a.jsonl.GZ",
         "a.csv.bgz", "a.csv.txt", "csv", "a.jsonl.old")  # fmt: skip


def items_for(name, output_format=None):
    return RECORDS if expected_format(name, output_format) == "csv" else VALUES


def expected_format(name, output_format):
    lower = name.lower()
    for ending in (".gz", ".bgz", ".bz2", ".xz", ".zst"):
        lower = lower.removesuffix(ending)
    by_name = "csv" if lower.endswith(".csv") else "jsonl" if lower.endswith((".jsonl", ".ndjson")) else "lines"
    return output_format or by_name


def expected(name, output_format=None, items=None):
    items = items_for(name, output_format) if items is None else items
    kind = expected_format(name, output_format)
    if kind == "csv":
        text = io.StringIO()
        rows = csv.DictWriter(text, list(items[0]), lineterminator="\n")
        rows.writeheader()
        rows.writerows(items)
        return text.getvalue().encode()
    return b"".join(
        (item if kind == "lines" and isinstance(item, str) else json.dumps(item, ensure_ascii=False)).encode() + b"\n"
        for item in items
    )


def content(path):
    data = path.read_bytes()
    lower = path.name.lower()
    for endings, opened in (((".gz", ".bgz"), gzip.decompress), (".bz2", bz2.decompress), (".xz", lzma.decompress)):
        if lower.endswith(endings):
            return opened(data)
    return data


@pytest.mark.parametrize("output_format", [None, "lines", "jsonl", "csv"])
def test_streams_tees_and_demultiplexers_write_what_the_name_says(tmp_path, output_format):
    for name in NAMES:
        items = items_for(name, output_format)
        for folder in ("to", "tee", "key"):
            (tmp_path / folder).mkdir(exist_ok=True)
        run(
            Stream(items).tee(tmp_path / "tee" / name, format=output_format)
            .to(tmp_path / "to" / name, format=output_format),
            Stream(items).demultiplex(lambda _: 0, to=lambda _, n=name: tmp_path / "key" / n, format=output_format),
        )  # fmt: skip
        for folder in ("to", "tee", "key"):
            assert content(tmp_path / folder / name) == expected(name, output_format), (folder, name)


def test_a_job_writes_what_the_name_says(folder, command):
    (folder / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in RECORDS))
    (folder / "values.jsonl").write_text("".join(json.dumps(each) + "\n" for each in VALUES))
    tables = ['[source.records]\nread = "records.jsonl"\nformat = "jsonl"', '[source.values]\nread = "values.jsonl"\nformat = "jsonl"']
    for number, name in enumerate(NAMES):
        source = "records" if items_for(name) is RECORDS else "values"
        tables.append(f'[sink.s{number}]\nfrom = "{source}"\nwrite = "out/{name}"')
    tables.append('[sink.said]\nfrom = "values"\nwrite = "out/said"\nformat = "jsonl"')
    (folder / "job.toml").write_text("\n".join(tables))
    (folder / "out").mkdir()
    command("job", "job.toml", "-j", "1")
    for name in NAMES:
        assert content(folder / "out" / name) == expected(name), name
    assert content(folder / "out" / "said") == expected("said", "jsonl")


def test_the_command_writes_what_the_name_says(folder, command):
    (folder / "f.py").write_text("def same(value): return value\n")
    (folder / "values.jsonl").write_text("".join(json.dumps(each) + "\n" for each in VALUES))
    (folder / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in RECORDS))
    for name in ("a.txt", "a.jsonl.GZ", "a.csv.bgz"):
        source = "records.jsonl" if items_for(name) is RECORDS else "values.jsonl"
        command("run", "f:same", source, "--format", "jsonl", "-o", name, "-j", "1")
        assert content(folder / name) == expected(name), name
    command("run", "f:same", "values.jsonl", "--format", "jsonl", "-o", "x.jsonl", "--output-format", "lines", "-j", "1")
    assert content(folder / "x.jsonl") == expected("x.jsonl", "lines", VALUES)
    (folder / "in").mkdir()
    plain = [name for name in NAMES if file_names.compression_of(name) is None]
    for name in plain:
        (folder / "in" / name).write_text("".join(json.dumps(each) + "\n" for each in items_for(name)))
    command("run", "f:same", *(f"in/{name}" for name in plain), "--format", "jsonl", "-o", "out/", "-j", "1")
    for name in plain:
        assert content(folder / "out" / name) == expected(name), name
    said = command("run", "f:same", "in/a.txt", "--format", "blocks", "-o", "b.jsonl", "-j", "1", code=1).stderr
    assert "the format lines writes bytes as they are" in said


def test_commands_write_compressed_what_the_name_says(folder, command):
    for name in ("out.gz", "out.csv.BZ2"):
        command("exec", "echo {}", "a", "b", "-o", name, "-j", "1")
        assert content(folder / name) == b"a\nb\n"


def test_what_can_not_be_written_is_told(tmp_path):
    with pytest.raises(ConfigError, match="there is no format 'xml'; there are lines, jsonl, csv"):
        Stream([1]).to(tmp_path / "a", format="xml")
    with pytest.raises(ConfigError, match="applies to files, not to a list"):
        Stream([1]).to([], format="csv")
    for item, name, said in (
        (b"bytes", "a.jsonl", "type bytes can't be written as JSON"),
        (1j, "a.txt", "type complex can't be written as JSON"),
        ("\ud800", "a.txt", "surrogates not allowed"),
        (None, "a.csv", "None is not a CSV row"),
    ):
        with pytest.raises(OrchestratorError, match=f"can't be written to .*{name} as .*{said}"):
            run(Stream([item]).to(tmp_path / name))
    with pytest.raises(OrchestratorError, match="the columns a, "):
        run(Stream([{"a": 1}] * 2000 + [{"b": 1}]).to(tmp_path / "a.csv"))
    assert os.listdir(tmp_path) == []


def test_none_is_a_value_in_a_stream(tmp_path):
    for name in ("a.txt", "a.jsonl"):
        run(Stream(["x", None]).to(tmp_path / name))
        assert (tmp_path / name).read_bytes().splitlines()[1] == b"null"


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_a_compressed_output_is_the_same_bytes_however_it_was_written(tmp_path, kind):
    """Whatever the writes were, and wherever a checkpoint came and a run went on from it."""
    data = random.Random(1).randbytes(150_000) + b"a" * 200_000
    path = tmp_path / f"out.{kind}"
    whole = compressed.named_output(str(path))
    whole.write(data)
    whole.close()
    wanted = path.read_bytes()
    assert compression.decompress(kind, wanted) == data
    cuts = sorted(random.Random(2).sample(range(len(data)), 40))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    for stop in range(0, 41, 5):
        first = compressed.named_output(str(path))
        first.keep_as("a secret")
        for piece in pieces[:stop]:
            first.write(piece)
        state = json.loads(json.dumps(first.snapshot()))
        first.write(b"lost")
        first.abort()
        again = compressed.named_output(str(path))
        again.keep_as("a secret")
        again.restore(state)
        for piece in pieces[stop:]:
            again.write(piece)
        again.close()
        assert path.read_bytes() == wanted
    assert os.listdir(tmp_path) == [path.name]


def test_a_csv_output_goes_on_under_its_header(tmp_path):
    def graph(fail_at):
        def checked(n):
            if n == fail_at:
                raise ValueError(n)
            return {"n": n, "text": "x" * 20}

        return plan_of(Stream(range(50_000)).map_inline(checked).to(tmp_path / "out.csv.gz"))

    wanted = expected("out.csv", None, [{"n": n, "text": "x" * 20} for n in range(50_000)])
    for fail_at in (20_000, 40_000, None):
        kept = Checkpoints(str(tmp_path / "journal"), {}, 0)
        try:
            run_plan(graph(fail_at), None, kept=kept)
        except OrchestratorError:
            assert not (tmp_path / "out.csv.gz").exists()
        finally:
            kept.close()
    assert gzip.decompress((tmp_path / "out.csv.gz").read_bytes()) == wanted


def test_a_field_with_a_carriage_return_stays_one_field(tmp_path, folder, command):
    """A bare carriage return ends a row where CSV is read, so it is quoted where CSV is written."""
    rows = [{"a\rb": "x\ry", "c": "\r"}, {"a\rb": "\n\r", "c": '"\r'}, {"a\rb": "plain", "c": ","}]
    written, again = tmp_path / "rows.csv", folder / "again.csv"
    run(Stream(rows).to(written))
    assert list(csv.DictReader(io.StringIO(written.read_bytes().decode(), newline=""))) == rows
    (folder / "same.py").write_text("def same(row):\n    return row\n")
    command("run", "same.py:same", str(written), "--format", "csv", "-o", "again.csv")
    assert again.read_bytes() == written.read_bytes()


HEADER, ROWS = b"a,b\n", b"a,b\n1,2\n3,4\n"
DROPPING_JOB = """
[source.s]
read = {names}
format = "csv"
[step.d]
from = "s"
map = "drop.py:drop"
drop_none = true
[sink.o]
from = "d"
write = "out.csv.gz"
"""


def inputs_of(folder, shape, data):
    """Write the inputs; return their names and what is on standard input."""
    kind = next((kind for kind in ("gz", "bz2", "xz", "zst") if kind in shape), None)
    packed = compression.compress(kind, data) if kind else data
    if "stdin" in shape:
        return ["-"], packed
    names = [f"in.{kind}" if shape == kind else "in"] * (1 + (shape == "two"))
    (folder / names[0]).write_bytes(packed)
    if shape == "an empty one first":
        (folder / "nothing").touch()
        names = ["nothing", *names]
    return names, b""


@pytest.mark.parametrize(
    "shape", ["plain", "gz", "bz2", "xz", "zst", "gz without a name", "stdin", "stdin gz", "two", "an empty one first"]
)
def test_csv_without_rows_has_the_header_of_its_input(folder, command, shape, monkeypatch):
    if shape == "zst":
        pytest.importorskip("zstandard")
    monkeypatch.chdir(folder)
    (folder / "drop.py").write_text("def drop(row):\n    return None\n")
    names, data = inputs_of(folder, shape, ROWS)
    command("run", "drop.py:drop", *names, "--format", "csv", "-o", "out.csv", "-q", data=data)
    assert (folder / "out.csv").read_bytes() == HEADER

    names, data = inputs_of(folder, shape, HEADER)
    (folder / "job.toml").write_text(DROPPING_JOB.format(names=json.dumps(names)))
    command("job", "job.toml", "-q", data=data)
    assert content(folder / "out.csv.gz") == HEADER

    for text in (HEADER, ROWS) * ("-" not in names):  # standard input is the tests' own
        inputs_of(folder, shape, text)
        rows = Stream.read(names, "csv").filter_inline(lambda _: False)
        run(rows.tee("tee.csv").window(3).to("out.csv"))
        assert [(folder / name).read_bytes() for name in ("tee.csv", "out.csv")] == [HEADER] * 2


def test_a_stream_of_csv_without_rows_writes_the_header(tmp_path):
    read, written = tmp_path / "in.csv", tmp_path / "out.csv"
    read.write_text("a,b\n1,2\n")
    run(Stream.read(read, "csv").filter_inline(lambda _: False).to(written))
    assert written.read_bytes() == b"a,b\n"
    run(Stream.read(read, "csv").map_inline(lambda _: "text").to(written))
    assert written.read_bytes() == b"text\n"
    run(Stream.read(read, "csv").filter_inline(lambda _: False).to(written, format="lines"))
    assert written.read_bytes() == b""
