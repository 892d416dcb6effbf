"""A job tells its failures as `run` does: the file, the line, the error, the traceback of the user's own frames."""

import json
import re

import pytest

FUNCTIONS = """
import os, time
class Odd(Exception): pass
def check(record):
    text = record["n"] if isinstance(record, dict) else record.decode() if isinstance(record, bytes) else str(record)
    return kind(text.strip())
def kind(text):
    if text == "2": raise Odd
    if text == "3": raise ValueError("two\\nlines")
    if text == "4": os._exit(3)
    if text == "5": time.sleep(600)
    if text == "6":
        try: {}["key"]
        except KeyError as error: raise RuntimeError("outer") from error
    if text.endswith("e.bin"): raise ValueError("a file")
    return text
"""
FORMATS = {"lines": "", "jsonl": "", "csv": "n\n", "blocks": "", "files": ""}


@pytest.fixture
def told(folder, command):
    """Give what `run` and a job tell on stderr of the same failures, without process ids."""
    (folder / "k.py").write_text(FUNCTIONS)

    def go(name, record_format, on_error, *, data=None, timeout=300):
        (folder / "job.toml").write_text(
            f'[source.s]\nread = "{name}"\nformat = "{record_format}"\n'
            f'[step.f]\nfrom = "s"\nmap = "k.py:check"\non_error = "{on_error}"\ntimeout = {timeout}\n'
            '[sink.out]\nfrom = "f"\nwrite = "job.txt"\n'
        )
        by_run = command("run", "k.py:check", name, "--format", record_format, "--on-error", on_error, "--timeout", timeout,
            "-o", "run.txt", "-j1", "-q", data=data, code=1)  # fmt: skip
        by_job = command("job", "job.toml", "-j1", "-q", data=data, code=1)
        return [_failures(done.stderr) for done in (by_run, by_job)]

    return go


def _failures(stderr):
    kept = re.sub(r"pid \d+", "pid", stderr)
    kept = re.sub(r"(finished with failures: \d+).*", r"\1", kept)
    return re.sub(r"stopped; nothing was written to run.txt", "stopped", kept)


def _write(folder, record_format, records):
    name = "e.bin"
    (folder / name).write_text(FORMATS[record_format] + "".join(f"{each}\n" for each in records))
    return name


@pytest.mark.parametrize("record_format", FORMATS)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_an_exception(folder, told, record_format, on_error):
    record = 6 if record_format == "jsonl" else 3
    alone = record_format in {"blocks", "files"}  # where the whole file is one record
    name = _write(folder, record_format, [record] if alone else [1, record, 1])
    by_run, by_job = told(name, record_format, on_error)
    assert by_job == by_run
    assert "e.bin" in by_job
    assert ("in kind" in by_job) == (on_error == "raise")
    assert alone or f"line {3 if record_format == 'csv' else 2}: " in by_job


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_death_a_timeout_and_a_record_that_is_no_json(folder, told, on_error):
    for record, timeout, kind in ((4, 300, "WorkerDiedError"), (5, 0.3, "ItemTimeoutError"), ("{bad", 300, "JSONDecodeError")):
        by_run, by_job = told(_write(folder, "jsonl", [1, record, 1]), "jsonl", on_error, timeout=timeout)
        assert by_job == by_run
        assert f"e.bin, line 2: {kind}: " in by_job


def test_standard_input_and_more_failures_than_are_shown(told):
    by_run, by_job = told("-", "lines", "skip", data=b"2\n" * 8)
    assert by_job == by_run
    assert by_job.count("standard input, line ") == 5
    assert "… and 3 more failed" in by_job


def test_an_item_of_a_function_is_told_by_its_index(folder, command):
    (folder / "k.py").write_text(FUNCTIONS + "def items(): return ['1', '3', '1']\n")
    (folder / "job.toml").write_text(
        '[source.s]\nitems = "k.py:items"\n[step.f]\nfrom = "s"\nmap = "k.py:check"\n[sink.o]\nfrom = "f"\ndiscard = true\n'
    )
    stderr = command("job", "job.toml", "-j1", "-q", code=1).stderr
    assert "item 1 ('3') failed in step 'f': ValueError: two lines\nTraceback" in stderr
    assert "in kind" in stderr


def test_rows_of_csv_files_with_carriage_returns_are_told_by_their_lines(folder, command):
    (folder / "f.py").write_text("def f(row):\n    return 1 // int(row['n'])\n")
    data = b'n,t\r1,"a\rb\r\nc"\r\n0,x\r' + b"2,y\r" * 5000 + b"0,z\n"
    (folder / "in.csv").write_bytes(data)
    flags = ("--format", "csv", "-o", "out", "--on-error", "skip", "--block", "1K", "--dead-letter")
    for name, shown in [("in.csv", "in.csv"), ("-", "standard input")]:
        done = command("run", "f.py:f", name, *flags, f"dead of {shown}", data=data, code=1)
        letters = [json.loads(line) for line in (folder / f"dead of {shown}").read_text().splitlines()]
        assert sorted(letter["line"] for letter in letters) == [5, 5006]
        for line in (5, 5006):
            assert f"{shown}, line {line}: ZeroDivisionError" in done.stderr


def test_workers_that_were_killed_are_told_though_nothing_failed(folder, command):
    (folder / "k.py").write_text(
        "import os, signal, workers\n"
        "def once(line):\n"
        "    if line == '7' and workers.current().attempt == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return line\n"
    )
    (folder / "in.txt").write_text("".join(f"{n}\n" for n in range(20)))
    (folder / "job.toml").write_text(
        '[source.s]\nread = "in.txt"\n[step.t]\nfrom = "s"\nmap = "k.py:once"\n[sink.u]\nfrom = "t"\nwrite = "job.txt"\n'
    )
    assert "\n1 worker died and was replaced\n" in command("run", "k.py:once", "in.txt", "-o", "run.txt").stderr
    assert "\n1 worker died and was replaced\n" in command("job", "job.toml").stderr
    assert "died" not in command("run", "f:upper", "in.txt", "-o", "run.txt").stderr
    assert "died" not in command("exec", "echo {}", "in.txt").stderr
    assert (folder / "job.txt").read_text() == (folder / "in.txt").read_text()
