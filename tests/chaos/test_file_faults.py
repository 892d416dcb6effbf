"""The power goes, or the disk fails, at every system call of checkpoints, compaction, and the end of a run; what was not synced is
lost.

Gone on with, the run writes what an undisturbed one writes. Each run is a forked child and uses no pool, so that there
can be many. `CHAOS_POINTS=all` takes every point (`scripts/chaos resume`), else some by `CHAOS_SEED`.
"""

import errno
import os
import pickle
import random
import shutil
import signal
import zlib
from pathlib import Path

import pytest
from support.faults import Faults
from support.seed import SEED

from orchestrator import Stream, run
from orchestrator.checkpoint import journal as journal_module
from orchestrator.checkpoint.journal import Journal
from orchestrator.graph import barrier, checkpoints

POINTS = os.environ.get("CHAOS_POINTS", "12")
ITEMS = 4_000


def is_even(n):
    return n % 2 == 0


def is_some(n):
    return n % 4 == 1


def is_few(n):
    return n % 500 in (0, 499)


def by_hundred(n):
    return n % 100


def graph(folder):
    """A route, a window, a join, a barrier, and outputs that are made as keys appear."""
    routes = Stream(iter(range(ITEMS))).tee(f"{folder}/all.txt").route({"even": is_even, "some": is_some, "few": is_few})
    return [
        routes["some"].barrier().to(f"{folder}/held.txt"),
        routes["few"].demultiplex(by_hundred, to=lambda key: f"{folder}/few-{key}.txt"),
        routes["even"].window(5, 3).map_inline(sum).to(f"{folder}/sums.txt"),
        routes["rest"].join(Stream(range(0, 200, 3)), by_hundred, how="full").to(f"{folder}/joined.txt"),
    ]


def note_promises(file):
    """Have this process note which states the journal was given, and which of them it has said are safe."""
    save = Journal.save
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def noted(self, state):
        name = f"{zlib.crc32(pickle.dumps(state))}\n".encode()
        os.write(fd, b"given " + name)
        save(self, state)
        os.write(fd, b"safe " + name)

    Journal.save = noted


def check_promises(folder):
    """What the journal said is safe is there, or something newer."""
    told = [line.split() for line in Path(f"{folder}.promises").read_text().splitlines()]
    last = max((number for number, (word, _) in enumerate(told) if word == "safe"), default=None)
    journal = Journal(f"{folder}/journal")
    state, complete = journal.state, journal.complete
    journal.close()
    if last is not None and not complete:
        assert str(zlib.crc32(pickle.dumps(state))) in {name for _, name in told[last:]}


def in_child(folder, at=None, error=None):
    """Run, or go on with, the graph in a child that meets a fault at a point.

    Returns:
        The points that it came to, None if the power went, what it raised if it failed.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(reader)
            note_promises(f"{folder}.promises")
            faults = Faults(at, os.path.realpath(folder), error)
            faults.install()
            checkpoints._SHARE = 0  # one a turn
            journal_module._COMPACT_BYTES = 12_000
            barrier.HELD_ITEMS = 500
            os.makedirs(f"{folder}/out", exist_ok=True)
            run(*graph(f"{folder}/out"), checkpoint=f"{folder}/journal", checkpoint_every_s=0)
            os.write(writer, str(faults.points).encode())
        except BaseException as raised:
            os.write(writer, f"{type(raised).__name__}: {raised}".encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as told:
        said = told.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    return int(said) if said.isdecimal() else said


def outputs(folder):
    return {path.name: path.read_bytes() for path in Path(folder, "out").iterdir()}


def prepared(tmp_path):
    points = in_child(tmp_path / "calm")
    assert points > 100
    chance = random.Random(SEED)
    taken = range(points) if POINTS == "all" else sorted(chance.sample(range(points), int(POINTS)))
    print(f"CHAOS_SEED={SEED}, {len(taken)} of {points} points")
    return points, outputs(tmp_path / "calm"), chance, taken


def test_the_power_goes_at_any_call(tmp_path):
    points, calm, chance, taken = prepared(tmp_path)
    folder = tmp_path / "cut"
    for at in taken:
        killed = in_child(folder, at) is None
        check_promises(folder)
        again = killed and chance.random() < 0.3 and in_child(folder, chance.randrange(points)) is None
        assert type(in_child(folder)) is int
        assert outputs(folder) == calm, f"cut at point {at} of {points}, {'twice' if again else 'once'}; seed {SEED}"
        shutil.rmtree(folder)
        os.unlink(f"{folder}.promises")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_the_disk_fails_at_any_call(tmp_path, error):
    points, calm, _, taken = prepared(tmp_path)
    folder = tmp_path / "full"
    for at in taken:
        said = in_child(folder, at, error)
        if type(said) is str:  # else there was no call behind the point
            assert said.startswith("OrchestratorError: can't write "), f"point {at} of {points}: {said}"
            assert os.strerror(error) in said
            assert said.count("\n") == 0
        assert type(in_child(folder)) is int
        assert outputs(folder) == calm, f"point {at} of {points}; seed {SEED}"
        shutil.rmtree(folder)
        os.unlink(f"{folder}.promises")
