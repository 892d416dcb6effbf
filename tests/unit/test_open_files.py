"""Open files as sinks: text and binary, of any kind; flushed at the end and left open, also when the run fails."""

# ruff: noqa: SIM115 - files that stay open are what is tested

import bz2
import codecs
import gzip
import io
import json
import os
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from orchestrator import ConfigError, ItemError, OrchestratorError, Stream, run

ITEMS = ["plain", "öäü €", b"bytes", {"a": [1, None]}, 7, None]
LINES = 'plain\nöäü €\nbytes\n{"a": [1, null]}\n7\nnull\n'

OPENERS = {
    "text": lambda p: open(p, "w", encoding="utf-8"),
    "binary": lambda p: open(p, "wb"),
    "unbuffered": lambda p: open(p, "wb", buffering=0),
    "append": lambda p: open(p, "a", encoding="utf-8"),
    "both": lambda p: open(p, "w+b"),
    "gzip": lambda p: gzip.open(p, "wb"),
    "gzip text": lambda p: gzip.open(p, "wt", encoding="utf-8"),
    "bz2": lambda p: bz2.open(p, "wt", encoding="utf-8"),
    "codecs": lambda p: codecs.open(str(p), "w", encoding="utf-8"),
    "stream writer": lambda p: codecs.getwriter("utf-8")(open(p, "wb", buffering=0)),
    "named": lambda p: tempfile.NamedTemporaryFile("w", encoding="utf-8"),
    "spooled": lambda p: tempfile.SpooledTemporaryFile(mode="w+", encoding="utf-8"),
    "StringIO": lambda p: io.StringIO(),
    "BytesIO": lambda p: io.BytesIO(),
}


def content(kind, file, path):
    """What stands in the file, before anybody closes it where that can be read."""
    if kind in {"StringIO", "BytesIO"}:
        found = file.getvalue()
        return found if isinstance(found, str) else found.decode()
    if kind == "spooled":
        file.seek(0)
        return file.read()
    if kind == "named":
        path = file.name
    if kind.startswith(("gzip", "bz2")):
        file.close()
        return (bz2 if kind == "bz2" else gzip).decompress(Path(path).read_bytes()).decode()
    return Path(path).read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", OPENERS)
@pytest.mark.parametrize("end", ["to", "tee", "demultiplex"])
def test_every_kind_of_file_gets_the_lines_and_stays_open(tmp_path, kind, end):
    path = tmp_path / "out"
    file = OPENERS[kind](path)
    stream = Stream(ITEMS)
    if end == "to":
        run(stream.to(file))
    elif end == "tee":
        run(stream.tee(file).to(None))
    else:
        run(stream.demultiplex(lambda _: 1, to=lambda _: file))
    assert not file.closed
    assert content(kind, file, path) == LINES
    file.close()


def test_standard_output_and_the_bytes_below_it(capfd):
    run(Stream(["a", 1]).to(sys.stdout), Stream(["b"]).to(sys.stderr))
    assert capfd.readouterr() == ("a\n1\n", "b\n")
    run(Stream([b"\xc3\xa4"]).to(sys.stdout.buffer))
    assert capfd.readouterr().out == "ä\n"
    assert not sys.stdout.closed


def test_the_files_own_encoding_and_line_ends_hold(tmp_path):
    with open(tmp_path / "x", "w", encoding="utf-16", newline="\r\n") as file:
        run(Stream(["ä", "ö"]).to(file))
    assert (tmp_path / "x").read_bytes().decode("utf-16") == "ä\r\nö\r\n"


def test_the_format_is_that_of_the_name_or_the_one_that_is_given(tmp_path):
    with open(tmp_path / "x.jsonl", "w") as file:
        run(Stream(["a"]).to(file))
    assert (tmp_path / "x.jsonl").read_text() == '"a"\n'
    csv = io.StringIO()
    run(Stream([{"a": 1, "b": 2}]).to(csv, format="csv"))
    assert csv.getvalue() == "a,b\n1,2\n"


def test_a_pipe_takes_what_it_has_room_for():
    receiving, sending = os.pipe()
    os.set_blocking(sending, False)
    got = []

    def read():
        with open(receiving, "rb") as file:
            got.extend(file)

    reader = threading.Thread(target=read)
    with open(sending, "wb", buffering=0) as file:
        reader.start()
        run(Stream([{"n": n, "text": "x" * 1000} for n in range(500)]).to(file))
    reader.join()
    assert [json.loads(line)["n"] for line in got] == list(range(500))


def test_what_came_before_a_failure_is_flushed(tmp_path):
    file = open(tmp_path / "x", "w")
    with pytest.raises(ItemError):
        run(Stream([1, 2, 0]).map_inline(lambda x: 1 // x).to(file))
    assert (tmp_path / "x").read_text() == "1\n0\n"
    assert not file.closed
    file.close()


@pytest.mark.parametrize("mode", ["r", "rb"])
def test_files_that_can_not_be_written_to_are_refused_before_anything_runs(tmp_path, mode):
    (tmp_path / "x").write_text("")
    with open(tmp_path / "x", mode) as file, pytest.raises(ConfigError, match="opened for reading"):
        Stream([1]).to(file)
    with pytest.raises(ConfigError, match="closed"):
        Stream([1]).to(file)


def test_bytes_that_are_no_text_are_told():
    with pytest.raises(OrchestratorError, match="as text"):
        run(Stream([b"\xff"]).to(io.StringIO()))


def test_a_run_of_it_can_not_be_resumed(tmp_path):
    with pytest.raises(ConfigError, match="can't resume"):
        run(Stream([1]).to(io.StringIO()), checkpoint=tmp_path / "kept")
