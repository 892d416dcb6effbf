"""Inputs that are no plain files, CSV of all shapes, and files that change: by the real command and by job files."""

import csv
import gzip
import io
import os
import subprocess
import threading

import pytest

STRAY = "a,b\n" + "".join(f'{i},5" disk\n"{i}, ""q"",\n""",x"y"z,"more\n' for i in range(300)) + '"\n1,2\n'
JOB = """
[source.s]
read = ["{path}"]
format = "{format}"
[sink.out]
from = "s"
write = "out.jsonl"
"""
FUNCTIONS = """
import os
def same(record): return record
def told(record): return repr(record)
def drop(record): return None
def cut(record):
    if os.path.getsize("in.csv") > 10_000: os.truncate("in.csv", 1000)
    return record
"""


@pytest.fixture
def folder(folder):
    (folder / "g.py").write_text(FUNCTIONS)
    return folder


@pytest.mark.parametrize("shape", ["plain", "gz", "stdin", "stdin gz", "fifo"])
def test_marks_inside_unquoted_fields_give_the_same_rows_however_the_file_comes(folder, command, shape):
    data = gzip.compress(STRAY.encode()) if "gz" in shape else STRAY.encode()
    name = {"gz": "in.csv.gz", "fifo": "in"}.get(shape, "in.csv")
    if shape == "fifo":
        os.mkfifo(folder / name)
        threading.Thread(target=lambda: (folder / name).write_bytes(data)).start()
    elif "stdin" not in shape:
        (folder / name).write_bytes(data)
    given = {"data": data} if "stdin" in shape else {}
    command("run", "g:told", "-" if given else name, "--format", "csv", "-o", "out", "--block", "300", "-q", **given)
    assert (folder / "out").read_text().splitlines() == [repr(row) for row in csv.DictReader(io.StringIO(STRAY, newline=""))]


@pytest.mark.parametrize("text", ["a,b", "\n\na,b\r\n", "a,b\n1,2\n3,4\n"])
def test_a_header_is_written_though_no_row_is(folder, command, text):
    ending = "" if "1" in text else ".gz"
    (folder / "in.csv").write_text(text)
    command("run", "g:drop", "in.csv", "--format", "csv", "-o", f"out.csv{ending}", "-q")
    data = (folder / f"out.csv{ending}").read_bytes()
    assert (gzip.decompress(data) if ending else data) == b"a,b\n"


def test_a_csv_file_that_is_truncated_meanwhile_is_an_error_and_no_death(folder, command):
    (folder / "in.csv").write_text("a,b\n" + "".join(f"{i},{i}\n" for i in range(20_000)))
    done = command("run", "g:cut", "in.csv", "--format", "csv", "-o", "out.csv", "--block", "4K", "-q", code=1)
    assert "in.csv" in done.stderr
    assert "was truncated from" in done.stderr
    assert not (folder / "out.csv").exists()


def test_descriptors_and_pseudo_files_are_read_by_who_owns_them(folder, command, start):
    with (folder / "f.py").open() as functions:
        number = functions.fileno()
        os.set_inheritable(number, True)
        for name in (f"/dev/fd/{number}", f"/proc/self/fd/{number}"):
            process = start("run", "g:same", name, "--errors", "replace", "-q", pass_fds=[number])
            assert process.communicate(timeout=60)[0].decode() == (folder / "f.py").read_text()
    assert command("run", "g:same", "/proc/self/comm", "-q").stdout == b"python\n"
    assert command("run", "g:same", "/dev/stdin", "-q", data=b"a\nb").stdout == b"a\nb\n"


@pytest.mark.parametrize(("kind", "text"), [("lines", "a\nb\n"), ("jsonl", '"a"\n"b"\n'), ("csv", "x\na\nb\n")])
def test_a_job_reads_them_too(folder, command, kind, text):
    (folder / "job.toml").write_text(JOB.format(path="/dev/stdin", format=kind))
    command("job", "job.toml", "-q", data=text.encode())
    written = (folder / "out.jsonl").read_text()
    assert written == ('{"x": "a"}\n{"x": "b"}\n' if kind == "csv" else '"a"\n"b"\n')


def test_the_first_line_of_a_fifo_is_answered_before_the_second_is_there(folder, start):
    os.mkfifo(folder / "in")
    process = start("run", "g:same", "in", "-q")
    with (folder / "in").open("w", buffering=1) as fifo:
        fifo.write("first\n")
        assert process.stdout.readline() == b"first\n"
        fifo.write("second\n")
    assert process.communicate(timeout=60)[0] == b"second\n"


def test_a_fifo_that_nobody_writes_to_ends_with_the_command(folder, start):
    os.mkfifo(folder / "in")
    process = start("run", "g:same", "in")
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=1)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143
