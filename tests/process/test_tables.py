"""Parquet and Arrow files are read by ranges of rows and written by the output's name; pyarrow is the oracle."""

import datetime
import json
import os
import subprocess
import sys
from decimal import Decimal

import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from orchestrator import ConfigError, ItemError, Pool, Stream, run  # noqa: E402
from orchestrator.sources.files import FileSource  # noqa: E402
from orchestrator.sources.inputs import expand  # noqa: E402
from workers.records.formats.registry import find  # noqa: E402

ROWS = 5000
FUNCTIONS = """
import os, signal
def same(row): return row
def odd(row): return {"id": row["id"]} if row["id"] % 2 else None
def fail(row):
    if row["id"] in (7, 4321): raise ValueError(f"no {row['id']}")
    return {"id": row["id"]}
def die(row):
    if row["id"] == 4321: os.kill(os.getpid(), signal.SIGKILL)
    return {"id": row["id"]}
def misfit(row): return {"v": "text" if row["id"] == 4321 else row["id"]}
def more(row): return {"v": 1, "w": 2} if row["id"] == 4321 else {"v": 1}
def doubled(table):
    import pyarrow.compute as pc
    return table.append_column("y", pc.multiply(table.column("x"), 2))
def framed(frame):
    frame["y"] = frame["x"] * 2
    return frame
"""


@pytest.fixture(scope="module")
def pool():
    with Pool(2) as opened:
        yield opened


@pytest.fixture(scope="module")
def table():
    start = datetime.datetime.fromisoformat("2024-01-01")
    return pa.table({
        "id": range(ROWS),
        "x": [number / 4 for number in range(ROWS)],
        "s": [None if number % 7 == 0 else f"row {number}" for number in range(ROWS)],
        "at": [start + datetime.timedelta(seconds=number) for number in range(ROWS)],
        "price": [Decimal(number) / 100 for number in range(ROWS)],
        "tags": [[str(number)] * (number % 3) for number in range(ROWS)],
    })  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("tables")
    pq.write_table(table, folder / "in.parquet", row_group_size=1300)
    with pa.ipc.new_file(str(folder / "in.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=900)
    (folder / "f.py").write_text(FUNCTIONS)
    return folder


def command(folder, *arguments):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "orchestrator", "run", "-q", "-j2", "--block", "20K", *arguments]
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["in.parquet", "in.arrow"])
@pytest.mark.parametrize("block", [1, 5_000, 10**9])
def test_ranges_have_each_row_once(folder, table, name, block):
    form = find(name.partition(".")[2])
    chunks = list(FileSource(expand([str(folder / name)]), form, block))
    assert sum(chunk.origin.size_bytes for chunk in chunks) == (folder / name).stat().st_size
    assert [(chunk.start, chunk.end) for chunk in chunks][-1][1] == ROWS
    if block > 1:
        assert [row for chunk in chunks for row in form.split(form.read(chunk), None, skip=True).values] == table.to_pylist()


@pytest.mark.parametrize(("source", "out"), [("in.parquet", "o.parquet"), ("in.arrow", "o.arrow"), ("in.parquet", "o.feather")])
def test_a_copy_is_the_same_table(pool, folder, table, tmp_path, source, out):
    run(Stream.read(folder / source, block_bytes=20_000).map(dict).to(str(tmp_path / out)), pool=pool)
    read = pq.read_table(tmp_path / out) if out.endswith("parquet") else pa.ipc.open_file(str(tmp_path / out)).read_all()
    assert read.to_pylist() == table.to_pylist()
    assert read.schema.names == table.schema.names


def test_only_the_columns_that_are_wanted_are_read(pool, folder, table):
    stream = Stream.read(folder / "in.parquet", columns=["s", "id"])
    assert stream.map(dict).collect() == table.select(["s", "id"]).to_pylist()
    with pytest.raises(Exception, match=r"has no column 'q'; it has id, x"):
        Stream.read(folder / "in.parquet", columns="id,q").map(dict).collect()


@pytest.mark.parametrize(("kind", "function"), [("table", "doubled"), ("pandas", "framed")])
@pytest.mark.parametrize("out", ["o.parquet", "o.csv", "o.jsonl"])
def test_functions_of_tables(folder, table, kind, function, out):
    pytest.importorskip("pandas")
    done = command(folder, f"f.py:{function}", "in.parquet", "--as", kind, "--columns", "id,x", "-o", out)
    assert (done.returncode, done.stderr) == (0, "")
    expected = [{"id": each["id"], "x": each["x"], "y": each["x"] * 2} for each in table.to_pylist()]
    if out.endswith("jsonl"):
        assert list(map(json.loads, (folder / out).read_text().splitlines())) == expected
    elif out.endswith("csv"):
        assert len((folder / out).read_text().splitlines()) == ROWS + 1
    else:
        assert pq.read_table(folder / out).to_pylist() == expected


