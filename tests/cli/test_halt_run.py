"""--halt over the records of files: where the run stops, what it leaves, and what it says."""

import re

import pytest

from orchestrator.cli import run_command_line

RECORDS = 200_000
SMALL = ("--block", "64K", "-j2", "-q")


@pytest.fixture
def numbers(folder):
    (folder / "in.txt").write_text("".join(f"{i}\n" for i in range(RECORDS)))
    return folder / "in.txt"


def kept(text):
    """Check that the output is what the function gave for the first records, and nothing else; return how many."""
    lines = text.split()
    assert lines == [line for line in map(str, range(RECORDS)) if "7" not in line][: len(lines)]
    return len(lines)


def test_soon_finishes_what_is_read_and_keeps_it(folder, numbers, command):
    done = command("run", "f:fail_on_7s", "in.txt", "-o", "out.txt", "--halt", "soon,fail=5", *SMALL, code=3)
    assert 1_000 < kept((folder / "out.txt").read_text()) < RECORDS / 2
    said = r"stopped by --halt soon,fail=5: [\d,]+ of [\d,]+ records so far failed; out.txt has the output so far\n"
    assert re.search(said, done.stderr)
    assert "in.txt, line 8: ZeroDivisionError" in done.stderr


def test_now_writes_no_file(folder, numbers, command):
    done = command("run", "f:fail_on_7s", "in.txt", "-o", "out.txt", "--halt", "now,fail=20%", *SMALL, code=3)
    assert re.search(r"stopped by --halt now,fail=20%: .* failed; nothing was written to out.txt\n", done.stderr)
    assert not list(folder.glob("*out.txt*"))


def test_with_a_checkpoint_a_halted_run_can_be_resumed(folder, numbers, command):
    arguments = ("run", "f:fail_on_7s", "in.txt", "-o", "out.txt", "--checkpoint", "kept", *SMALL)
    done = command(*arguments, "--halt", "now,success=1", code=3)
    assert re.search(r"--halt now,success=1: .*; to resume:\n  .* --resume\n", done.stderr)
    command(*arguments, "--resume", "--halt", "never", code=1)
    text = (folder / "out.txt").read_text()
    assert kept(text) == sum("7" not in str(i) for i in range(RECORDS))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--halt", "soon,fail=x"], "--halt 'soon,fail=x'"),
        (["--halt", "soon,fail=1", "--on-error", "raise"], "give only one of them"),
    ],
)
def test_mistakes(flags, said, capfd):
    assert run_command_line(["run", "html:escape", "in.txt", *flags]) == 2
    assert said in capfd.readouterr().err
