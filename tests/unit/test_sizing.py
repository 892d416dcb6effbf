"""What `-j` and `Pool(workers=...)` take besides a number."""

import os

import pytest

from orchestrator.errors import ConfigError
from orchestrator.pool.size.sizing import Bounds, SizeFile, parse_sizing, parse_wanted
from orchestrator.settings import usable_cpus


@pytest.mark.parametrize(
    ("text", "bounds"),
    [("auto", Bounds(1, usable_cpus())), ("auto:8", Bounds(1, 8)), (" auto:2-9 ", Bounds(2, 9)), ("auto:3-3", Bounds(3, 3))],
)
def test_auto_between_bounds(text, bounds):
    sizing = parse_sizing(text)
    assert sizing.auto == bounds
    assert sizing.workers == bounds.clip(usable_cpus())
    assert f"{bounds.least} to {bounds.most}" in str(sizing)


@pytest.mark.parametrize("text", ["auto:", "auto:0", "auto:3-2", "auto:x", "auto:-2", "auto:2-"])
def test_bounds_that_can_not_be(text):
    with pytest.raises(ConfigError, match="use auto, auto:8 or auto:2-8"):
        parse_sizing(text)


@pytest.mark.parametrize(("text", "workers"), [("4", 4), ("4\n", 4), (" 200% \n", 2 * usable_cpus()), ("0\n", 0)])
def test_what_a_file_says(tmp_path, text, workers):
    (tmp_path / "size").write_text(text)
    sizing = parse_sizing(str(tmp_path / "size"))
    assert sizing.workers == workers == parse_wanted(text)
    assert sizing.file.poll() is None


@pytest.mark.parametrize("data", [b"", b"many\n", b"4 5", b"\xff\xfe", b"x" * 100_000, b"-", b"auto"])
def test_a_file_that_says_nothing_at_the_start(tmp_path, data):
    (tmp_path / "size").write_bytes(data)
    with pytest.raises(ConfigError, match=r"size: .*(invalid number of workers|can't read it)"):
        parse_sizing(str(tmp_path / "size"))


def test_a_file_that_is_not_there():
    with pytest.raises(ConfigError, match="no file has that name"):
        parse_sizing("nowhere/size")
    with pytest.raises(ConfigError, match="can't read it: Is a directory"):
        parse_sizing("/")


def test_a_pipe_is_read_once(tmp_path):
    read, write = os.pipe()
    os.write(write, b"3\n")
    os.close(write)
    sizing = parse_sizing(f"/dev/fd/{read}")
    os.close(read)
    assert sizing.workers == 3
    assert sizing.file.poll() is None


def test_looks_tell_what_is_new_and_each_mistake_once():
    gone = FileNotFoundError(2, "No such file or directory")
    contents = ["2", "2", "3", "", "4", "", "", "", "four", "four", "5 ", gone, gone, "5", "0", "6"]
    coming = iter(contents)

    def read(_path):
        found = next(coming)
        if isinstance(found, Exception):
            raise found
        return found

    file = SizeFile("size", read)
    assert file.first() == 2
    found = [file.poll() for _ in contents[1:]]
    assert [each if not isinstance(each, str) else "told" for each in found] == [
        None, 3, None, 4, None, "told", None, "told", None, 5, "told", None, 5, 0, 6
    ]  # fmt: skip


def test_no_more_workers_than_there_is_work_for():
    assert parse_sizing("8").at_most(3).workers == 3
    assert parse_sizing("8").at_most(0).workers == 1
    assert parse_sizing("2").at_most(None).workers == 2
    assert parse_sizing("auto:2-8").at_most(1) == parse_sizing("auto:2-8")
