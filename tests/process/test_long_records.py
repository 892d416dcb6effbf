"""A record that is longer than is allowed fails by name; the others are read, in bounded memory, however the file comes."""

import bz2
import gzip
import json
import lzma
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ItemError, Pool, Stream, run
from workers.records.formats.cutting import LineCutter, TooLong
from workers.records.formats.kinds.csv import CsvCutter
from workers.records.formats.registry import find

LIMIT = 5000
LONG = "x" * 200_000
PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def keep(record):
    return record


def text_of(record_format):
    """What a file holds, which records are good, and on which line the long one begins."""
    if record_format == "csv":
        head = "a,b\n" + "".join(f"{n},y\n" for n in range(300))
        tail = "".join(f"{n},z\n" for n in range(300))
        good = [{"a": str(n), "b": letter} for letter in "yz" for n in range(300)]
        return head + f'long,"{LONG[:90_000]}\n{LONG}"\n' + tail, good, 302
    if record_format == "jsonl":
        good = [{"n": n} for n in range(600)]
        lines = [json.dumps(value) for value in good]
        return "\n".join([*lines[:300], json.dumps(LONG), *lines[300:]]) + "\n", good, 301
    good = [f"line {n}" for n in range(600)]
    return "\n".join([*good[:300], LONG, *good[300:]]) + "\n", good, 301


@pytest.fixture
def pool():
    with Pool(2) as pool:
        yield pool


@pytest.mark.parametrize(
    ("packed", "block"), [("", 100), ("", 3000), ("", 1 << 20), (".gz", 3000), (".bz2", 1 << 20), (".xz", 70_000)]
)
@pytest.mark.parametrize("record_format", ["lines", "jsonl", "csv"])
def test_the_others_are_read_and_it_is_named(pool, tmp_path, record_format, packed, block):
    text, good, line = text_of(record_format)
    path = tmp_path / f"in{packed}"
    path.write_bytes(PACK[packed](text.encode()))
    read = Stream.read(str(path), format=record_format, block_bytes=block, max_record=LIMIT)
    found, letters = [], []
    run(read.map(keep, on_error="skip", dead_letters=letters.append).to(found), pool=pool)
    assert found == good
    [letter] = letters
    assert letter.place.line == line
    assert "larger than 5,000 bytes" in str(letter.error)
    with pytest.raises(ItemError, match=f"{path}, line {line}\\b.*larger than 5,000 bytes"):
        run(read.map(keep).to(None), pool=pool)


@pytest.mark.parametrize("source", ["file", "gz", "stdin", "pipe"])
def test_the_command(tmp_path, source):
    text, good, _ = text_of("lines")
    (tmp_path / "f.py").write_text("def f(line):\n    return line\n")
    (tmp_path / "in").write_text(text)
    (tmp_path / "in.gz").write_bytes(gzip.compress(text.encode()))
    name = {"file": "in", "gz": "in.gz", "stdin": "-", "pipe": "<(cat in)"}[source]
    line = f"{sys.executable} -m orchestrator run f.py:f {name} -o out --max-record 5K --on-error skip <in"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "line 301: " in done.stderr
    assert (tmp_path / "out").read_text().splitlines() == good


BOMB = """
import sys
sys.argv = ["orchestrator", "run", "f.py:f", "bomb.gz", "-o", "out", "--max-record", "16M", "-j", "1", "-q"]
from orchestrator.cli import run_command_line
code = run_command_line(sys.argv[1:])
print(code, next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) // 1024)
"""


def test_a_small_file_with_one_huge_line_takes_little_memory(tmp_path):
    with gzip.open(tmp_path / "bomb.gz", "wb", 1) as file:
        for _ in range(200):
            file.write(bytes(1 << 20).replace(b"\0", b"x"))
    (tmp_path / "f.py").write_text("def f(line):\n    return str(len(line))\n")
    done = subprocess.run(
        [sys.executable, "-c", BOMB], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    code, megabytes = map(int, done.stdout.split())
    assert code == 1
    assert "bomb.gz, line 1: " in done.stderr
    assert megabytes < 150


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=12), st.integers(1, 20), st.booleans())
def test_cutters_keep_what_is_short_and_measure_what_is_long(lines, limit, csv):
    data = b"".join(b"y" * length + b"\n" for length, _ in lines)
    cut, found, at, sizes = (CsvCutter(find("csv"), limit) if csv else LineCutter(limit)), [], 0, [size for _, size in lines]
    data = (b"h\n" + data) if csv else data
    while at < len(data):
        size = sizes[at % len(sizes)] if sizes else 1
        found += cut.feed(data[at : at + size])
        at += size
    found.append(cut.finish())
    total = sum(each.size_bytes if isinstance(each, TooLong) else len(each) for each in found)
    ends = sum(each.line_ends if isinstance(each, TooLong) else each.count(b"\n") for each in found)
    assert total == len(data) - 2 * csv
    assert ends == len(lines)
    assert all(each.size_bytes > limit for each in found if isinstance(each, TooLong))
    kept = b"".join(each for each in found if isinstance(each, bytes)).split(b"\n")[:-1]
    short = [b"y" * length for length, _ in lines if length + 1 <= limit]
    assert [line for line in kept if len(line) + 1 <= limit] == short


def test_no_limit_reads_whatever_there_is(pool, tmp_path):
    text, _, _ = text_of("lines")
    (tmp_path / "in").write_text(text)
    assert LONG in Stream.read(str(tmp_path / "in"), max_record=0).map(keep).collect()


def test_not_enough_memory_names_the_file(tmp_path):
    (tmp_path / "in.txt").write_bytes(b"x" * (300 << 20))
    (tmp_path / "f.py").write_text("def f(line):\n    return str(len(line))\n")
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (900 << 20,) * 2); "
        "from orchestrator.cli import run_command_line; "
        "sys.exit(run_command_line(['run', 'f.py:f', 'in.txt', '-o', 'out', '--max-record', '0', '-j', '1']))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in {0, 1}
    if done.returncode:
        assert "in.txt" in done.stderr
        assert "memory" in done.stderr.lower()
