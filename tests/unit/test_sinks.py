"""Outputs are whole under their final name or not there at all."""


import gzip
import os
import signal

import pytest

from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.graph import barrier
from orchestrator.sinks.disk.append_file import AppendFile
from orchestrator.sinks.disk.in_place import InPlaceFile, ReaderGoneError
from orchestrator.sinks.disk.output_file import own_descriptor, resolve
from orchestrator.sinks.files import FileSink, FolderSink, refuse_input
from workers.records.blocks import BlockResult, Origin


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
    sink.open()
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
    sink = InPlaceFile("standard output", write)
    sink.write(b"a\n")
    os.close(read)
    with pytest.raises(ReaderGoneError):
        sink.write(b"b\n")
    sink.abort()
    os.close(write)
    with pytest.raises(ConfigError, match="closed"):
        InPlaceFile("standard output", write)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
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


def kept(path, secret="of the run"):  # noqa: S107 - of a file's name
    sink = FileSink(str(path))
    sink.keep_as(secret)
    return sink


def test_a_file_that_is_gone_on_with_is_as_long_as_it_was(tmp_path):
    first = kept(tmp_path / "out")
    first.write(result(b"one\n"))
    state = first.snapshot()
    other = kept(tmp_path / "out", "of another run")
    other.write(result(b"two\n"))
    other.abort()
    first.write(result(b"lost\n"))
    first.abort()
    again = kept(tmp_path / "out")
    again.restore(state)
    again.write(result(b"more\n"))
    again.close()
    assert (tmp_path / "out").read_bytes() == b"one\nmore\n"


def shorter(part, _folder):
    os.truncate(part, 2)


def longer_again(part, _folder):
    part.write_bytes(b"x" * 100)


def linked_to(part, folder):
    part.unlink()
    part.symlink_to(folder / "victim")


def linked_hard(part, folder):
    os.link(part, folder / "second")


def a_pipe(part, _folder):
    part.unlink()
    os.mkfifo(part)


def gone(part, _folder):
    part.unlink()


@pytest.mark.parametrize("meddle", [shorter, longer_again, linked_to, linked_hard, a_pipe, gone])
def test_a_file_that_somebody_has_meddled_with_is_refused_and_left_alone(tmp_path, meddle):
    (tmp_path / "victim").write_bytes(b"the victim's")
    first = kept(tmp_path / "out")
    first.write(result(b"one\n"))
    state = first.snapshot()
    first.abort()
    [part] = tmp_path.glob(".out.*.part")
    meddle(part, tmp_path)
    for _ in range(2):
        again = kept(tmp_path / "out")
        with pytest.raises(OrchestratorError, match=r"can't resume from .*\.part, the unfinished output of .*/out: "):
            again.restore(state)
        again.abort()
    assert (tmp_path / "victim").read_bytes() == b"the victim's"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("meddle", [shorter, longer_again, linked_to, a_pipe, gone])
@pytest.mark.parametrize("when", ["snapshot", "close"])
def test_a_file_that_somebody_meddles_with_while_it_is_written_never_counts_as_whole(tmp_path, meddle, when):
    (tmp_path / "victim").write_bytes(b"the victim's")
    sink = FileSink(str(tmp_path / "out"))
    sink.write(result(b"one\n"))
    [part] = tmp_path.glob(".out.*.part")
    meddle(part, tmp_path)
    with pytest.raises(OrchestratorError, match=r"somebody else has changed .*\.part"):
        getattr(sink, when)()
    assert not sink.is_final
    sink.abort()
    assert not sink.is_final
    assert (tmp_path / "victim").read_bytes() == b"the victim's"
    assert sorted(os.listdir(tmp_path)) == ["victim"]


def test_names_beside_an_output_can_not_be_guessed_and_fit_however_long_it_is(tmp_path):
    seen = set()
    for name in ("out", "é" * 127, "x" * 255):
        for _ in range(3):
            sink = FileSink(str(tmp_path / name))
            sink.open()
            [part] = os.listdir(tmp_path)
            seen.add(part)
            sink.close()
            assert os.listdir(tmp_path) == [name]
            os.unlink(tmp_path / name)
    assert len(seen) == 9
    with pytest.raises(ConfigError, match="File name too long"):
        FileSink(str(tmp_path / ("x" * 256)))


def test_a_trap_at_the_name_of_a_part_is_not_written_through(tmp_path):
    """Even one who knows the secret gets nobody to write through a link."""
    (tmp_path / "victim").write_bytes(b"the victim's")
    first = kept(tmp_path / "out")
    first.write(result(b"one\n"))
    first.abort()
    [part] = tmp_path.glob(".out.*.part")
    linked_to(part, tmp_path)
    with pytest.raises(OrchestratorError, match="is a link, so it is not from an earlier run"):
        kept(tmp_path / "out").write(result(b"two\n"))
    assert (tmp_path / "victim").read_bytes() == b"the victim's"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o4755])
