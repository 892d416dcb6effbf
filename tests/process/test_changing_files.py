"""A file that changes while it is read gives what it held at the start, or an error that names it; never anything else."""

import gzip
import lzma
import os
import shutil

import pytest

from orchestrator import Pool, Stream, run
from orchestrator.errors import OrchestratorError
from orchestrator.sources.files import FileSource
from orchestrator.sources.inputs import expand
from workers.records.formats.registry import find
from workers.records.identity import FileChangedError
from workers.records.reading.positions import UnreadableError
from workers.records.reading.reader import RecordReader

ROWS = 400
CONTENT = {
    "lines": "".join(f"line {i} of the first\n" for i in range(ROWS)),
    "jsonl": "".join(f'{{"at": {i}, "of": "first"}}\n' for i in range(ROWS)),
    "csv": "at,of\n" + "".join(f'{i},"the\nfirst"\n' for i in range(ROWS)),
    "blocks": "x" * 9000,
}
CONTENT = {name: text.encode() for name, text in CONTENT.items()}
COMPRESS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}


def other(data):
    """As long, and nothing of it is the same record."""
    return data.replace(b"first", b"other").replace(b"x", b"y")


def truncate(path):
    os.truncate(path, path.stat().st_size // 3)


def empty(path):
    os.truncate(path, 0)


def replace(path):
    mine = path.with_name("other")
    mine.write_bytes(other(path.read_bytes()))
    mine.rename(path)


def rename(path):
    path.rename(path.with_name("elsewhere"))


def remove(path):
    path.unlink()


def rewrite(path):
    path.write_bytes(other(path.read_bytes()))
    os.utime(path, ns=(1, 1))  # whatever the clock's resolution


def touch(path):
    os.utime(path, ns=(1, 1))


def write_the_same(path):
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(2, 2))


def change_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))


def rewrite_longer(path):
    path.write_bytes(other(path.read_bytes()) * 2)


def become_a_fifo(path):
    path.unlink()
    os.mkfifo(path)


def grow(path):
    with path.open("ab") as file:
        file.write(path.read_bytes())


def copy_in_place(path):
    mine = path.with_name("longer")
    mine.write_bytes(b"1" * 100 + path.read_bytes())
    shutil.copyfile(mine, path)


CHANGES = [
    truncate, empty, replace, rename, remove, rewrite, rewrite_longer, become_a_fifo, grow, copy_in_place, touch,
    write_the_same, change_a_byte,
]  # fmt: skip
KEEPS = {replace, rename, remove, become_a_fifo, grow, touch, write_the_same}
"""Those after which what was there at the start can still be read, as long as the source keeps the file open."""


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("record_format", CONTENT)
@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("after", [0, 2])
def test_what_was_there_at_the_start_or_an_error(tmp_path, change, record_format, ending, after):
    """The file changes behind so many chunks, of which none was read in a worker yet."""
    path = tmp_path / f"input{ending}"
    path.write_bytes(COMPRESS[ending](CONTENT[record_format]))
    reader = RecordReader(find(record_format))
    expected = [record for chunk in FileSource(expand([str(path)]), find(record_format), 512) for record in reader(chunk)]
    source = FileSource(expand([str(path)]), find(record_format), 512)
    chunks = [next(source) for _ in range(after)]
    change(path)
    try:
        chunks += source
        found = [record for chunk in chunks for record in reader(chunk)]
    except (OrchestratorError, UnreadableError, FileChangedError) as error:
        failed = str(error)
    else:
        failed = ""
        assert found == expected
    finally:
        source.close()
    assert not failed or (str(path) in failed and change not in KEEPS), failed


def test_a_large_file_whose_time_changes_counts_as_rewritten(tmp_path):
    path = tmp_path / "input"
    path.write_bytes(b"x\n" * 2**20)
    source = FileSource(expand([str(path)]), find("lines"), 2**20)
    chunks = list(source)
    change_a_byte(path)
    with pytest.raises(FileChangedError, match="rewritten"):
        RecordReader(find("lines"))(chunks[0])
    source.close()


class ChangesAtFirst:
    """Does something to the file that its first record comes from, in a worker."""

    def __init__(self, change, path):
        self.change, self.path = change, path

    def __call__(self, record):
        try:
            self.path.with_name("done").touch(exist_ok=False)
        except FileExistsError:
            return record
        self.change(self.path)
        return record


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("record_format", ["lines", "csv"])
def test_workers_read_it_whole_or_the_stream_fails(tmp_path, change, record_format):
    path = tmp_path / "input"
    path.write_bytes(CONTENT[record_format])
    expected, found, failed = [], [], ""
    with Pool(2) as pool:
        run(Stream.read(path, record_format).to(expected), pool=pool)
        try:
            read = Stream.read(path, record_format, block_bytes=256)
            run(read.map(ChangesAtFirst(change, path)).to(found), pool=pool)
        except Exception as error:
            failed = f"{error} {error.__cause__}"
    if failed:
        assert str(path) in failed
        assert change not in KEEPS, failed
    else:
        assert found == expected


def test_a_stream_over_a_file_that_was_changed_between_two_runs_reads_what_is_there(tmp_path):
    path = tmp_path / "input"
    path.write_text("1\n")
    stream = Stream.read(path)
    assert stream.collect() == ["1"]
    path.unlink()
    path.write_text("2\n3\n")
    assert stream.collect() == ["2", "3"]


def test_many_files_are_not_all_kept_open(tmp_path):
    for number in range(200):
        (tmp_path / f"{number:03}").write_text(f"{number}\n")
    before = len(os.listdir("/proc/self/fd"))
    source = FileSource(expand([str(tmp_path / "*")]), find("lines"), 100)
    chunks = list(source)
    assert len(chunks) == 200
    assert len(os.listdir("/proc/self/fd")) - before <= 64
    source.close()
    assert len(os.listdir("/proc/self/fd")) == before
