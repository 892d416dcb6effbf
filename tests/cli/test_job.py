"""The job command: what is wrong is one line a mistake, and the examples give what plain Python gives."""

import json
import os
import re
import signal
import sysconfig
import time
from itertools import islice
from pathlib import Path

import pytest
from support.plain_streams import PlainStream

from orchestrator.jobfile.builder import build
from orchestrator.jobfile.loader import read_job

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
EXAMPLES = SCRIPTS / "examples"

JOB = """\
[pool]
workers = 2

[source.in]
read = "in.txt"

[step.upper]
from = "in"
map = "f.py:upper"

[sink.out]
from = "upper"
write = "out.txt"
"""


@pytest.fixture
def job(folder):
    (folder / "in.txt").write_text("a\nb\nc\n")
    (folder / "job.toml").write_text(JOB)
    return folder


def test_a_good_file_is_checked_and_nothing_is_written(job, command):
    done = command("job", "job.toml", "--check")
    assert done.stderr == "orchestrator: job.toml is valid: 3 nodes, 0 workflows\n"
    assert command("job", "job.toml", "--check", "-q").stderr == ""
    assert not (job / "out.txt").exists()


def test_workers_have_the_variables_of_the_file(job, command):
    (job / "f.py").write_text("import os\ndef upper(line): return line.upper() + os.environ['MARK']\n")
    (job / "job.toml").write_text(JOB.replace("workers = 2", 'workers = 2\nenv = { MARK = "!" }'))
    assert command("job", "job.toml").returncode == 0
    assert (job / "out.txt").read_text() == "A!\nB!\nC!\n"
    for wrong in ('env = { "A=B" = "x" }', "env = { A = 1 }", 'env = ["A"]'):
        (job / "job.toml").write_text(JOB.replace("workers = 2", wrong))
        assert "env" in command("job", "job.toml", "--check", code=2).stderr


def test_a_hook_runs_in_every_worker_that_a_file_asks_for_before_the_next_stage(job, command):
    (job / "size").write_text("3\n")
    (job / "hook.py").write_text(
        "import os, workers\n"
        "def mark(): open(f'mark-{workers.current().id}', 'w').close()\n"
        "def seen(line): return line + str(sum(name.startswith('mark-') for name in os.listdir()))\n"
    )
    behind = '[barrier.all]\nfrom = "upper"\neach_worker = "hook.py:mark"\n[step.seen]\nfrom = "all"\nmap = "hook.py:seen"\n'
    text = JOB.replace("workers = 2", 'workers = "size"').replace('from = "upper"', 'from = "seen"') + behind
    (job / "job.toml").write_text(text)
    command("job", "job.toml")
    assert (job / "out.txt").read_text() == "A3\nB3\nC3\n"
    (job / "job.toml").write_text(text.replace("hook.py:mark", "hook.py:mork").replace('"size"', '"gone"'))
    said = command("job", "job.toml", code=2).stderr
    assert "hook.py has no function 'mork'; did you mean 'mark'?" in said
    assert "job.toml:2: invalid number of workers: 'gone', and no file has that name" in said


def test_every_mistake_has_its_line_and_nothing_is_started(job, command):
    (job / "job.toml").write_text(JOB.replace("read", "raed").replace("f.py:upper", "f.py:uper"))
    for flags in ([], ["--check"], ["--dry-run"], ["--graph", "dot"]):
        done = command("job", "job.toml", *flags, code=2)
        lines = done.stderr.splitlines()
        assert lines[0].startswith("orchestrator: job.toml:4: [source.in] has nothing to do")
        assert lines[1] == "orchestrator: job.toml:5: [source.in] has no key 'raed'; did you mean 'read'?"
        assert lines[2] == "orchestrator: job.toml:9: f.py has no function 'uper'; did you mean 'upper'?"
        assert (len(lines), done.stdout) == (3, b"")
    assert not (job / "out.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["job"], "required: FILE"),
        (["job", "gone.toml"], "can't read gone.toml: No such file"),
        (["job", "f.py"], "f.py:2: invalid TOML"),
        (["job", "job.toml", "--set", "pool.workers=0"], "--set pool.workers: 'workers' must be a whole number"),
        (["job", "job.toml", "--set", "pool.worker=1"], "did you mean 'workers'?"),
        (["job", "job.toml", "--graph", "png"], "invalid choice: 'png'"),
    ],
)
def test_mistakes(job, command, arguments, said):
    done = command(*arguments, code=2)
    assert said in done.stderr
    assert done.stderr.startswith("orchestrator: ")
    assert done.stderr.count("\n") == 1


def test_the_graph_is_printed_as_text(job, command):
    assert command("job", "job.toml", "--graph", "mermaid").stdout.decode() == (
        "flowchart LR\n"
        '    n0(["source in<br/>read: in.txt"])\n'
        '    n1["step upper<br/>map: f.py:upper"]\n'
        '    n2(["sink out<br/>write: out.txt"])\n'
        "    n0 --> n1\n"
        "    n1 --> n2\n"
    )
    assert '"upper" -> "sink.out";' in command("job", "job.toml", "--graph", "dot").stdout.decode()


def test_it_is_in_the_help(command):
    assert b"job" in command("--help").stdout
    shown = command("job", "--help").stdout.decode()
    assert "[route.kind]" in shown
    assert "--set" in shown


# ---- the examples -----------------------------------------------------------------------------------------------


