"""What lies in a checkpoint's folder runs nothing: not at all in a fresh run, and on resume only if it is ours alone."""

import os
import pickle
import struct
import subprocess
import sys
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator import ConfigError, Stream, run
from orchestrator.checkpoint.journal import Journal
from orchestrator.checkpoint.plain_data import has_pickles
from orchestrator.graph import barrier
from orchestrator.streams import plan


class Thing:
    """Tells where it was unpickled."""

    def __init__(self, n, told):
        self.n, self.told = n, told

    def __reduce__(self):
        return unpickled, (self.n, self.told)


def unpickled(n, told):
    Path(told).touch()
    return Thing(n, told)


def source(folder, make, stop_at=None):
    for n in range(3000):
        if n == stop_at:
            raise RuntimeError("the power goes")
        yield make(n, str(folder / "unpickled"))


def plain(n, _):
    return {"n": n, "both": (n, b"bytes"), "more": {n: {n}}}


def size(items):
    return len(items)


def saved(folder, graph):
    """Whether a run that was stopped has left pickles."""
    with pytest.raises(RuntimeError, match="the power goes"):
        run(graph(2500), checkpoint=folder / "kept", checkpoint_every_s=0)
    assert not (folder / "unpickled").exists()
    with closing(Journal(str(folder / "kept"))) as journal:
        return has_pickles(journal.state)


def test_state_that_is_plain_data_is_no_pickle_and_resumes_anywhere(tmp_path):
    def graph(stop_at=None):
        return Stream(source(tmp_path, plain, stop_at)).window(40, 40).map_inline(size).to(tmp_path / "out")

    assert not saved(tmp_path, graph)
    (tmp_path / "kept").chmod(0o777)
    run(graph(), checkpoint=tmp_path / "kept")
    assert (tmp_path / "out").read_text() == "40\n" * 75


@pytest.mark.parametrize("wide", ["kept", "kept/journal"])
def test_objects_of_a_state_are_loaded_only_from_a_folder_that_is_ours_alone(tmp_path, wide):
    def graph(stop_at=None):
        things = Stream(source(tmp_path, Thing, stop_at)).window(40, 40)
        return things.map_inline(size).to(tmp_path / "out")

    assert saved(tmp_path, graph)
    mode = (tmp_path / wide).stat().st_mode
    (tmp_path / wide).chmod(mode | 0o020)
    with pytest.raises(ConfigError, match=r"is writable by others \(mode \d+\).*chmod go-w"):
        run(graph(), checkpoint=tmp_path / "kept")
    assert not (tmp_path / "unpickled").exists()
    (tmp_path / wide).chmod(mode)
    run(graph(), checkpoint=tmp_path / "kept")
    assert (tmp_path / "unpickled").exists()
    assert (tmp_path / "out").read_text() == "40\n" * 75


def test_what_waits_at_a_barrier_on_the_disk_too(tmp_path, monkeypatch):
    monkeypatch.setattr(barrier, "HELD_ITEMS", 10)

    def graph(stop_at=None):
        things = Stream(source(tmp_path, Thing, stop_at)).window(5, 5)
        return things.map(size).barrier().map(abs).to(tmp_path / "out")

    with pytest.raises(RuntimeError, match="the power goes"):
        run(graph(2500), checkpoint=tmp_path / "kept", checkpoint_every_s=0)
    (tmp_path / "kept").chmod(0o770)
    assert list((tmp_path / "kept").glob("*-held"))
    with pytest.raises(ConfigError, match="others"):
        run(graph(), checkpoint=tmp_path / "kept")


def test_other_versions_of_libraries_are_told_of(tmp_path, monkeypatch):
    def graph(stop_at=None):
        return Stream(source(tmp_path, plain, stop_at)).window(40, 40).map_inline(size).to(tmp_path / "out")

    monkeypatch.setattr(plan, "of_libraries", lambda _: {"numpy": "1.0", "Python": "3"})
    saved(tmp_path, graph)
    monkeypatch.setattr(plan, "of_libraries", lambda _: {"numpy": "2.0", "Python": "3"})
    with pytest.warns(UserWarning, match=r"began with other versions: numpy was 1\.0, is 2\.0$"):
        run(graph(), checkpoint=tmp_path / "kept")


def record(body, magic=0x4F52_4A32):
    return struct.pack("<III", magic, len(body), zlib.crc32(body)) + body


@pytest.mark.parametrize("resume", [[], ["--resume"]])
@pytest.mark.parametrize("kind", ["a whole run", "a finished run", "of an earlier version", "a pickle", "a pickle in its head"])
def test_a_journal_that_a_stranger_has_put_there_runs_nothing(tmp_path, kind, resume):
    told = str(tmp_path / "unpickled")
    bomb = Thing(1, told)
    if kind.endswith("run"):
        with closing(Journal(str(tmp_path / "kept"))) as journal:
            journal.begin({"fingerprint": {}, "plan": {}, "secret": "a"})
            journal.save([bomb])
            if kind == "a finished run":
                journal.finish()
    else:
        (tmp_path / "kept").mkdir()
        old = record(pickle.dumps(("head", bomb)), 0x4F52_4A31 if kind == "of an earlier version" else 0x4F52_4A32)
        data = pickle.dumps(bomb) if kind == "a pickle" else old
        if kind == "a pickle in its head":
            with closing(Journal(str(tmp_path / "other"))) as journal:
                journal.begin({})
                journal.save({"plan": bomb, "fingerprint": {}, "secret": ""})
            data = (tmp_path / "other/journal").read_bytes()
            body = data[data.index(b'{"kind":"state"') :].replace(b'"kind":"state"', b'"kind":"head"')
            data = record(body)
        (tmp_path / "kept/journal").write_bytes(data)
    (tmp_path / "in").write_text("a\n")
    command = [sys.executable, "-m", "orchestrator", "run", "builtins:str", "in", "-o", "out", "-j1", "--checkpoint", "kept", *resume]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parent)])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert not Path(told).exists()
    assert "Traceback" not in done.stderr
    assert done.returncode in ({0, 2, 4} if resume or kind == "a whole run" else {0, 2}), done.stderr
