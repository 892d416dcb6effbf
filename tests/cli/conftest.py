"""The real command, run in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "orchestrator"]
FUNCTIONS = """
import json, os, signal, sys, time
def upper(s): return s.upper()
def clean(d): return None if d["n"] % 3 == 0 else {**d, "double": d["n"] * 2}
def row(r): return {"b": r["b"], "n": int(r["a"]) + 1}
def ragged(r): return {"x": 1} if int(r["a"]) < 20000 else {"y": 1}
def fail_on_77(s):
    if s == "77": raise ValueError("no\\n77")
    return s
def fail_on_7s(s): return s if "7" not in s else 1 / 0
def twice(s): yield s; yield s
def say(s): print("said", s); return s
def size(path): return {"name": os.path.basename(path), "bytes": os.path.getsize(path)}
def block_size(block): return f"{type(block).__name__} {len(block)}"
def die(s): os.kill(os.getpid(), signal.SIGKILL)
def meet(s):
    open(f"here-{os.getpid()}", "w").close()
    ends = time.monotonic() + 30
    while sum(name.startswith("here-") for name in os.listdir()) < 2 and time.monotonic() < ends: time.sleep(0.01)
    return str(sum(name.startswith("here-") for name in os.listdir()))
def wait(s):
    with open("gate", "w") as gate: gate.write(f"{os.getpid()}\\n")
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "f.py").write_text(FUNCTIONS)
    return tmp_path


@pytest.fixture
def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def start(folder, environment):
    """Start the command; the test sees to its end."""

    def go(*arguments, **options):
        return subprocess.Popen([*COMMAND, *map(str, arguments)], cwd=folder, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)  # fmt: skip

    return go


@pytest.fixture
def command(start):
    """Run the command to its end; a traceback of ours, or a hang, is a failure whatever is tested."""

    def run(*arguments, data=None, code=0):
        process = start(*arguments, stdin=subprocess.PIPE if data is not None else subprocess.DEVNULL)
        try:
            out, err = process.communicate(data, timeout=120)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == code, err.decode()
        assert b"/orchestrator/cli/" not in err, err.decode()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err.decode())

    return run
