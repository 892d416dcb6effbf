"""A run is stopped, something is changed, and it is resumed: what differs is told, what may differ goes on."""

import json

import pytest

FUNCTIONS = """
from helpers import factor
def fn(line, by=1):
    if line == "7500" and FAILS:
        raise ValueError("not yet")
    return str(int(line) * factor() * by)
FAILS = True
"""
RUN = ("run", "g.py:fn", "in", "-o", "out", "-j1", "--block", "4K", "--checkpoint", "ckpt", "--checkpoint-every", "0", "-q")


@pytest.fixture
def stopped(folder, command):
    """A run that a failing record has ended; most of its output is written."""
    (folder / "in").write_text("".join(f"{n}\n" for n in range(10_000)))
    (folder / "helpers.py").write_text("def factor(): return 2\n")
    (folder / "g.py").write_text(FUNCTIONS)
    done = command(*RUN, code=1)
    assert "7500" in done.stderr or "line 7501" in done.stderr
    return folder


def mended(folder, text):
    (folder / "g.py").write_text(text)


def lines(folder):
    return [int(line) for line in (folder / "out").read_text().splitlines()]


def test_a_function_that_was_mended_is_told_of_and_accepted(stopped, command):
    mended(stopped, FUNCTIONS.replace("FAILS = True", "FAILS = False"))
    refused = command(*RUN, "--resume", code=4)
    assert "the function: was " in refused.stderr
    assert "--resume=force continues with the new function" in refused.stderr
    command(*RUN, "--resume=force")
    assert lines(stopped) == [n * 2 for n in range(10_000)]
    command(*RUN, "--resume")  # what was accepted is what the run is known by now


@pytest.mark.parametrize("flag", [["--resume=force"], ["--resume", "--accept", "function"], ["--accept=function", "--resume"]])
def test_what_was_written_stays_and_the_rest_is_of_the_new_function(stopped, command, flag):
    mended(stopped, FUNCTIONS.replace("FAILS = True", "FAILS = False"))
    (stopped / "helpers.py").write_text("def factor(): return 3\n")
    command(*RUN, *flag)
    found = lines(stopped)
    first = next(n for n, value in enumerate(found) if value != n * 2)
    assert first > 1000
    assert found == [n * 2 for n in range(first)] + [n * 3 for n in range(first, 10_000)]


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [("helpers.py", "return 2", "return 3"), ("g.py", "by=1", "by=2"), ("g.py", "FAILS = True", "FAILS = False")],
)
def test_each_thing_that_the_function_reaches_is_noticed(stopped, command, path, old, new):
    before = (stopped / path).read_text()
    (stopped / path).write_text(before.replace(old, new))
    assert "the function: was " in command(*RUN, "--resume", code=4).stderr
    (stopped / path).write_text(before)
    assert "the function: was" not in command(*RUN, "--resume", code=1).stderr  # it fails as it did


@pytest.mark.parametrize(
    "more",
    [["--on-error", "skip"], ["--dead-letter", "dead"], ["--retries", "1", "--on-error", "skip"], ["--joblog", "log", "--on-error", "skip"]],
)
def test_an_option_that_changes_nothing_of_what_was_written_is_no_mismatch(stopped, command, more):
    command(*RUN, "--resume", *more, code=1)
    assert lines(stopped) == [n * 2 for n in range(10_000) if n != 7500]
    if "--dead-letter" in more:
        (letter,) = (stopped / "dead").read_text().splitlines()
        assert json.loads(letter)["item"] == "7500"


@pytest.mark.parametrize("more", [["--flat"], ["--format", "jsonl"], ["--unordered"]])
def test_an_option_that_shapes_the_output_is_a_mismatch_that_force_does_not_accept(stopped, command, more):
    for flag in ("--resume", "--resume=force"):
        done = command(*RUN, flag, *more, code=4)
        assert "the function: was" not in done.stderr
        assert "force" not in done.stderr


def test_another_file_with_dead_letters_is_not_mixed_up(stopped, command):
    (stopped / "dead").write_text("mine\n")
    assert "give a new file" in command(*RUN, "--resume", "--dead-letter", "dead", code=2).stderr
    assert (stopped / "dead").read_text() == "mine\n"


def test_accept_needs_resume(command):
    assert "--accept needs --resume" in command(*RUN, "--accept", "function", code=2).stderr


def test_a_job_too(folder, command):
    (folder / "g.py").write_text(FUNCTIONS.replace('"7500"', "7500").replace("int(line)", "line"))
    (folder / "helpers.py").write_text("def factor(): return 2\ndef numbers(): return range(10_000)\n")
    (folder / "job.toml").write_text(
        '[source.s]\nitems = "helpers.py:numbers"\n[step.f]\nfrom = "s"\nmap = "g.py:fn"\nchunk = 10\n[sink.out]\nfrom = "f"\nwrite = "out"\n'
    )
    job = ("job", "job.toml", "-j1", "--checkpoint", "ckpt", "--checkpoint-every", "0", "-q")
    command(*job, code=1)
    (folder / "g.py").write_text((folder / "g.py").read_text().replace("FAILS = True", "FAILS = False"))
    refused = command(*job, "--resume", code=4)
    assert "the function g.py:fn: was " in refused.stderr
    command(*job, "--resume=force")
    assert lines(folder) == [n * 2 for n in range(10_000)]
