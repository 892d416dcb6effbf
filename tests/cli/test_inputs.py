"""Inputs that are no plain files, CSV of all shapes, and files that change: by the real command and by job files."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import threading

import psutil
import pytest
from support.waiting import until

from orchestrator import read_dead_letters
from workers.records import compression

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
    until(lambda: len(psutil.Process(process.pid).children(recursive=True)) > 2)  # its workers: it has begun
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=1)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143


FUNCTION = """
import os
def keep(line):
    if os.path.exists("gone"): os.unlink("gone")
    return line
"""


@pytest.fixture
def files(folder):
    """Good, damaged and good: what can be read of the second stands before its damage."""
    (folder / "fn.py").write_text(FUNCTION)
    (folder / "a").write_text("1\n2\n")
    whole = gzip.compress(os.urandom(9000).hex().encode() + b"\n" + b"9\n" * 20_000)
    (folder / "b.gz").write_bytes(whole[:-100])
    (folder / "c").write_text("3\n")
    return folder


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_compressed_input_is_known_without_a_name(folder, command, kind):
    """On standard input, and in a file whose name tells nothing."""
    data = compression.compress(kind, b"one\ntwo\n")
    (folder / "data").write_bytes(data)
    assert command("run", "f:upper", "data", "-", data=data).stdout == b"ONE\nTWO\nONE\nTWO\n"


@pytest.mark.parametrize("skipping", [("--on-error", "skip"), ("--dead-letter", "dead")])
def test_a_damaged_input_is_one_failure_and_the_rest_is_read(files, command, skipping):
    done = command("run", "fn.py:keep", "a", "b.gz", "c", "-o", "out", *skipping, "--report", "report", code=1)
    lines = (files / "out").read_text().splitlines()
    assert (lines[:2], lines[-1]) == (["1", "2"], "3")
    assert "b.gz: " in done.stderr
    assert json.loads((files / "report").read_text())["records"]["failed"] == 1
    if skipping[0] == "--dead-letter":
        [letter] = read_dead_letters(files / "dead")
        assert letter.place.path == "b.gz"
        again = command("run", "fn.py:keep", "--retry-dead", "dead", "--dead-letter", "still", code=1)
        assert "run the whole file again" in again.stderr
        assert [each.place.path for each in read_dead_letters(files / "still")] == ["b.gz"]


def test_without_skipping_it_stops_the_run_by_name(files, command):
    done = command("run", "fn.py:keep", "a", "b.gz", "c", "-o", "out", code=1)
    assert "b.gz" in done.stderr
    assert not (files / "out").exists()


def test_a_file_that_vanishes_before_its_turn_is_one_failure_however_many_blocks_it_has(files, command):
    many = [f"x{number}" for number in range(70)]  # more than are held open
    for name in many:
        (files / name).write_text("x\n")
    (files / "gone").write_text("g\n" * 5000)
    done = command("run", "fn.py:keep", *many, "gone", "c", "-o", "out", "--on-error", "skip", "--block", "1K", "-j", "1", code=1)
    assert (files / "out").read_text().splitlines() == ["x"] * 70 + ["3"]
    assert "1 of " in done.stderr
    assert done.stderr.count("orchestrator: gone: ") == 1


def test_names_on_standard_input_end_with_nul_and_one_that_is_missing_is_a_failed_record(files, command):
    (files / "with\nnewline").write_text("")
    done = command("run", "fn.py:keep", "-", "--format", "files", "-0", "--on-error", "skip", "-o", "out",
        code=1, data=b"a\0with\nnewline\0missing\0c")  # fmt: skip
    assert (files / "out").read_text() == "a\nwith\nnewline\nc\n"
    assert "missing" in done.stderr
    assert "1 failed" in done.stderr
    command("run", "fn.py:keep", "a", "-0", code=2)


@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "link", "folder/0", "-"])
def test_a_worker_is_given_no_name_that_means_its_own_descriptor(folder, command, name):
    (folder / "link").symlink_to("/dev/stdin")
    (folder / "folder").symlink_to("/proc/self/fd")
    data, code = (b"link\n", 1) if name == "-" else (b"", 2)
    said = command("run", "g:same", name, "--format", "files", data=data, code=code).stderr
    assert "means another file in each process" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_standard_streams_that_are_closed_take_nothing_of_ours(folder, environment, closed):
    (folder / "p.py").write_text("import os, sys\ndef say(s): print('out'); print('err', file=sys.stderr); return s\n")
    (folder / "in").write_text("a\nb\n")
    line = f"exec {sys.executable} -m orchestrator run p:say in -o out.txt --joblog log {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=folder, env=environment, timeout=60, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "out.txt").read_text() == "a\nb\n"
    assert "err" not in (folder / "log").read_text()
