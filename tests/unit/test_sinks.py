"""Outputs are whole under their final name or not there at all."""


import gzip
import os

import pytest

from orchestrator.cli.appended import AppendedFile
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.graph import holding
from orchestrator.sinks.files import FileSink, FolderSink, refuse_input
from orchestrator.sinks.stdout import ReaderGoneError, StdoutSink
from workers.chunks import BlockResult, Origin


def result(payload, *, file=0, index=0, last=False, fields=None):
    origin = Origin(index, f"in{file}", file, index, last, 0)
    return BlockResult(origin, payload, 1, 1, 0, 0, (), fields, 0, 0, 0.0, 0.0, 0.0, 0, 0)


def test_a_file_appears_when_it_is_closed(tmp_path):
    sink = FileSink(str(tmp_path / "out"))
    sink.write(result(b"a\n"))
    sink.write(result(None))
    sink.write(result(memoryview(b"b\n")))
    assert not (tmp_path / "out").exists()
    sink.close()
    assert (tmp_path / "out").read_bytes() == b"a\nb\n"
    assert os.listdir(tmp_path) == ["out"]


def test_an_aborted_file_leaves_the_old_one_and_nothing_else(tmp_path):
    (tmp_path / "out").write_text("old")
    sink = FileSink(str(tmp_path / "out"))
    sink.write(result(b"a\n"))
    sink.abort()
    sink.abort()
    assert (tmp_path / "out").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_a_replaced_file_keeps_its_mode_and_its_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    sink = FileSink(str(tmp_path / "link"))
    sink.write(result(b"new"))
    sink.close()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640


def test_devices_are_written_to_directly():
    sink = FileSink("/dev/null")
    sink.write(result(b"a\n"))
    sink.close()


def test_a_full_disk_is_one_clear_error():
    sink = FileSink("/dev/full")
    with pytest.raises(OrchestratorError, match="No space left on device"):
        sink.write(result(b"a\n"))
    sink.abort()


def test_a_missing_folder_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match="no folder"):
        FileSink(str(tmp_path / "nowhere" / "out"))


def test_an_output_that_is_an_input_is_a_mistake(tmp_path):
    (tmp_path / "a").write_text("")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ConfigError, match="one of the inputs"):
        refuse_input(str(tmp_path / "b"), ["-", str(tmp_path / "a")])


def test_an_empty_compressed_output_is_a_valid_file(tmp_path):
    FileSink(str(tmp_path / "out.gz")).close()
    assert (tmp_path / "out.gz").stat().st_size
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == b""


def test_the_csv_header_is_written_once_and_columns_are_put_in_its_order(tmp_path):
    sink = FileSink(str(tmp_path / "out.csv"))
    sink.write(result(b"plain\n"))
    sink.write(result(b"1,2\n", fields=("a", "b,c")))
    sink.write(result(b"3,4\n", fields=("a", "b,c")))
    sink.write(result(b'"6\n6",5\n', fields=("b,c", "a")))
    with pytest.raises(OrchestratorError, match="columns a, b,c, but results for in0 have x"):
        sink.write(result(b"1\n", fields=("x",)))
    sink.close()
    assert (tmp_path / "out.csv").read_bytes() == b'plain\na,"b,c"\n1,2\n3,4\n5,"6\n6"\n'


def test_a_compressed_csv_can_be_put_in_order_too(tmp_path):
    sink = FileSink(str(tmp_path / "out.csv.gz"))
    sink.write(result(gzip.compress(b"1,2\n"), fields=("a", "b")))
    sink.write(result(gzip.compress(b"4,3\n"), fields=("b", "a")))
    sink.close()
    assert gzip.decompress((tmp_path / "out.csv.gz").read_bytes()) == b"a,b\n1,2\n3,4\n"