def test_a_row_that_fails_is_named_and_can_be_run_again(folder):
    done = command(folder, "f.py:fail", "in.parquet", "-o", "good.parquet", "--on-error", "skip", "--dead-letter", "dead.jsonl")
    assert done.returncode == 1
    assert "in.parquet, row 8: ValueError: no 7" in done.stderr
    assert "in.parquet, row 4322: ValueError: no 4321" in done.stderr
    assert pq.read_table(folder / "good.parquet").num_rows == ROWS - 2
    again = command(folder, "f.py:odd", "--retry-dead", "dead.jsonl", "--format", "parquet", "-o", "again.parquet")
    assert (again.returncode, again.stderr) == (0, "")
    assert pq.read_table(folder / "again.parquet").to_pylist() == [{"id": 7}, {"id": 4321}]


def test_a_row_that_kills_its_worker_is_named(folder):
    done = command(folder, "f.py:die", "in.parquet", "-o", "rest.parquet", "--on-error", "skip")
    assert done.returncode == 1
    assert "in.parquet, row 4322: WorkerDiedError" in done.stderr
    assert pq.read_table(folder / "rest.parquet").num_rows == ROWS - 1


def test_a_row_of_a_stream_is_named(pool, folder):
    with pytest.raises(ItemError, match=r"in.parquet, row 4322"):
        Stream.read(folder / "in.parquet").map(_fail).collect()


def _fail(row):
    if row["id"] == 4321:
        raise ValueError(row["id"])
    return row


@pytest.mark.parametrize(
    ("function", "said"),
    [("misfit", "the result does not fit to those before|the column v of the Parquet output is int64"), ("more", "also have w")],
)
def test_results_that_do_not_fit_to_the_first_are_one_clear_error(folder, function, said):
    done = command(folder, f"f.py:{function}", "in.parquet", "-o", "never.parquet")
    assert done.returncode == 1
    assert any(each in done.stderr for each in said.split("|")), done.stderr
    assert not (folder / "never.parquet").exists()


def test_nothing_written_is_a_whole_file_too(pool, tmp_path):
    run(Stream([]).to(str(tmp_path / "none.parquet")), pool=pool)
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["f.py:same", "in.parquet", "-o", "o.parquet", "--checkpoint", "saved"], "can't be resumed"),
        (["f.py:same", "in.parquet", "-o", "o.parquet.gz"], "compresses inside"),
        (["f.py:same", "in.parquet", "in.arrow", "-o", "o.csv"], "several formats"),
        (["f.py:same", "f.py", "--columns", "id"], "columns is not an option of the format lines"),
    ],
)
def test_what_can_not_be_is_one_line_before_anything_starts(folder, arguments, said):
    done = command(folder, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_outputs_in_a_folder_are_refused_with_a_checkpoint_too(folder):
    (folder / "out").mkdir()
    done = command(folder, "f.py:same", "in.parquet", "-o", "out/", "--checkpoint", "saved")
    assert done.returncode == 2
    assert "out/in.parquet can't be resumed" in done.stderr


def test_the_files_of_a_pattern_tell_their_format(folder):
    (folder / "all").mkdir()
    (folder / "all/in.parquet").write_bytes((folder / "in.parquet").read_bytes())
    assert command(folder, "f.py:same", "all/*", "-o", "o.jsonl").returncode == 0
    assert Stream.read(str(folder / "all/*")).collect(engine="serial") == pq.read_table(folder / "in.parquet").to_pylist()


def test_damaged_rows_are_told_as_that(folder):
    pq.write_table(pa.table({"id": range(50_000)}), folder / "bad.parquet", use_dictionary=False)
    data = bytearray((folder / "bad.parquet").read_bytes())
    data[4:2000] = b"\xff" * 1996
    (folder / "bad.parquet").write_bytes(data)
    done = command(folder, "f.py:same", "bad.parquet", "in.parquet", "-o", "o.jsonl", "--on-error", "skip")
    assert done.returncode == 1
    assert "bad.parquet is not a whole parquet file" in done.stderr
    assert "memory" not in done.stderr


@pytest.mark.parametrize("options", [{"columns": 5}, {"columns": [["id"]]}, {"columns": "id,id"}, {"as_": [1]}])
def test_options_that_can_not_be_are_refused(folder, options):
    with pytest.raises(ConfigError, match="must be"):
        Stream.read(folder / "in.parquet", **options)


def test_a_file_of_something_else_is_named(folder):
    done = command(folder, "f.py:same", "f.py", "--format", "parquet")
    assert done.returncode == 1
    assert "f.py is not a whole parquet file" in done.stderr


def test_a_checkpoint_of_a_flow_that_writes_parquet_is_refused(pool, tmp_path):
    (tmp_path / "in").write_text("1\n")
    with pytest.raises(ConfigError, match="can't be resumed"):
        run(Stream.read(tmp_path / "in").map(int).to(str(tmp_path / "o.parquet")), pool=pool, checkpoint=tmp_path / "saved")
