"""The coordinator is killed with SIGKILL at random instants; resumed, it writes what an undisturbed run writes.

`CHAOS_KILLS` says how many kills each run gets at least, and has all of them run, each graph in a storm too that kills its
workers meanwhile (`scripts/chaos resume`); `CHAOS_SEED` says when, and `CHAOS_RUNS` which graphs.
"""

import gzip
import json
import os
import random
import re
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from support.seed import SEED

from orchestrator import read_dead_letters
from tests.support.resumable import ANY_ORDER, RUNS

ROOT = Path(__file__).resolve().parents[2]
LONG = "CHAOS_KILLS" in os.environ
KILLS = int(os.environ.get("CHAOS_KILLS", "1"))
CHOSEN = os.environ.get("CHAOS_RUNS", " ".join(RUNS)).split()
GRAPHS = [(name, storm) for name in CHOSEN for storm in (False, True)] if LONG else [("patterns", False), ("unordered", True)]
COMMANDS = [
    ("a.jsonl b.jsonl.gz", "out.jsonl", ["--joblog", "log", "--dead-letter", "dead", "--retries", "1"]),
    ("a.jsonl b.jsonl.gz", "out.csv.gz", []),
    ("a.jsonl c.jsonl", "out/", ["--unordered"]),
]


def outputs(folder, *, any_order=False):
    """The files of a folder, by name: their bytes, or their lines in no order."""
    found = {path.name: re.sub(rb'"time_s": [0-9.]+', b'"time_s": 0', path.read_bytes()) for path in folder.iterdir()}
    return {name: sorted(data.splitlines()) for name, data in found.items()} if any_order else found


def graph_outputs(folder, name, *, storm):
    """As `outputs`; a death counts as an attempt, so that dead letters of a storm are told by their items only."""
    found = outputs(folder / "out", any_order=name in ANY_ORDER)
    if storm and name == "with_dead_letters":
        for letters in ("first", "second"):
            found[letters] = [json.loads(line)["item"] for line in found[letters].splitlines()]
    return found


def run_with_kills(command, folder, chance, within_s):
    """Run a command until it comes to its end, killed now and then; return how often, its exit code and what it said."""
    hits = 0
    while True:
        with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as child:
            try:
                _, said = child.communicate(timeout=chance.uniform(0.1, within_s) if hits < min(8, KILLS) else 120)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                hits += 1
                continue
        return hits, child.returncode, said


@pytest.fixture(autouse=True)
def path_of_the_code(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize(("name", "storm"), GRAPHS)
def test_a_killed_graph_goes_on_and_writes_what_an_undisturbed_run_writes(name, storm, tmp_path):
    command = [sys.executable, "-m", "tests.support.resumable", name]
    started = time.monotonic()
    subprocess.run([*command, str(tmp_path / "calm")], check=True, cwd=ROOT, timeout=120)
    took_s = time.monotonic() - started
    calm = graph_outputs(tmp_path / "calm", name, storm=storm)
    chance = random.Random(f"{SEED} {name} {storm}")
    hits = 0
    for number in count():
        folder = tmp_path / f"killed-{number}"
        weather = [str(chance.randrange(1, 10**9))] if storm else []
        new, code, said = run_with_kills([*command, str(folder), *weather], ROOT, chance, took_s)
        assert code == 0, f"CHAOS_SEED={SEED}: {said}"
        hits += new
        assert graph_outputs(folder, name, storm=storm) == calm, f"CHAOS_SEED={SEED}: killed {new} times"
        if hits >= KILLS:
            break
    print(f"{name}{' in a storm' if storm else ''}: killed {hits} times in {number + 1} runs, CHAOS_SEED={SEED}")


FUNCTION = """
import time

def clean(record):
    number = record["number"]
    if number % 100 == 0:
        time.sleep(0.002)
    if number % 997 == 3:
        raise ValueError("no such number")
    return {**record, "twice": number * 2} if number % 7 else None
"""


@pytest.mark.parametrize(("inputs", "output", "more"), COMMANDS if LONG else COMMANDS[:1])
def test_a_killed_command_goes_on_and_writes_what_an_undisturbed_run_writes(inputs, output, more, tmp_path):
    lines = b"".join(b'{"number": %d, "text": "%s"}\n' % (number, b"x" * (number % 50)) for number in range(40_000))
    files = {"a.jsonl": lines, "b.jsonl.gz": gzip.compress(lines[:500_000], 1), "c.jsonl": lines[:600_000]}
    for name, data in {**files, "fn.py": FUNCTION.encode()}.items():
        (tmp_path / name).write_bytes(data.rpartition(b"\n")[0] + b"\n" if name == "c.jsonl" else data)
    command = [sys.executable, "-m", "orchestrator", "run", "../fn.py:clean"]
    command += [f"../{name}" for name in inputs.split()]
    command += ["-o", output, "--format", "jsonl", "--on-error", "skip", "--block", "32K", "-j", "2", *more]

    def results(folder, said):
        out = folder / output
        written = out.read_bytes() if out.is_file() else outputs(out, any_order=True)
        log = folder / "log"
        assert not list(folder.glob(".*"))
        counts = re.search(r"[\d,]+ records in.*failed", said)
        dead = folder / "dead"
        letters = [replace(letter, time_s=0) for letter in read_dead_letters(dead)] if dead.exists() else None
        return written, counts and counts[0], log.read_text().count("\n") if log.exists() else None, letters

    (tmp_path / "calm").mkdir()
    started = time.monotonic()
    calm_folder = tmp_path / "calm"
    done = subprocess.run(command, cwd=calm_folder, capture_output=True, text=True, check=False, timeout=120)
    took_s = time.monotonic() - started
    calm = results(tmp_path / "calm", done.stderr)
    chance = random.Random(f"{SEED} {output}")
    hits = 0
    for number in count():
        folder = tmp_path / f"killed-{number}"
        folder.mkdir()
        again = [*command, "--checkpoint", "ckpt", "--checkpoint-every", "0.01", "--resume"]
        new, code, said = run_with_kills(again, folder, chance, took_s)
        assert code == 1, f"CHAOS_SEED={SEED}: {said}"
        hits += new
        if "nothing to resume" in said:  # killed behind its very end
            said = str(calm[1])
        assert results(folder, said) == calm, f"CHAOS_SEED={SEED}: killed {new} times"
        if hits >= KILLS:
            break
    print(f"run -o {output}: killed {hits} times in {number + 1} runs, CHAOS_SEED={SEED}")
