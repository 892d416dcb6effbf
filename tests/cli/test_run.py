"""The run command on real files, against plain Python."""


import bz2
import csv
import gzip
import io
import json
import lzma
import os
import re

import pytest

NUMBERS = "".join(f"{i} straße\n" for i in range(30_000)).encode()
PARTS = ("--block", "64K", "-j", "2", "-q")


def left(folder):
    return sorted(name for name in os.listdir(folder) if name not in ("f.py", "__pycache__"))


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_lines_keep_their_order(folder, command, method):
    (folder / "in.txt").write_bytes(NUMBERS)
    command("run", "f:upper", "in.txt", "-o", "out.txt", *PARTS, "--start-method", method)
    assert (folder / "out.txt").read_text() == NUMBERS.decode().upper()
    assert left(folder) == ["in.txt", "out.txt"]


def test_a_short_file_is_shared_out_among_the_workers(folder, command):
    (folder / "in.txt").write_text("".join(f"line {number}\n" for number in range(100)))  # 890 bytes
    assert command("run", "f:meet", "in.txt", "-j2", "-q").stdout.split() == [b"2"] * 100


def test_unordered_gives_the_same_lines(folder, command):
    (folder / "in.txt").write_bytes(NUMBERS)
    out = command("run", "f.py:upper", "in.txt", "--unordered", *PARTS).stdout
    assert sorted(out.decode().split("\n")) == sorted(NUMBERS.decode().upper().split("\n"))


def test_standard_input_to_standard_output(command):
    assert command("run", "f:upper", "-", *PARTS, data=NUMBERS).stdout.decode() == NUMBERS.decode().upper()


def test_json_lines_in_and_out_with_drops(folder, command):
    values = [{"n": i, "text": "ä\u2028\x1c"} for i in range(10_000)]
    (folder / "in.jsonl").write_text("\r\n".join(json.dumps(value, ensure_ascii=False) for value in values))
    done = command("run", "f:clean", "in.jsonl", "--format", "jsonl", "-o", "out.jsonl", "--block", "64K")
    expected = [{**value, "double": value["n"] * 2} for value in values if value["n"] % 3]
    with (folder / "out.jsonl").open(newline="\n") as file:
        assert [json.loads(line) for line in file] == expected
    assert re.search(r"10,000 records in, 6,666 out, 3,334 dropped, 0 failed; .* records/s", done.stderr)
    assert re.search(r"\d+% of \d+ CPUs? used; peak memory [\d,]+ MiB", done.stderr)


def csv_text(rows):
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("through", ["file", "stdin"])
def test_csv_rows_are_dicts_and_quotes_are_respected(folder, command, packed, through):
    rows = [[str(i), 'a\n"b", c' * (i % 7)] for i in range(20_000)]
    data = csv_text([["a", "b"], *rows]).encode("utf-8-sig")
    name = "in.csv.gz" if packed else "in.csv"
    (folder / name).write_bytes(gzip.compress(data) if packed else data)
    if through == "file":
        command("run", "f:row", name, "--format", "csv", "-o", "out.csv", *PARTS)
        out = (folder / "out.csv").read_text()
    else:
        out = command("run", "f:row", "-", "--format", "csv", *PARTS, data=data).stdout.decode()
    assert list(csv.reader(io.StringIO(out))) == [["b", "n"], *([b, str(int(a) + 1)] for a, b in rows)]


def test_csv_to_json_by_the_outputs_name(folder, command):
    (folder / "in.csv").write_text("a,b\n1,x\n")
    command("run", "f:row", "in.csv", "--format", "csv", "-o", "out.jsonl", "-q")
    assert (folder / "out.jsonl").read_text() == '{"b": "x", "n": 2}\n'


def test_csv_columns_that_change_are_an_error(folder, command):
    (folder / "in.csv").write_text(csv_text([["a"], *([str(i)] for i in range(40_000))]))
    done = command("run", "f:ragged", "in.csv", "--format", "csv", "-o", "out.csv", *PARTS, code=1)
    assert "columns" in done.stderr
    assert left(folder) == ["in.csv"]


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_compressed_in_and_out(folder, command, suffix, module):
    (folder / f"in{suffix}").write_bytes(module.compress(NUMBERS))
    command("run", "f:upper", f"in{suffix}", "-o", f"out{suffix}", *PARTS)
    assert module.decompress((folder / f"out{suffix}").read_bytes()).decode() == NUMBERS.decode().upper()