def test_a_folder_gets_a_file_an_input_closed_with_its_last_chunk_in_any_order(tmp_path):
    out = tmp_path / "out"
    sink = FolderSink(str(out), ["x/a.txt.gz", "b.txt", "-"])
    sink.write(result(b"3", file=0, index=2, last=True))
    sink.write(result(b"9", file=1, index=0, last=True))
    assert (out / "b.txt").read_bytes() == b"9"
    sink.write(result(b"1", file=0, index=0))
    assert not (out / "a.txt").exists()
    sink.write(result(b"2", file=0, index=1))
    assert (out / "a.txt").read_bytes() == b"312"
    sink.write(result(b"0", file=2, index=0))
    sink.abort()
    assert sorted(os.listdir(out)) == ["a.txt", "b.txt"]


def test_two_inputs_of_one_name_are_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match=r"x/a and y/a\.gz would both be written"):
        FolderSink(str(tmp_path), ["x/a", "y/a.gz"])


def test_stdout_whose_reader_left():
    read, write = os.pipe()
    sink = StdoutSink(write)
    sink.write(result(b"a\n"))
    os.close(read)
    with pytest.raises(ReaderGoneError):
        sink.write(result(b"b\n"))
    os.close(write)
    with pytest.raises(ConfigError, match="closed"):
        StdoutSink(write)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("call", ["fsync", "close", "replace", "open"])
def test_a_signal_in_the_middle_of_the_end_leaves_the_whole_file_or_none(tmp_path, monkeypatch, call, before):
    """The handler's exception comes before or after each step of the end; `is_final` says which it was."""
    sink = FileSink(str(tmp_path / "out"))
    sink.write(result(b"all"))
    real = getattr(os, call)

    def interrupted(*arguments, **options):
        monkeypatch.setattr(os, call, real)
        if not before:
            made = real(*arguments, **options)
            if call == "open":
                os.close(made)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, call, interrupted)
    with pytest.raises(KeyboardInterrupt):
        sink.close()
    sink.abort()
    whole = (call == "replace" and not before) or call == "open"  # opened is the folder, to be synced
    assert sink.is_final == whole
    assert os.listdir(tmp_path) == (["out"] if whole else [])


def test_a_file_that_is_gone_on_with_is_as_long_as_it_was_and_nobody_elses(tmp_path):
    def kept():
        sink = FileSink(str(tmp_path / "out"), kept=True)
        sink.keep()
        return sink

    first = kept()
    first.write(result(b"one\n"))
    state = first.snapshot()
    with pytest.raises(OrchestratorError, match="another run is writing to it"):
        kept().write(result(b"two\n"))
    with pytest.raises(OrchestratorError, match="another run is writing to it"):
        kept().restore(state)
    first.write(result(b"lost\n"))
    first.abort()
    os.truncate(tmp_path / ".out.part", 2)
    for _ in range(2):
        again = kept()
        with pytest.raises(OrchestratorError, match="it has 2 bytes of 4"):
            again.restore(state)
        again.abort()


def test_what_was_cut_short_is_refused_and_not_filled_up(tmp_path, monkeypatch):
    monkeypatch.setattr(holding, "HELD_ITEMS", 1)
    log = AppendedFile(str(tmp_path / "log"), "the job log")
    log.write(b"some lines")
    held = holding.Hold("barrier")
    held.keep_written(str(tmp_path / "node"))
    held.receive([1, 2, 3], 0)
    states = log.snapshot(), held.snapshot()
    log.close()
    held.failed = True
    held.close()
    os.truncate(tmp_path / "log", 4)
    os.truncate(tmp_path / "node-held", 4)
    for _ in range(2):
        log = AppendedFile(str(tmp_path / "log"), "the job log", goes_on=True)
        with pytest.raises(OrchestratorError, match=r"the job log .* it has 4 bytes of 10"):
            log.restore(states[0])
        log.close()
        held = holding.Hold("barrier")
        held.keep_written(str(tmp_path / "node"))
        with pytest.raises(OrchestratorError, match="waits at 'barrier': it has 4 bytes of"):
            held.restore(states[1])
        held.failed = True
        held.close()
