"""Where the arguments of commands come from; and what a job log tells of an earlier run."""

import os

import pytest

from orchestrator.cli.exec.arguments.lines import ListedLines, StreamedLines
from orchestrator.cli.exec.arguments.records import Records
from orchestrator.cli.exec.arguments.resume import check_same, commands_done
from orchestrator.cli.exec.arguments.rows import CombinedRows, all_at_once
from orchestrator.cli.exec.arguments.sources import InputSettings, rows_of
from orchestrator.cli.logs.joblog import COLUMNS
from orchestrator.errors import ConfigError, ResumeMismatchError
from workers.commands.template import parse


def rows(*words, **options):
    """The rows of arguments that these words behind the command mean."""
    return rows_of(InputSettings(words, **options))[0]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines").write_bytes(b"l1\nl 2\n\nl3")
    (tmp_path / "null").write_bytes(b"a\nb\0c\0")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a b", ["a", "b"]),
        ("::: a b", ["a", "b"]),
        (":::", []),
        ("::: a b ::: 1 2", ["a 1", "a 2", "b 1", "b 2"]),
        ("::: a b c :::+ 1 2", ["a 1", "b 2"]),
        ("::: a b :::+ 1 2 ::: X Y", ["a 1 X", "a 1 Y", "b 2 X", "b 2 Y"]),
        ("::: X Y ::: a b :::+ 1 2", ["X a 1", "X b 2", "Y a 1", "Y b 2"]),
        (":::: lines", ["l1", "l 2", "", "l3"]),
        (":::: lines lines :::+ a", ["l1 l1 a", "l 2 l1 a", " l1 a", "l3 l1 a"]),
        ("::: x ::: a b ::::+ lines", ["x a l1", "x b l 2"]),
    ],
)
def test_rows(files, words, expected):
    found = rows(*words.split())
    assert found.total == len(expected)
    assert [" ".join(row) for row in found] == expected


def test_null_and_mistakes(files):
    assert list(rows("::::", "null", end=b"\0")) == [("a\nb",), ("c",)]
    for words, said in (("::::", "needs the name"), (":::: gone", "gone: No such file"), (":::+ a", "none")):
        with pytest.raises(ConfigError, match=said):
            rows(*words.split())


def test_lines_of_a_pipe_come_as_they_arrive():
    read, write = os.pipe()
    try:
        found = CombinedRows([[Records(StreamedLines(read, b"\n"))], [Records(ListedLines("ab"))]])
        assert found.total is None
        lines = iter(found)
        os.write(write, b"one\ntw")
        assert next(lines) == ("one", "a")
        assert found.ready()
        assert next(lines) == ("one", "b")
        assert not found.ready()  # half a line is none
        os.write(write, b"o\n\xff\nlast")
        os.close(write)
        assert list(lines) == [(line, each) for line in ("two", os.fsdecode(b"\xff"), "last") for each in "ab"]
    finally:
        os.close(read)
    assert all_at_once(rows("::: ", "a")).total == 2


def log(*lines):
    return "\n".join("\t".join(map(str, line)) for line in (COLUMNS, *lines)) + "\n"


def line(seq, exitval=0, signal=0, command=None):
    return (seq, ":", "1.000", "0.100", 0, 0, exitval, signal, command or f"c {seq}")


def test_what_need_not_run_again(files, tmp_path):
    path = str(tmp_path / "log")
    assert commands_done(path, failed_again=False) == {}
    text = log(line(2, 1), line(1), line(4, 0, 15), line(3, -1, 15), line(2, 0), line(6, 3), line(5, 0, 9), line(5))
    (tmp_path / "log").write_text(text + "7\t:\t1.0")  # torn
    assert sorted(commands_done(path, failed_again=False)) == [0, 1, 2, 4, 5]
    assert sorted(commands_done(path, failed_again=True)) == [0, 1, 4]
    for wrong in ("other\n", log(("x",))):
        (tmp_path / "log").write_text(wrong)
        with pytest.raises(ConfigError, match="log"):
            commands_done(path, failed_again=False)


def test_a_log_of_other_commands_is_refused():
    same, slot = parse("c {}"), parse("c {} {%}")
    check_same("log", {0: "c 1", 2: "c 3"}, same, rows("1", "2", "3"))
    check_same("log", {0: "c 1 2"}, slot, rows("1"))
    check_same("log", {0: "c 'a b'"}, same, rows("a\nb"))
    with pytest.raises(ResumeMismatchError, match="command 2 was 'c 2' there and is 'c x' now"):
        check_same("log", {1: "c 2"}, same, rows("1", "x"))
    with pytest.raises(ResumeMismatchError, match="it lists command 3, but there are only 1 now"):
        check_same("log", {0: "c 1", 2: "c 3"}, same, rows("1"))