def test_zstandard_in_and_out(folder, command):
    zstandard = pytest.importorskip("zstandard")
    (folder / "in.zst").write_bytes(zstandard.ZstdCompressor().compress(NUMBERS))
    command("run", "f:upper", "in.zst", "-o", "out.zst", *PARTS)
    with (folder / "out.zst").open("rb") as file:
        out = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    assert out.decode() == NUMBERS.decode().upper()


def test_flat_chunk_and_several_files(folder, command):
    (folder / "1.txt").write_bytes(b"a\nb")
    (folder / "2.txt").write_bytes(b"")
    (folder / "3.txt").write_bytes(b"\xef\xbb\xbfc\r\n")
    out = command("run", "f:twice", "[123].txt", "--flat", "--chunk", "1", "-q").stdout
    assert out == b"a\na\nb\nb\nc\nc\n"


def test_blocks_are_raw_bytes_of_the_size_asked_for(folder, command):
    (folder / "in").write_bytes(bytes(150_000))
    out = command("run", "f:block_size", "in", "--format", "blocks", "--block", "64K", "-q").stdout
    assert out.decode() == "bytes 65536\nbytes 65536\nbytes 18928\n"


def test_files_are_paths_also_from_standard_input(folder, command):
    (folder / "in").mkdir()
    for i in range(5):
        (folder / "in" / f"{i}").write_bytes(bytes(i))
    expected = "".join(f'{{"name": "{i}", "bytes": {i}}}\n' for i in range(5))
    assert command("run", "f:size", "in/*", "--format", "files", "-q").stdout.decode() == expected
    names = "".join(f"in/{i}\n" for i in range(5)).encode()
    done = command("run", "f:size", "-", "--format", "files", "--chunk", "2", "-q", data=names)
    assert done.stdout.decode() == expected


def test_a_folder_gets_one_output_an_input(folder, command):
    (folder / "a.txt").write_bytes(NUMBERS)
    (folder / "b.txt.gz").write_bytes(gzip.compress(NUMBERS[:1000]))
    (folder / "c.txt").write_bytes(b"")
    for order in ("--keep-order", "--unordered"):
        command("run", "f:upper", "a.txt", "b.txt.gz", "c.txt", "-o", "out/", order, *PARTS)
        assert left(folder / "out") == ["a.txt", "b.txt", "c.txt"]
        written = (folder / "out" / "b.txt").read_text().splitlines()
        expected = NUMBERS[:1000].decode().upper().splitlines()
        assert written == expected if order == "--keep-order" else sorted(written) == sorted(expected)
        assert len((folder / "out" / "a.txt").read_bytes()) == len(NUMBERS.decode().upper().encode())
        assert (folder / "out" / "c.txt").read_bytes() == b""
        (folder / "out" / "a.txt").unlink()


def test_bytes_that_are_not_utf8(folder, command):
    (folder / "in.txt").write_bytes(NUMBERS + b"\xff\n")
    done = command("run", "f:upper", "in.txt", *PARTS, code=1)
    assert (
        f"in.txt, line 30001: UnicodeDecodeError: byte 0xff at offset {len(NUMBERS)} is not UTF-8"
        in done.stderr
    )
    assert (
        command("run", "f:upper", "in.txt", *PARTS, "--errors", "replace")
        .stdout.decode()
        .endswith("\ufffd\n")
    )


def test_a_failure_stops_the_run_and_names_the_line(folder, command):
    (folder / "in.txt").write_text("".join(f"{i}\n" for i in [*range(100, 60_000), 77, *range(100)]))
    done = command("run", "f:fail_on_77", "in.txt", "-o", "out.txt", *PARTS, "--joblog", "log", code=1)
    assert done.stderr.startswith("orchestrator: in.txt, line 59901: ValueError: no 77\nTraceback")
    assert 'f.py", line' in done.stderr
    assert done.stderr.count("  File ") == 1
    assert "nothing was written to out.txt" in done.stderr
    assert left(folder) == ["in.txt", "log"]
    *_, last = (folder / "log").read_text().splitlines()
    assert last.split("\t")[6:] == ["1", "0", "f:fail_on_77 in.txt"]
    assert float(last.split("\t")[3]) > 0


