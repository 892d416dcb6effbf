"""A format is found by its name or the ending of a file's name; those of other packages only when they are asked for."""

import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import ClassVar

import pytest

from orchestrator import ConfigError, Stream
from orchestrator.record_formats import format_to_read, format_to_write
from workers.records.formats import registry
from workers.records.formats.composing import listed
from workers.records.formats.kinds.lines import Lines
from workers.records.line_ends import LineEnds


@dataclass(frozen=True)
class Paragraphs(Lines):
    name = "nul"
    told = "text up to a NUL byte"
    suffixes: ClassVar = {".nul": {}}
    line_ends = LineEnds(b"\0")


@pytest.fixture
def installed(monkeypatch):
    """A package that has the format."""
    registry.known()  # into the table that stays
    asked = []

    def entry_points(*, group):
        asked.append(group)
        return [metadata.EntryPoint("nul", f"{__name__}:Paragraphs", group)]

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    monkeypatch.setattr(registry, "_known", dict(registry._known))
    registry._load_others.cache_clear()
    yield asked
    registry._load_others.cache_clear()


def test_a_format_of_another_package_is_read_and_written(installed, tmp_path):
    assert not installed, "nobody has asked for it"
    (tmp_path / "in.nul").write_bytes(b"one\0two\0")
    assert list(Stream.read(tmp_path / "in.nul", format="nul").map_inline(str)) == ["one", "two"]
    assert installed == ["orchestrator.formats"]
    assert format_to_write(None, "out.nul.gz").name == "nul"


def test_the_name_of_a_file_tells_its_format():
    names = {"a.csv": "csv", "A.TSV.gz": "csv", "b.ndjson": "jsonl", "c": "lines", "d.txt": "lines", "x.csv/y": "lines"}
    assert {name: format_to_write(None, name).name for name in names} == names
    assert format_to_write(None, "a.tsv").delimiter == "\t"
    assert registry.find("csv").of_file("A.TSV.gz").delimiter == "\t"
    assert format_to_read(None, ["https://host/a.parquet.gz?token=a/b.c"]).name == "parquet"
    assert format_to_write(None, "a.csv?b").name == "lines", "a file's name may have a question mark"
    assert format_to_read(None, ["a.csv"]).name == "lines", "text is read as lines unless a format is given"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: format_to_read("jsnl", []), "there is no format 'jsnl'; did you mean 'jsonl'"),
        (lambda: format_to_write("blocks", "out"), "blocks is a format to read, not to write"),
        (lambda: format_to_read("jsonl", [], header=False), "header is not an option of the format jsonl, but of csv: give --format csv (format=)"),
        (lambda: format_to_read("csv", [], errors="ignore"), "errors must be 'strict' or 'replace', not 'ignore'"),
    ],
)
def test_mistakes_are_told(call, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        call()


def test_a_format_of_another_package_that_can_not_be_loaded_is_named(installed, monkeypatch):
    broken = metadata.EntryPoint("gone", "no_such_module", "orchestrator.formats")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [broken])
    with pytest.raises(ConfigError, match=r"can't load the format gone \(no_such_module\).*uninstall"):
        format_to_read("gone", [])


def test_no_package_is_loaded_before_it_is_needed():
    """Not even for --help, which tells of the formats."""
    code = "import sys, orchestrator.cli.run.options as o; o.run_parser().format_help(); print({'pyarrow', 'pandas', 'polars', 'importlib.metadata'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_columns_are_listed_in_bounded_space_whatever_the_keys_are():
    key = type("NoText", (), {"__str__": lambda self: 1 / 0, "__repr__": lambda self: 1 / 0})()
    assert listed(["a b", 1, key]) == "a b, 1, <test_format_registry.NoText object>".replace("test_format_registry", __name__)
    assert len(listed(map(str, range(10**5)))) <= 400
