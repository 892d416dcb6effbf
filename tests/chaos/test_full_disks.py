"""Disks that are too small: the run stops with one clear error, and goes on when there is room, to the same bytes.

Each test has a file system of its own, in memory, if it may mount one.
"""

import ctypes
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.scripts import run_script, succeeded

from orchestrator import OrchestratorError, Stream, read_dead_letters, run
from orchestrator.graph import barrier

ROOT = Path(__file__).resolve().parents[2]
PAGE = 4096
LINES = 10_000
FUNCTION = """
import time
def upper(line):
    if line.endswith("00"): time.sleep(0.0005)
    if line.endswith("77"): raise ValueError("77")
    return line.upper()
"""
MS_REMOUNT, MNT_DETACH = 32, 2
LIBC = ctypes.CDLL(None, use_errno=True)


class SmallDisk:
    """A file system in memory of some pages."""

    def __init__(self, path, pages):
        self.path = path
        path.mkdir()
        self._mount(0, pages)

    def grow(self, pages=4096):
        self._mount(MS_REMOUNT, pages)

    def _mount(self, flags, pages):
        if LIBC.mount(b"tmpfs", bytes(self.path), b"tmpfs", flags, f"size={pages * PAGE}".encode()):
            raise OSError(ctypes.get_errno(), "can't mount")

    def close(self):
        LIBC.umount2(bytes(self.path), MNT_DETACH)


@pytest.fixture
def disk(tmp_path):
    """Give a function that makes a disk of so many pages."""
    made = []

    def make(pages):
        try:
            made.append(SmallDisk(tmp_path / f"disk-{len(made)}", pages))
        except OSError as error:
            pytest.skip(f"may not mount: {error}")
        return made[-1]

    yield make
    for each in made:
        each.close()


def command(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *map(str, arguments)], cwd=folder, capture_output=True, text=True,
        check=False, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("what", "pages"), [("output", 15), ("checkpoint", 1), ("joblog", 1), ("dead-letter", 3)], ids=str
)
def test_the_command_stops_and_goes_on_when_there_is_room(tmp_path, disk, what, pages):
    lines = [f"line {number}" for number in range(LINES)]
    (tmp_path / "in.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "f.py").write_text(FUNCTION)
    small, roomy = disk(pages), disk(4096)  # where a checkpoint takes no time, so that there are many
    places = {name: roomy.path / name for name in ("output", "checkpoint", "joblog", "dead-letter")} | {what: small.path / what}
    arguments = ["run", "f.py:upper", "in.txt", "-o", places["output"], "--checkpoint", places["checkpoint"],
                 "--joblog", places["joblog"], "--dead-letter", places["dead-letter"], "--on-error", "skip",
                 "--block", "1K", "-j", "2", "--checkpoint-every", "0"]  # fmt: skip
    done = command(tmp_path, *arguments)
    assert done.returncode == 1, done.stderr
    first, second, *rest = done.stderr.splitlines()
    assert "No space left on device" in first
    assert str(places[what]) in first
    if what != "checkpoint" or "is complete" not in second:  # a slow machine: only the last checkpoint found no room
        assert second == "orchestrator: stopped; to resume:"
        assert rest == ["  orchestrator " + " ".join(map(str, arguments)) + " --resume"]
        assert not places["output"].exists()

    small.grow()
    done = command(tmp_path, *arguments, "--resume")
    assert done.returncode == 1, done.stderr  # records were skipped
    assert f"{LINES:,} records in, {LINES - LINES // 100:,} out" in done.stderr
    assert places["output"].read_text().splitlines() == [line.upper() for line in lines if not line.endswith("77")]
    seqs = [int(line.split("\t")[0]) for line in places["joblog"].read_text().splitlines()[1:]]
    assert seqs == list(range(1, len(seqs) + 1))
    letters = list(read_dead_letters(places["dead-letter"]))
    assert [letter.place.line for letter in letters] == list(range(78, LINES, 100))


def held(folder):
    return Stream(iter(range(20_000))).barrier().to(f"{folder}/out.txt")


@pytest.mark.parametrize("kept", [True, False])
def test_what_waits_at_a_barrier_finds_no_room(tmp_path, disk, kept, monkeypatch):
    small = disk(8)
    monkeypatch.setattr(barrier, "HELD_ITEMS", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(small.path))
    options = {"checkpoint": small.path / "journal", "checkpoint_every_s": 0} if kept else {}
    with pytest.raises(OrchestratorError, match=rf"can't write the items waiting at .*{small.path}.*No space .*free some space"):
        run(held(tmp_path), **options)
    assert not (tmp_path / "out.txt").exists()
    small.grow()
    run(held(tmp_path), **options)
    assert (tmp_path / "out.txt").read_text().split() == list(map(str, range(20_000)))


JOIN = """
import sys
from orchestrator import OrchestratorError, Stream, read_dead_letters, run
def by_n(record):
    return record["n"]
def joined():
    left, right = ([{"n": n, "text": "x" * 500} for n in numbers] for numbers in (range(9000), range(8999, -1, -1)))
    run(Stream(left).join(Stream(right), by_n, max_items=100, overflow="spill").to("out.txt"))
try:
    joined()
except OrchestratorError as error:
    print(error)
"""


def test_what_waits_in_a_join_finds_no_room(tmp_path, disk, monkeypatch):
    small = disk(8)
    monkeypatch.setenv("SQLITE_TMPDIR", str(small.path))
    said = succeeded(run_script(tmp_path, JOIN))
    assert re.match(rf"can't write the waiting items .* in {small.path}: database or disk is full; free some space", said)
    assert not (tmp_path / "out.txt").exists()
    small.grow()
    assert succeeded(run_script(tmp_path, JOIN)) == ""
    assert len((tmp_path / "out.txt").read_text().splitlines()) == 9000
