"""Files that grow while a run goes on: torn ones are mended, those that others meddle with are noticed, modes are narrow."""

import os
from contextlib import closing

import pytest

from orchestrator import ConfigError, OrchestratorError
from orchestrator.checkpoint.journal import Journal
from orchestrator.cli.exec.arguments.resume import commands_done
from orchestrator.cli.logs.attempts import Attempt
from orchestrator.cli.logs.joblog import Joblog
from orchestrator.cli.logs.trace import Trace
from orchestrator.cli.session.report_file import ReportFile
from orchestrator.engine.recovery.dead_letter_sinks import DeadLetterFile
from orchestrator.engine.recovery.dead_letters import DeadLetter, ErrorText
from orchestrator.graph.barrier import BarrierNode
from orchestrator.sinks.disk.append_file import AppendFile
from orchestrator.sinks.disk.output_file import mode_beside

LETTER = DeadLetter("item", 1, ErrorText("ValueError", "no"), "", 1, "f")
ATTEMPT = Attempt(1, 1.0, 2.0, 3, 4, 0, 0, "echo é")


def letters(path):
    file = DeadLetterFile(path)
    return file, lambda: file.write(LETTER)


def joblog(path):
    file = Joblog(path)
    return file, lambda: file.write(ATTEMPT)


def trace(path):
    file = Trace(path, "a run")
    return file, lambda: file.write(ATTEMPT)


def removed(path):
    path.unlink()


def replaced(path):
    path.unlink()
    path.write_bytes(b"x" * 10_000)


def moved(path):
    path.rename(f"{path}.1")


def emptied(path):
    os.truncate(path, 0)


@pytest.mark.parametrize("meddle", [removed, replaced, moved, emptied])
@pytest.mark.parametrize("make", [letters, joblog, trace])
@pytest.mark.parametrize("when", ["write", "close"])
def test_a_file_that_others_take_away_is_noticed(tmp_path, make, meddle, when):
    path = tmp_path / "file"
    file, write = make(str(path))
    write()
    meddle(path)
    left = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    with pytest.raises(OrchestratorError, match=rf"can't write .*{path}: somebody else has changed it"):
        write() if when == "write" else file.close()
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == left
    file.abort()


@pytest.mark.parametrize("name", ["journal", "lock"])
@pytest.mark.parametrize("call", ["save", "finish"])
@pytest.mark.parametrize("meddle", [removed, replaced, moved])
def test_a_journal_that_others_take_away_is_noticed(tmp_path, name, call, meddle):
    journal = Journal(str(tmp_path / "kept"))
    journal.begin("head")
    journal.save("state")
    meddle(tmp_path / "kept" / name)
    with pytest.raises(OrchestratorError, match=f"has removed or replaced .*{name} during the run"):
        journal.save("more") if call == "save" else journal.finish()
    journal.close()


def test_what_waits_at_a_barrier_and_is_taken_away_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.graph.barrier.HELD_ITEMS", 1)
    held = BarrierNode("barrier")
    held.keep_written(str(tmp_path / "node"), "secret")
    held.receive([1, 2, 3], 0)
    held.snapshot()
    removed(tmp_path / "node-held")
    with pytest.raises(OrchestratorError, match=r"has removed or replaced .*node-held"):
        held.snapshot()
    held.close()


def test_two_that_write_to_one_file_of_dead_letters_leave_each_other_alone(tmp_path):
    one, other = DeadLetterFile(str(tmp_path / "dead")), DeadLetterFile(str(tmp_path / "dead"))
    for file in (one, other, other, one):
        file.write(LETTER)
    one.close()
    other.close()
    assert len((tmp_path / "dead").read_bytes().splitlines()) == 4


def whole_log(path):
    log = Joblog(str(path))
    for seq in range(1, 4):
        log.write(Attempt(seq, 1.0, 2.0, 3, 4, 0, 0, f"echo é{seq}"))
    log.close()
    return path.read_bytes()


