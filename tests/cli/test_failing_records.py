"""Records that raise, hang or kill their workers, in real files, against plain Python: all others come out, once."""

import bz2
import csv
import io
import json
import os

import pytest

FUNCTIONS = """
import ctypes, os, signal, sys, time
import workers
if "workers.process.context" in sys.modules and workers.process.context._current: time.sleep(0.8)  # imports that take longer than an item may

def obey(name, what):
    if what == "exit": os._exit(0)
    if what == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if what == "segv": ctypes.string_at(0)
    if what == "raise": raise ValueError(name)
    if what == "third" and workers.current().attempt < 3: raise ConnectionResetError(name)
    if what == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True: pass
    return name

def line(text): return obey(*text.split(" ")) if " " in text else text
def row(record): return {"n": obey(record["n"], record["what"]), "text": record["text"]}
def path(name): return obey(os.path.basename(name), open(name).read()) + "\\n"
"""
PRIORITY = """
import os
def priority(text): return f"{os.getpriority(os.PRIO_PROCESS, 0)} {os.getpid()}"
"""


@pytest.fixture
def folder(folder):
    (folder / "hurt.py").write_text(FUNCTIONS)
    return folder


def letters(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows_of(path):
    return list(csv.reader(io.StringIO(path.read_text())))


@pytest.mark.parametrize("through", ["file", "stdin"])
def test_lines_that_kill_hang_or_raise(folder, command, through):
    bad = {0: "segv", 1: "raise", 7: "third", 4000: "hang", 7999: "exit"}
    lines = [f"{number} {bad[number]}" if number in bad else str(number) for number in range(8000)]
    data = "".join(f"{line}\n" for line in lines).encode()
    name = {"file": "in.txt", "stdin": "-"}[through]
    if name != "-":
        (folder / name).write_bytes(data)
    done = command(
        "run", "hurt:line", name, "-o", "out.txt.bz2", "-j", 2, "--block", "20K", "--timeout", 0.6, "--retries", "OSError=2",
        "--dead-letter", "dead", "--joblog", "log", data=data if name == "-" else None, code=1,
    )  # fmt: skip
    failed = [number for number, what in bad.items() if what != "third"]
    expected = [str(number) for number in range(8000) if number not in failed]
    assert bz2.decompress((folder / "out.txt.bz2").read_bytes()).decode().splitlines() == expected
    shown = "standard input" if name == "-" else name
    for number, said in [(0, "WorkerDiedError: killed 3 workers"), (1, "ValueError: 1"), (4000, "ItemTimeoutError"), (7999, "code 0")]:
        assert any(line.startswith(f"orchestrator: {shown}, line {number + 1}: ") and said in line for line in done.stderr.splitlines())
    assert "8,000 records in, 7,996 out, 0 dropped, 4 failed" in done.stderr
    dead = letters(folder / "dead")
    assert [(each["item"], each["path"], each["line"]) for each in dead] == [(lines[n], name, n + 1) for n in failed]
    assert [data[each["start"] : each["end"]].decode().strip() for each in dead] == [lines[number] for number in failed]
    assert "in obey" in dead[1]["traceback"]
    assert dead[0]["signal"] == "SIGSEGV"
    tries = [line.split("\t") for line in (folder / "log").read_text().splitlines()[1:]]
    assert sum({line[0]: int(line[4]) for line in tries}.values()) == len(data)  # the last try of each block


def test_csv_rows_with_line_ends_in_quotes_unordered_into_a_folder_and_then_their_dead_letters(folder, command):
    what = {3: "kill", 700: "raise", 701: "raise", 1499: "third"}
    text = io.StringIO()
    csv.writer(text).writerows([("n", "what", "text"), *((n, what.get(n, ""), 'a\n"b", ä' * (n % 5)) for n in range(1500))])
    (folder / "in.csv").write_text(text.getvalue())
    flags = ("--format", "csv", "-j", 2, "-q", "--block", "4K")
    command("run", "hurt:row", "in.csv", "-o", "out/", "--unordered", "--retries", 2, "--dead-letter", "dead", *flags, code=1)
    found = sorted(rows_of(folder / "out" / "in.csv"), key=lambda row: int(row[0]) if row[0].isdecimal() else -1)
    rows = [[str(n), 'a\n"b", ä' * (n % 5)] for n in range(1500)]
    assert found == [["n", "text"], *(row for n, row in enumerate(rows) if n not in {3, 700, 701})]
    assert sorted(int(each["item"]["n"]) for each in letters(folder / "dead")) == [3, 700, 701]
    assert all(each["attempts"] >= 3 for each in letters(folder / "dead"))

    # Run again, with a function that has learnt of two of them.
    (folder / "hurt.py").write_text(FUNCTIONS.replace('what == "raise"', 'name == "701"'))
    again = ("run", "hurt:row", "--retry-dead", "dead", "-o", "more.csv", *flags)
    assert "the file that --retry-dead reads" in command(*again, "--dead-letter", "dead", code=2).stderr
    before = (folder / "dead").read_bytes()
    command(*again, "--dead-letter", "deader", code=1)
    assert (folder / "dead").read_bytes() == before
    assert [row[0] for row in rows_of(folder / "more.csv")] == ["n", "700"]
    assert {each["item"]["n"] for each in letters(folder / "deader")} == {"3", "701"}
    assert {each["path"] for each in letters(folder / "deader")} == {"in.csv"}
    assert "holds the dead letters of an earlier run" in command(*again, "--dead-letter", "deader", code=2).stderr


def test_files_that_kill_and_large_records_by_their_place(folder, command):
    for number in range(6):
        (folder / f"{number}.rec").write_text("kill" if number == 2 else "x")
    done = command("run", "hurt:path", "--format", "files", *(f"{n}.rec" for n in range(6)), "--chunk", 3, "--dead-letter", "dead", code=1)
    assert done.stdout.decode().split() == ["0.rec", "1.rec", "3.rec", "4.rec", "5.rec"]
    assert "2.rec: WorkerDiedError: killed 3 workers" in done.stderr
    assert letters(folder / "dead")[0]["path"] == "2.rec"

    (folder / "large").write_text(f"a\n{'b' * 9000} raise\nc\n")
    command("run", "hurt:line", "large", "--dead-letter", "larger", "-q", code=1)
    (letter,) = letters(folder / "larger")
    assert "item" not in letter
    assert (letter["start"], letter["end"], letter["line"]) == (2, 9009, 2)
    assert command("run", "builtins:len", "--retry-dead", "larger").stdout == b"9006\n"
    (folder / "large").write_text("a\n")
    assert "has only 2" in command("run", "builtins:len", "--retry-dead", "larger", code=2).stderr


def test_the_run_stops_at_a_record_that_kills_and_names_it(folder, command):
    (folder / "in.txt").write_text("".join(f"{n}{' kill' if n == 30 else ''}\n" for n in range(1000)))
    done = command("run", "hurt:line", "in.txt", "-o", "out.txt", "--block", "1K", code=1)
    assert done.stderr.startswith("orchestrator: in.txt, line 31: WorkerDiedError: killed 3 workers; the last (pid ")
    assert "was killed by SIGKILL" in done.stderr
    assert "nothing was written to out.txt" in done.stderr


def test_the_limits_of_workers(folder, command):
    (folder / "limits.py").write_text(PRIORITY)
    (folder / "in.txt").write_text("x\n" * 1000)
    out = command("run", "limits:priority", "in.txt", "-j", 1, "--nice", 7, "--items-per-worker", 100, "--mem-per-worker", "1G")
    priorities, pids = zip(*(line.split() for line in out.stdout.decode().splitlines()), strict=True)
    assert set(priorities) == {str(min(os.getpriority(os.PRIO_PROCESS, 0) + 7, 19))}
    assert 5 <= len(set(pids)) <= 12
    said = command("run", "hurt:line", "in.txt", "--dry-run", "--retries", "KeyError=1,OSError=2", "--timeout", 3).stdout.decode()
    assert "retries KeyError=1,OSError=2" in said
    assert "at most 3 s per record" in said
