"""A flat map behind `Stream.read` whose records give more than memory should hold: on disk, as behind other sources.

The oracle is the plain loop; the bound is small, so that all happens in small.
"""

import os
import random
import signal

import pytest
from support.large_flat_maps import peak_bytes, resident_bytes, run_despite_failures

import workers.functions.steps
from orchestrator import Failure, ItemError, Pool, Stream, run


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(workers.functions.steps, "MOST_HELD", 50)


@pytest.fixture
def pool():
    with Pool(2) as pool:
        yield pool


def spread(line):
    x = int(line)
    for n in range(x * 37 % 150):
        yield x, n
        if x % 11 == 5 and n == 60:
            raise ValueError(line)


def few(line):
    return [(int(line), n) for n in range(int(line) % 40)]


def fails(value):
    if value in {(3, 100), (7, 1), (9, 5), (30, 3)}:
        raise ValueError(value)
    return value


def many(value):
    return [value] * (value[1] % 9)


def by_loop(first, lines, *, then):
    """Return what each line gives; None for one that fails."""
    found = []
    for line in lines:
        try:
            values = [fails(value) for value in first(line)]
            found.append([made for value in values for made in many(value)] if then else values)
        except ValueError:
            found.append(None)
    return found


def stream(path, first, *, then, block_bytes, **options):
    flow = Stream.read(path, block_bytes=block_bytes).flat_map(first, **options).map(fails, **options)
    return flow.flat_map(many, **options) if then else flow


def collected(flow, pool):
    found = []
    run(flow.to(found), pool=pool)
    return found


def told(results, groups):
    """Return what results are, with None in the places of failures; and that of the groups."""
    got = [None if isinstance(result, Failure) else result for result in results]
    return got, [value for group in groups for value in ([None] if group is None else group)]


@pytest.mark.parametrize("first", [spread, few])
@pytest.mark.parametrize("then", [False, True])
@pytest.mark.parametrize("most", [3, 50])
def test_results_are_those_of_the_plain_loop(first, then, most, pool, tmp_path, monkeypatch):
    monkeypatch.setattr(workers.functions.steps, "MOST_HELD", most)
    path = tmp_path / "lines"
    lines = [str(random.Random(most).randrange(40)) for _ in range(5)] + [str(n) for n in range(40)]
    path.write_text("".join(f"{line}\n" for line in lines))
    groups = by_loop(first, lines, then=then)
    for block_bytes in (10, 1 << 20):
        for options in ({}, {"retries": 1}, {"timeout": 60}, {"ordered": False}):
            flow = stream(str(path), first, then=then, block_bytes=block_bytes, on_error="return", **options)
            got, wanted = told(collected(flow, pool), groups)
            assert (got if options != {"ordered": False} else sorted(got, key=repr)) == (
                wanted if options != {"ordered": False} else sorted(wanted, key=repr)
            )
    letters = tmp_path / "letters"
    flow = stream(str(path), first, then=then, block_bytes=40, on_error="skip", dead_letters=letters)
    assert collected(flow, pool) == [value for group in groups if group is not None for value in group]
    assert len(letters.read_bytes().splitlines()) == groups.count(None)
    got = []
    with pytest.raises(ItemError) as caught:
        run(stream(str(path), first, then=then, block_bytes=1 << 20).to(got), pool=pool)
    at = groups.index(None)
    assert caught.value.item == lines[at]
    assert got == [value for group in groups[:at] for value in group]


def test_lines_that_are_no_text_keep_their_places(pool, tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"10\n\xff\n11\n12\n\xfe\n")
    flow = Stream.read(str(path), block_bytes=1 << 20).flat_map(lambda line: ((line, n) for n in range(300)), on_error="return")
    got, _ = told(collected(flow, pool), [])
    of = {line: [(line, n) for n in range(300)] for line in ("10", "11", "12")}
    assert got == [*of["10"], None, *of["11"], *of["12"], None]


def test_many_results_that_cannot_be_pickled_are_their_records_failures(pool, tmp_path):
    path = tmp_path / "lines"
    path.write_text("".join(f"{n}\n" for n in range(100)))

    def some(line):
        return [(_ for _ in ()) if line in {"20", "70"} and n == 3 else (line, n) for n in range(20)]

    flow = Stream.read(str(path), block_bytes=1 << 20).flat_map(some, on_error="return")
    got, _ = told(collected(flow, pool), [])
    wanted = [[None] if n in {20, 70} else [(str(n), at) for at in range(20)] for n in range(100)]
    assert got == [value for group in wanted for value in group]


def test_a_worker_that_dies_in_a_record_costs_a_retry(tmp_path):
    path, mark = tmp_path / "lines", tmp_path / "died"
    path.write_text("".join(f"{n}\n" for n in range(20)))

    def dies_once(line):
        for n in range(400):
            if line == "7" and n == 300 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield line, n

    with Pool(2) as pool:
        got = collected(Stream.read(str(path), block_bytes=1 << 20).flat_map(dies_once), pool)
    assert got == [(str(x), n) for x in range(20) for n in range(400)]


@pytest.mark.parametrize("block_bytes", [8, 1 << 20])
def test_a_run_that_failed_goes_on_in_the_middle_of_a_block(block_bytes, pool, tmp_path):
    path, out = tmp_path / "lines", tmp_path / "out"
    path.write_text("".join(f"{n}\n" for n in range(20)))

    def numbers(line):
        return ([int(line), n] for n in range(int(line) * 37 % 150))

    def flow(breaks):
        flow = Stream.read(str(path), block_bytes=block_bytes).flat_map(numbers)
        return flow.map_inline(breaks).to(str(out))

    run_despite_failures(flow, pool, tmp_path / "kept")
    assert out.read_text().splitlines() == [f"[{x}, {n}]" for x in range(20) for n in range(x * 37 % 150)]


@pytest.mark.parametrize(("lines", "each"), [(1, 2_000_000), (100, 20_000)])
def test_memory_stays_flat(lines, each, monkeypatch, tmp_path):
    monkeypatch.undo()
    path = tmp_path / "lines"
    path.write_text("1000000\n" * lines)
    count = most = 0

    def counts(value):
        nonlocal count, most
        count += 1
        if not value % 10_000:
            most = max(most, resident_bytes())

    with Pool(1) as pool:
        run(Stream.read(str(path), block_bytes=1 << 20).flat_map(lambda _: range(1000)).to(None), pool=pool)
        before, own = max(pool.run_on_all(peak_bytes)), resident_bytes()
        flow = Stream.read(str(path), block_bytes=1 << 20).flat_map(lambda line: range(int(line), int(line) + each)).map(lambda n: n + 1)
        run(flow.to(counts), pool=pool)
        assert count == lines * each
        assert max(pool.run_on_all(peak_bytes)) - before < 60 << 20
        assert most - own < 60 << 20