def test_a_job_log_that_is_torn_at_any_byte_is_gone_on_with_as_often_as_it_takes(tmp_path):
    path = tmp_path / "log"
    whole = whole_log(path)
    for size in range(len(whole) + 1):
        for tail in (b"", b"\0" * 5):
            path.write_bytes(whole[:size] + tail)
            done = commands_done(str(path), failed_again=False)
            assert len(done) == max(0, whole[:size].count(b"\n") - 1)
            for _ in range(2):
                missing = [seq for seq in range(1, 4) if seq - 1 not in commands_done(str(path), failed_again=False)]
                log = Joblog(str(path), resumes=True)
                for seq in missing[:1]:
                    log.write(Attempt(seq, 1.0, 2.0, 3, 4, 0, 0, f"echo é{seq}"))
                log.close()
                assert whole.startswith(path.read_bytes())


def test_a_torn_line_of_any_length_is_cut_off(tmp_path):
    path = tmp_path / "log"
    for before, torn in ((b"", 200_000), (b"line\n", 65_535), (b"line\n", 65_536), (b"line\n", 300_000), (b"line\n", 0), (b"", 0)):
        path.write_bytes(before + b"x" * torn)
        file = AppendFile(str(path), "the log", goes_on=True)
        file.cut_torn_line()
        file.write(b"next\n")
        file.close()
        assert path.read_bytes() == before + b"next\n"


def test_another_file_is_no_job_log_and_stays_as_it_is(tmp_path):
    path = tmp_path / "notes"
    for text in ("my notes", "my notes\nof today", "Seq\tHost\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="is not a job log"):
            commands_done(str(path), failed_again=False)
        assert path.read_text() == text


@pytest.fixture
def umask():
    """Set one for the test."""
    old = os.umask(0o022)
    yield os.umask
    os.umask(old)


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize(("output", "expected"), [(None, 0o644), (0o600, 0o600), (0o640, 0o640), (0o666, 0o644), (0o755, 0o644)])
@pytest.mark.parametrize("there", [False, True])
def test_files_beside_an_output_are_readable_to_nobody_who_may_not_read_it(tmp_path, umask, output, expected, there):
    umask(0o022)
    out = tmp_path / "out"
    if output is not None:
        out.touch()
        out.chmod(output)
    paths = [tmp_path / name for name in ("log", "trace", "report")]
    for path in paths if there else ():
        path.touch()
        path.chmod(0o644)
    beside = mode_beside([str(out)])
    log, timeline = Joblog(str(paths[0]), mode=beside), Trace(str(paths[1]), "run", beside)
    with ReportFile(str(paths[2]), "run", [str(out)]) as report:
        report.write(0, finished=True)
    dead = DeadLetterFile(str(tmp_path / "dead"), beside)
    for file in (log, timeline, dead):
        file.close()
    assert [mode(path) for path in (*paths, tmp_path / "dead")] == [expected] * 4


def test_another_group_may_do_no_more_than_everybody(tmp_path, monkeypatch):
    (tmp_path / "out").touch()
    (tmp_path / "out").chmod(0o664)
    monkeypatch.setattr(os, "getegid", lambda: (tmp_path / "out").stat().st_gid + 1)
    assert mode_beside([str(tmp_path / "out")]) == 0o644


def test_a_journal_is_private(tmp_path, umask):
    umask(0)
    journal = Journal(str(tmp_path / "kept"))
    journal.begin("head")
    journal.close()
    assert mode(tmp_path / "kept") == 0o700
    assert [mode(path) for path in (tmp_path / "kept").iterdir()] == [0o600, 0o600]


@pytest.mark.parametrize("name", ["journal", "journal.new", "lock"])
def test_a_journal_is_not_written_through_a_link(tmp_path, name):
    (tmp_path / "victim").write_bytes(b"the victim's")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / name).symlink_to(tmp_path / "victim")
    with pytest.raises(OrchestratorError, match=r"link|Too many levels of symbolic links"), \
            closing(Journal(str(tmp_path / "kept"))) as journal:  # fmt: skip
        journal.begin("head")
    assert (tmp_path / "victim").read_bytes() == b"the victim's"