def test_a_replaced_file_keeps_owner_group_and_mode(tmp_path, mode):
    (tmp_path / "out").write_text("old")
    os.chown(tmp_path / "out", 1234, 4321)
    (tmp_path / "out").chmod(mode)
    sink = FileSink(str(tmp_path / "out"))
    sink.write(result(b"new"))
    [part] = tmp_path.glob(".out.*.part")
    assert part.stat().st_mode & 0o777 == 0o600
    sink.close()
    found = (tmp_path / "out").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1234, 4321, mode)


def test_a_group_that_can_not_be_kept_gets_no_more_than_everybody(tmp_path, monkeypatch):
    (tmp_path / "out").write_text("old")
    (tmp_path / "out").chmod(0o664)
    sink = FileSink(str(tmp_path / "out"))
    sink.open()
    monkeypatch.setattr(os, "fchown", refused)
    of_another_group = list(os.stat(tmp_path / "out"))
    of_another_group[5] += 1
    sink._file._old = os.stat_result(of_another_group)
    sink.close()
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o644


def refused(*_args):
    raise PermissionError


def test_links_in_shared_folders_are_followed_only_if_they_are_ours(tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (tmp_path / "real").write_text("old")
    (shared / "out").symlink_to(tmp_path / "real")
    assert resolve(str(shared / "out")) == str(tmp_path / "real")
    monkeypatch.setattr(os, "geteuid", lambda: os.lstat(shared / "out").st_uid + 1)
    os.chown(shared, 77, -1) if os.getuid() == 0 else pytest.skip("only root gives folders away")
    with pytest.raises(ConfigError, match="another user has left in a folder that everybody can write to"):
        FileSink(str(shared / "out"))


def test_a_descriptor_is_known_through_any_name_of_it(tmp_path):
    read, write = os.pipe()
    (tmp_path / "link").symlink_to(f"/dev/fd/{write}")
    names = [f"/dev/fd/{write}", f"/proc/self/fd/{write}", f"/proc/{os.getpid()}/fd/{write}", f"/proc/thread-self/fd/{write}",
             str(tmp_path / "link"), f"/dev/../dev/fd/{write}"]  # fmt: skip
    for name in names:
        assert own_descriptor(name) == write
        sink = FileSink(name)
        sink.write(result(name.encode()))
        sink.close()
        assert os.read(read, 1000) == name.encode()
    with pytest.raises(ConfigError, match="open only for reading"):
        FileSink(f"/dev/fd/{read}")
    os.close(read)
    os.close(write)
    with pytest.raises(ConfigError, match="is closed"):
        FileSink(f"/dev/fd/{write}")
    assert own_descriptor("/dev/stdout") == 1
    assert own_descriptor("/dev/null") is None


def test_a_descriptor_of_a_file_is_written_on_where_it_is(tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"before ")
    sink = FileSink(f"/dev/fd/{fd}")
    sink.write(result(b"results"))
    sink.close()
    os.write(fd, b" behind")
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == b"before results behind"


def test_a_descriptor_that_became_another_file_is_not_written_to(tmp_path):
    fd = os.open(tmp_path / "one", os.O_RDWR | os.O_CREAT)
    sink = FileSink(f"/dev/fd/{fd}")
    other = os.open(tmp_path / "two", os.O_RDWR | os.O_CREAT)
    os.dup2(other, fd)
    os.close(other)
    with pytest.raises(OrchestratorError, match="Bad file descriptor"):
        sink.write(result(b"results"))
    os.close(fd)
    assert (tmp_path / "two").read_bytes() == b""


def test_a_fifo_is_a_stream_and_the_wait_for_its_reader_can_be_ended(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    sink = FileSink(str(tmp_path / "fifo"))

    def interrupt(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(KeyboardInterrupt):
            sink.open()
    finally:
        signal.signal(signal.SIGALRM, old)
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    sink.write(result(b"results"))
    assert os.read(reader, 100) == b"results"
    os.close(reader)
    with pytest.raises(ReaderGoneError):
        sink.write(result(b"more"))
    sink.abort()
    assert sink.in_place
    with pytest.raises(ConfigError, match="not a regular file"):
        sink.keep_as("secret")


def test_what_was_cut_short_is_refused_and_not_filled_up(tmp_path, monkeypatch):
    monkeypatch.setattr(barrier, "HELD_ITEMS", 1)
    log = AppendFile(str(tmp_path / "log"), "the job log", goes_on=False)
    log.write(b"some lines")
    held = barrier.BarrierNode("barrier")
    held.keep_written(str(tmp_path / "node"), "secret")
    held.receive([1, 2, 3], 0)
    states = log.snapshot(), held.snapshot()
    log.close()
    held.failed = True
    held.close()
    os.truncate(tmp_path / "log", 4)
    os.truncate(tmp_path / "node-held", 4)
    for _ in range(2):
        log = AppendFile(str(tmp_path / "log"), "the job log", goes_on=True)
        with pytest.raises(OrchestratorError, match=r"the job log .* it has 4 bytes of 10"):
            log.restore(states[0])
        log.close()
        held = barrier.BarrierNode("barrier")
        held.keep_written(str(tmp_path / "node"), "secret")
        with pytest.raises(OrchestratorError, match="waiting at 'barrier': it has 4 bytes of"):
            held.restore(states[1])
        held.failed = True
        held.close()
