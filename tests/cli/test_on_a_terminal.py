"""The real command on a terminal, with file names, prints and errors that would take it over."""

import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest

EVIL = "\x1b]0;EVIL\x07\x1b[2J\x1b[31m\x9b5n"
NAME = f"in{EVIL}.txt"
FUNCTIONS = f"""
import sys
EVIL = {EVIL!r}
def shout(line):
    print("print", EVIL, line)
    print("stderr", EVIL, line, file=sys.stderr)
    if line == "b": raise ValueError("error " + EVIL)
    return line.upper()
"""
JOB = f"""
[source.lines]
read = {json.dumps(NAME)}
[step.{json.dumps("step" + EVIL)}]
from = "lines"
map = "evil.py:shout"
on_error = "skip"
[sink.out]
from = {json.dumps("step" + EVIL)}
write = {json.dumps("out" + EVIL)}
"""
ASKED = {
    "run": ("run", "evil.py:shout", NAME, "-o", f"out{EVIL}", "--on-error", "skip", "-j", "1"),
    "run-bars": ("run", "evil.py:shout", NAME, "-o", "out", "--on-error", "skip", "-j", "1", "--progress"),
    "run-stops": ("run", "evil.py:shout", NAME, "-o", "out", "-j", "1"),
    "run-mistake": ("run", "evil.py:shout", f"gone{EVIL}"),
    "run-flag": ("run", "evil.py:shout", NAME, f"--{EVIL}"),
    "dry-run": ("run", "evil.py:shout", NAME, "--dry-run"),
    "exec": ("exec", "false", EVIL, "-j", "1", "--eta"),
    "exec-dry": ("exec", "false", EVIL, "--dry-run"),
    "job": ("job", "job.toml", "-j", "1", "--progress"),
    "job-plain": ("job", "job.toml", "-j", "1"),
    "job-graph": ("job", "job.toml", "--graph", "mermaid"),
}


def on_a_terminal(folder, environment, arguments):
    """Run the command with a terminal for its output, and return all that it wrote there."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments], cwd=folder, env={**environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    said, end = b"", time.monotonic() + 60
    try:
        while select.select([master], [], [], end - time.monotonic())[0]:
            try:
                piece = os.read(master, 65536)
            except OSError:  # nobody holds the other end any more
                break
            if not piece:
                break
            said += piece
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return said.decode()


@pytest.mark.parametrize("asked", ASKED)
def test_nothing_of_others_takes_over_the_terminal(folder, environment, asked):
    (folder / NAME).write_text("a\nb\nc\n")
    (folder / "evil.py").write_text(FUNCTIONS)
    (folder / "job.toml").write_text(JOB)
    said = on_a_terminal(folder, environment, ASKED[asked])
    assert said
    for trick in ("\x1b]", "\x07", "\x1b[2J", "\x1b[31m", "\x9b"):
        assert trick not in said, said
    if asked in {"run", "run-bars", "job", "job-plain"}:
        assert "print  a" in said
        assert "stderr  c" in said


def test_a_warning_is_one_line_without_control_sequences(folder, command):
    """Wherever it comes from: here from half a dead letter, in a file whose name would take the terminal over."""
    (folder / "in.txt").write_text("1\nx\n")
    (folder / "f2.py").write_text("def number(line): return int(line)\n")
    dead = f"dead{EVIL}"
    command("run", "f2.py:number", "in.txt", "-o", "out", "-j", "1", "--dead-letter", dead, code=1)
    with open(folder / dead, "ab") as file:
        file.write(b'{"index": ')
    said = command("run", "f2.py:number", "--retry-dead", dead, "-o", "again", "-j", "1", "--on-error", "skip", "-q", code=1).stderr
    assert "orchestrator: warning: dead" in said
    assert "incomplete dead letter" in said
    assert "\x1b" not in said


def test_a_file_name_can_not_forge_a_line(folder, command):
    name = "in\norchestrator: all is well"
    (folder / name).write_text("7\n")
    said = command("run", "f:fail_on_7s", name, "-j", "1", "-q", code=1).stderr
    assert said.splitlines()[0].startswith("orchestrator: in\\norchestrator: all is well, line 1: ZeroDivisionError")
