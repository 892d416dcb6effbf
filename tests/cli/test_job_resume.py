"""Job files with --checkpoint: stopped, refused, gone on with to the byte."""

import os
import signal
import subprocess

import pytest
from support.waiting import until

FUNCTIONS = """
import time

def slow(n):
    if n % 50 == 0:
        time.sleep(0.01)
    return n * 7

def numbers():
    return range(5_000)

def by_thousand(n):
    return n % 1000

def is_even(n):
    return n % 2 == 0
"""
JOB = """
[pool]
workers = 2
[source.numbers]
items = "g.py:numbers"
[source.others]
items = "g.py:numbers"
[step.slow]
from = "numbers"
map = "g.py:slow"
chunk = 20
[route.kind]
from = "slow"
to = { even = "g.py:is_even" }
[window.pairs]
from = "kind.even"
size = 2
[sink.pairs]
from = "pairs"
write = "out/pairs.txt"
[join.both]
left = "kind.rest"
right = "others"
key = "g.py:by_thousand"
[sink.both]
from = "both"
write = "out/both.txt"
"""
RUN = ("job", "job.toml", "--checkpoint", "ckpt", "--checkpoint-every", "0.01")


def outputs(folder):
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


@pytest.fixture
def job(folder):
    (folder / "g.py").write_text(FUNCTIONS)
    (folder / "job.toml").write_text(JOB)
    (folder / "out").mkdir()
    return folder


def interrupted(start, job):
    """Start it, and interrupt it behind its first checkpoints; return what it said."""
    process = start(*RUN, stdin=subprocess.DEVNULL)
    try:
        until(lambda: list((job / "out").glob(".pairs.txt.*.part")) or process.poll() is not None)
        until(lambda: next((job / "out").glob(".pairs.txt.*.part")).stat().st_size)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    return err.decode()


def test_a_job_is_stopped_refused_and_gone_on_with(job, command, start):
    assert command("job", "job.toml").returncode == 0
    calm = outputs(job)
    for name in calm:
        os.unlink(job / "out" / name)

    said = interrupted(start, job)
    assert "stopped by SIGINT; to resume:\n  orchestrator " + " ".join(RUN) + " --resume\n" in said
    assert all(name.startswith(".") for name in outputs(job))
    assert "unfinished run; add --resume" in command(*RUN, code=2).stderr

    (job / "g.py").write_text(FUNCTIONS.replace("n * 7", "n * 8"))
    (job / "job.toml").write_text(JOB.replace("size = 2", "size = 3"))
    said = command(*RUN, "--resume", code=4).stderr
    assert "[window.pairs]: was from = kind.even, size = 2, is from = kind.even, size = 3" in said
    assert "the function g.py:slow: was g.slow" in said
    assert said.count(": was ") == 2

    (job / "g.py").write_text(FUNCTIONS)
    meant = JOB.replace("chunk = 20", "chunk = 20 # as before\nretries = 2").replace("workers = 2", "workers = 3")
    (job / "job.toml").write_text(meant)
    assert command(*RUN, "--resume").returncode == 0
    assert outputs(job) == calm

    assert "nothing to resume" in command(*RUN, "--resume").stderr
    said = command(*RUN, "--resume", "--set", "window.pairs.size=5", code=4).stderr
    assert "size = 2, is from = kind.even, size = 5" in said
    assert outputs(job) == calm


def test_mistakes(job, command):
    (job / "calls.toml").write_text(JOB.replace('write = "out/both.txt"', 'call = "builtins:print"'))
    for file, flags, said in (
        ("job.toml", ["--resume"], "--resume needs --checkpoint DIR"),
        ("job.toml", ["--checkpoint", "c", "--grace", "long"], "--grace must be a number of seconds, not 'long'"),
        ("job.toml", ["--checkpoint", "g.py"], "can't use g.py for checkpoints: File exists"),
        ("calls.toml", ["--checkpoint", "c"], "can't resume after a crash"),
    ):
        done = command("job", file, *flags, code=2)
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
        assert not (job / "c").exists()