def test_skipped_failures_are_listed_and_counted(folder, command):
    (folder / "in.txt").write_text("".join(f"{i}\n" for i in range(30_000)))
    done = command("run", "f:fail_on_7s", "in.txt", "-o", "out.txt", "--block", "64K", "--on-error", "skip",
                   "--joblog", "log", "--trace", "trace", "--report", "report", code=1)  # fmt: skip
    kept = [f"{i}\n" for i in range(30_000) if "7" not in str(i)]
    assert (folder / "out.txt").read_text() == "".join(kept)
    assert "in.txt, line 8: ZeroDivisionError: division by zero" in done.stderr
    assert f"finished with failures: {30_000 - len(kept):,} of 30,000 records were skipped" in done.stderr
    log = [line.split("\t") for line in (folder / "log").read_text().splitlines()]
    assert log[0] == [
        "Seq",
        "Host",
        "Starttime",
        "JobRuntime",
        "Send",
        "Receive",
        "Exitval",
        "Signal",
        "Command",
    ]
    assert [line[0] for line in log[1:]] == ["1", "2", "3"]
    assert {line[6] for line in log[1:]} == {"1"}
    assert sum(int(line[4]) for line in log[1:]) == (folder / "in.txt").stat().st_size
    report = json.loads((folder / "report").read_text())
    assert report["records"] == {"in": 30_000, "out": len(kept), "dropped": 0, "failed": 30_000 - len(kept)}
    assert (report["command"], report["ended"], report["output"]) == ("run", "with failures", "out.txt")
    assert report["failures"][0] == "in.txt, line 8: ZeroDivisionError: division by zero"
    slices = [event for event in json.loads((folder / "trace").read_text()) if event["ph"] == "X"]
    assert [(str(each["args"]["seq"]), each["name"], each["dur"] > 0) for each in slices] == [
        (line[0], line[8], True) for line in log[1:]
    ]


@pytest.mark.parametrize("output", ["-", "out.txt"])
def test_prints_never_mix_with_the_data(folder, command, output):
    (folder / "in.txt").write_text("a\nb\n")
    done = command("run", "f:say", "in.txt", "-o", output, "-q")
    said = done.stderr if output == "-" else done.stdout.decode()
    assert sorted(said.splitlines()) == ["said a", "said b"]
    assert (done.stdout if output == "-" else (folder / "out.txt").read_bytes()) == b"a\nb\n"


@pytest.mark.parametrize("flag", ["--bar", "--eta", "--progress"])
def test_progress_goes_to_stderr(folder, command, flag):
    (folder / "in.txt").write_bytes(NUMBERS)
    done = command("run", "f:upper", "in.txt", flag, *PARTS)
    assert done.stdout.decode() == NUMBERS.decode().upper()
    assert "100%" in done.stderr


def test_dry_run_says_what_it_would_do_and_does_nothing(folder, command):
    (folder / "in.txt").write_bytes(bytes(200_000))
    out = command(
        "run", "f:upper", "in.txt", "-o", "out.txt", "-j3", "--block", "64K", "--dry-run"
    ).stdout.decode()
    for said in ("f:upper", "in.txt", "200,000 bytes", "chunks:       4", "workers:      3", "out.txt"):
        assert said in out
    assert left(folder) == ["in.txt"]


def test_a_worker_that_dies_is_told_and_leaves_no_output(folder, command):
    (folder / "in.txt").write_text("a\n")
    done = command("run", "f:die", "in.txt", "-o", "out.txt", "--joblog", "log", code=1)
    assert "SIGKILL" in done.stderr
    assert left(folder) == ["in.txt", "log"]
    _, *lines = [line.split("\t") for line in (folder / "log").read_text().splitlines()]
    assert [(line[0], *line[4:]) for line in lines] == [("1", "2", "0", "0", "9", "f:die in.txt:0+2")] * 3


def test_an_empty_input_is_an_empty_output(folder, command):
    (folder / "in.txt").write_text("")
    command("run", "f:upper", "in.txt", "-o", "out.txt", "-q")
    assert (folder / "out.txt").read_bytes() == b""