@pytest.fixture
def library(folder, monkeypatch):
    """Lines of Python's own library, as the examples read them."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.chdir(folder)

    from demo_data import lines

    text = "".join(islice(lines(Path(sysconfig.get_path("stdlib"))), 20_000))
    (folder / "stdlib.jsonl").write_text(text)
    return [json.loads(line) for line in text.splitlines()]


def results(file):
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def check_definitions(library):
    found = []
    for record in library:
        match = re.match(r"\s*(?:async\s+)?(def|class)\s+(\w+)", record["text"])
        if match:
            kind, name = match.groups()
            one = {"file": record["file"], "line": record["line"], "kind": kind, "name": name}
            if name.startswith("_"):
                one |= {"private": True, "special": name.startswith("__")}
            if kind == "def":
                one["underscores"] = name.count("_")
            found.append(one)
    assert len(found) > 500
    assert results("all.jsonl") == found
    assert results("classes.jsonl") == [one for one in found if one["kind"] == "class"]
    assert results("functions.jsonl") == [one for one in found if one["kind"] == "def"]


def check_words(library):
    words = [
        {"file": record["file"], "word": word.lower()}
        for record in library
        for word in re.findall(r"[A-Za-z]{3,}", record["text"])
    ]
    long = [word for word in words if len(word["word"]) > 12]
    assert len(long) > 500
    assert results("long.jsonl") == long
    hundreds = [long[at : at + 100] for at in range(0, len(long), 100)]
    assert results("longest.jsonl") == [max(some, key=lambda one: len(one["word"])) for some in hundreds]


CHECKS = {"definitions.toml": check_definitions, "words.toml": check_words}


def test_there_is_a_check_of_every_example():
    assert {file.name for file in EXAMPLES.glob("*.toml")} == set(CHECKS)


@pytest.mark.parametrize("example", CHECKS)
def test_an_example_means_what_plain_python_does(library, example):
    build(read_job(str(EXAMPLES / example)), PlainStream)
    CHECKS[example](library)


@pytest.mark.parametrize("example", CHECKS)
def test_an_example_is_good(library, command, example):
    assert "is valid" in command("job", EXAMPLES / example, "--check").stderr


@pytest.mark.parametrize("example", CHECKS)
def test_an_example_runs(library, command, example):
    assert command("job", EXAMPLES / example, "--dry-run").stdout
    command("job", EXAMPLES / example)
    CHECKS[example](library)


# ---- running ----------------------------------------------------------------------------------------------------


def test_values_are_set_and_the_result_is_written(job, command):
    command("job", "job.toml", "--set", "sink.out.write=other.txt", "--set", "pool.start_method=spawn", "-q",
            "--report", "report")  # fmt: skip
    report = json.loads((job / "report").read_text())
    assert (report["ended"], report["items"]["out"], report["items"]["failed"]) == ("well", 3, 0)
    assert report["nodes"]["upper"]["items_out"] == 3
    assert (job / "other.txt").read_text() == "A\nB\nC\n"


def test_a_failing_item_ends_it_with_its_name(job, command):
    command("job", "job.toml", "--set", "step.upper.map=f.py:fail_on_7s", "-q")
    assert (job / "out.txt").read_text() == "a\nb\nc\n"
    (job / "in.txt").write_text("a\n7\nc\n")
    done = command("job", "job.toml", "--set", "step.upper.map=f.py:fail_on_7s", "-q", code=1)
    assert "ZeroDivisionError" in done.stderr
    assert "fail_on_7s" in done.stderr
    assert "orchestrator/" not in done.stderr.replace(str(job), "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it(job, start, number, code):
    (job / "job.toml").write_text(JOB.replace("f.py:upper", "f.py:wait"))
    process = start("job", "job.toml")
    try:
        deadline = time.monotonic() + 60
        while not (job / "gate").exists():
            assert time.monotonic() < deadline
            os.sched_yield()
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, err
    assert b"Traceback" not in err


@pytest.mark.parametrize("name", ["w.late", "late"])
def test_items_too_late_for_their_window_are_a_stream_that_a_table_reads(folder, command, name):
    (folder / "f.py").write_text("def at(line): return int(line)\ndef items(w): return w.items\ndef mark(x): return f'late {x}'\n")
    (folder / "in.txt").write_text("1\n10\n20\n2\n30\n3\n")
    (folder / "job.toml").write_text(
        '[source.in]\nread = "in.txt"\n'
        '[window.w]\nfrom = "in"\nlength_s = 5\nat = "f.py:at"\nlate = "late"\n'
        '[sink.w]\nfrom = "all"\nwrite = "out.txt"\n'
        '[step.all]\nfrom = "w"\nflat_map = "f.py:items"\n'
        f'[step.marked]\nfrom = "{name}"\nmap = "f.py:mark"\n'
        '[sink.late]\nfrom = "marked"\nwrite = "late.txt"\n'
    )
    done = command("job", "job.toml")
    assert done.returncode == 0, done.stderr
    assert (folder / "out.txt").read_text() == "1\n10\n20\n30\n"
    assert (folder / "late.txt").read_text() == "late 2\nlate 3\n"
    assert ", late 2" in done.stderr


def test_late_names_a_file_where_no_table_reads_it(folder, command):
    (folder / "f.py").write_text("def at(line): return int(line)\n")
    (folder / "in.txt").write_text("1\n10\n2\n")
    text = '[source.in]\nread = "in.txt"\n[window.w]\nfrom = "in"\nlength_s = 5\nat = "f.py:at"\nlate = "late.txt"\n'
    (folder / "job.toml").write_text(text + '[sink.none]\nfrom = "w"\ndiscard = true\n')
    assert command("job", "job.toml").returncode == 0
    assert (folder / "late.txt").read_text() == "2\n"
