"""The journal: whatever a crash leaves of it, the last whole state is found."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.checkpoint.journal import Journal
from orchestrator.errors import ConfigError, OrchestratorError


def written(folder, states):
    journal = Journal(str(folder))
    journal.begin({"fn": "f"})
    ends = [os.path.getsize(folder / "journal")]
    for state in states:
        journal.save(state)
        ends.append(os.path.getsize(folder / "journal"))
    journal.close()
    return ends


def test_a_new_journal_is_empty_and_what_was_saved_last_is_found(tmp_path):
    journal = Journal(str(tmp_path / "deep" / "er"))
    assert (journal.head, journal.state, journal.complete) == (None, None, False)
    journal.close()
    written(tmp_path, [1, {"two": 2}])
    again = Journal(str(tmp_path))
    assert (again.head, again.state, again.complete) == ({"fn": "f"}, {"two": 2}, False)
    again.save(3)
    again.finish()
    again.close()
    last = Journal(str(tmp_path))
    assert last.complete
    last.close()


@given(cut=st.integers(0, 10_000), flip=st.booleans())
def test_torn_at_any_byte_the_last_whole_state_is_found(tmp_path_factory, cut, flip):
    folder = tmp_path_factory.mktemp("journal")
    ends = written(folder, [f"state {number}" * 5 for number in range(4)])
    cut = ends[0] + cut % (ends[-1] - ends[0] + 1)
    path = folder / "journal"
    data = bytearray(path.read_bytes())
    if flip and cut < len(data):
        data[cut] ^= 0xFF  # a sector that was never written, and one behind it that was
    else:
        del data[cut:]
    path.write_bytes(data)
    whole = sum(end <= cut for end in ends) - 1
    journal = Journal(str(folder))
    assert journal.state == (f"state {whole - 1}" * 5 if whole else None)
    journal.save("after")  # and it goes on from there
    journal.close()
    again = Journal(str(folder))
    assert again.state == "after"
    again.close()


def test_a_grown_journal_is_written_anew(tmp_path):
    big = os.urandom(300_000)
    ends = written(tmp_path, [big] * 5)
    assert max(ends) < 1_500_000
    journal = Journal(str(tmp_path))
    assert (journal.head, journal.state) == ({"fn": "f"}, big)
    journal.close()


def test_two_runs_can_not_use_one_folder_and_a_dead_one_gives_it_back(tmp_path):
    code = f"""
import sys, time
from orchestrator.checkpoint.journal import Journal
journal = Journal({str(tmp_path)!r})
print("open", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(ConfigError, match="another run is using"):
            Journal(str(tmp_path))
        other.kill()
    Journal(str(tmp_path)).close()


def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path, monkeypatch):
    written(tmp_path, ["good"])
    journal = Journal(str(tmp_path))
    whole = os.write

    def half(fd, data):
        monkeypatch.setattr(os, "write", full)
        return whole(fd, bytes(data)[: len(data) // 2])

    def full(fd, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OrchestratorError, match=r"No space left on device.*resume"):
        journal.save("bad")
    monkeypatch.undo()
    journal.save("better")
    journal.close()
    again = Journal(str(tmp_path))
    assert again.state == "better"
    again.close()


def test_what_can_not_be_pickled_is_said(tmp_path):
    journal = Journal(str(tmp_path))
    journal.begin({})
    with pytest.raises(OrchestratorError, match="can't be pickled"):
        journal.save(lambda: None)
    journal.close()


INTERRUPTED = """
import contextlib, sys
from orchestrator.checkpoint.journal import Journal

def interrupted(step, number):
    lines = 0
    def line(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        if lines == number:
            sys.settrace(None)
            raise KeyboardInterrupt
        return line
    sys.settrace(lambda frame, *_: line if frame.f_code.co_filename.endswith("journal.py") else None)
    with contextlib.suppress(KeyboardInterrupt):
        step()
    sys.settrace(None)

for number in range(1, 60):
    for name in ("finish", "close"):
        journal = Journal(f"{sys.argv[1]}/{name}-{number}")
        journal.begin("head")
        journal.save("state")
        interrupted(getattr(journal, name), number)
        journal.close()
"""


def test_ctrl_c_at_any_line_of_its_end_has_nothing_closed_twice(tmp_path):
    subprocess.run([sys.executable, "-c", INTERRUPTED, str(tmp_path)], check=True, timeout=60)
