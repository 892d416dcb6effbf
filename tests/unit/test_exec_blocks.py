"""Blocks of records for commands, against plain Python; how rows fill a command; and how lines are passed on."""

import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.waiting import until

from orchestrator.cli.exec.arguments.packing import LONGEST_LINE, PackedRows, Packing
from orchestrator.cli.exec.arguments.rows import ListedRows
from orchestrator.cli.exec.blocks.cutting import Block, Cut, FileBlocks, PipedBlocks
from orchestrator.cli.exec.blocks.dealing import DealtBlocks
from orchestrator.cli.exec.blocks.ends import RecordEnds
from workers.commands.inputs import Input
from workers.commands.lines import PassedLines


def content(block):
    with open(block.input.path, "rb") as file:
        file.seek(block.input.start)
        return block.input.before, file.read(block.input.end - block.input.start)


def pipe_of(data):
    read, write = os.pipe()

    def fill():
        with open(write, "wb") as file:
            file.write(data)

    threading.Thread(target=fill).start()
    return read


@pytest.mark.parametrize("kind", ["file", "part", "pipe"])
@given(
    sizes=st.lists(st.sampled_from([0, 1, 7, 100, 4_095, 4_096, 20_000]), max_size=12),
    size=st.sampled_from([1, 50, 5_000, 1_000_000]),
    header=st.integers(0, 2),
    ended=st.booleans(),
)
def test_blocks_are_whole_records_and_all_of_them(tmp_path_factory, kind, sizes, size, header, ended):
    data = b"".join(b"x" * each + b"\n" for each in sizes)
    data = data if ended else data[:-1]
    whole = [line for line in data.splitlines(keepends=True)[:header] if line.endswith(b"\n")]
    cut = Cut(RecordEnds(), size, header_lines=header)
    path = tmp_path_factory.getbasetemp() / f"{kind}.txt"
    path.write_bytes(data)
    fd = pipe_of(data) if kind == "pipe" else -1
    blocks = PipedBlocks(fd, cut) if kind == "pipe" else FileBlocks([str(path)], cut, overshoots=kind == "part")
    found = []
    for block in blocks:
        found.append(content(block))
        block.release()
    blocks.close()
    if fd >= 0:
        os.close(fd)
    assert all(before == b"".join(whole) for before, _ in found)
    assert b"".join(own for _, own in found) == data[len(b"".join(whole)) :]
    assert all(own.endswith(b"\n") for _, own in found[:-1])
    assert all(own for _, own in found)


@given(sizes=st.lists(st.sampled_from([1, 1_000, 60_000, LONGEST_LINE]), min_size=1, max_size=30), workers=st.integers(1, 4))
def test_a_command_is_filled_up_to_the_longest_line(sizes, workers):
    rows = [("x" * size,) for size in sizes]
    packed = list(PackedRows(ListedRows(rows, 1), Packing(fills=True), workers=workers, cost=lambda row: len(row[0])))
    assert [each for row in packed for each in row] == [row[0] for row in rows]
    assert all(len(row) == 1 or sum(map(len, row)) <= LONGEST_LINE for row in packed)


def test_whole_lines_are_passed_on_alone_while_another_worker_writes(tmp_path):
    lock, (read, write) = tmp_path / "lock", os.pipe()
    lock.touch()
    passed = PassedLines(write, str(lock), b"t\t")
    os.write(passed.write_fd, b"ha")
    assert passed.pass_on()
    os.write(passed.write_fd, b"lf\nand\nre")
    with lock.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = threading.Thread(target=passed.pass_on)
        thread.start()
        inode = f":{lock.stat().st_ino} "
        with open("/proc/locks") as locks:
            until(lambda: locks.seek(0) or any("->" in each and inode in each for each in locks))
        os.set_blocking(read, False)
        with pytest.raises(BlockingIOError):
            os.read(read, 100)
    thread.join()
    assert os.read(read, 100) == b"t\thalf\nt\tand\n"
    passed.leave()
    passed.finish()
    assert os.read(read, 100) == b"t\tre"
    os.close(read)
    os.close(write)


class TornBlocks:
    """Blocks of a file, behind which reading fails."""

    total = None
    width = 1

    def __init__(self, path, many):
        self.blocks = [Block(Input(str(path), 0, path.stat().st_size)) for _ in range(many)]

    def ready(self):
        return True

    def when_ready(self, call):
        pass

    def close(self):
        pass

    def __iter__(self):
        yield from self.blocks
        raise OSError("torn")


@pytest.mark.parametrize("many", [0, 1, 5])
def test_what_can_not_be_read_fails_the_commands_that_blocks_are_dealt_to(tmp_path, many):
    """What came before it is dealt, and each command sees the end of its input."""
    (tmp_path / "in").write_bytes(b"line\n" * 1000)
    dealt, told = DealtBlocks(TornBlocks(tmp_path / "in", many), 2), threading.Event()
    dealt.when_ready(told.set)
    pipes = iter(dealt)
    got = b""
    if many:
        paths = [Path(next(pipes).input.path) for _ in range(2)]
        with ThreadPoolExecutor(2) as readers:
            got = b"".join(readers.map(Path.read_bytes, paths))
        assert told.wait(30)
        assert dealt.ready()
    with pytest.raises(OSError, match="torn"):
        next(pipes)
    assert got == (tmp_path / "in").read_bytes() * many
    for hand in dealt._hands:
        hand.release()
