"""Records of files that kill their workers, hang or raise: all others come out, once, and the one at fault is named."""

import gzip
import json
import os
import signal
import time

import pytest

from orchestrator import Failure, ItemTimeoutError, Pool, Stream, WorkerDiedError, read_dead_letters, run

HURT = {"exit": lambda: os._exit(0), "kill": lambda: os.kill(os.getpid(), signal.SIGKILL), "hang": lambda: time.sleep(60)}


def work(text):
    """Do what the record says."""
    name, _, what = str(text).partition(" ")
    if what == "segv":
        import ctypes

        ctypes.string_at(0)
    if what == "raise":
        raise ValueError(name)
    if what == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            pass
    HURT.get(what, lambda: None)()
    return int(name)


class Poison:
    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        os._exit(1)


def poisoned(text):
    return Poison(int(text)) if text == "77" else int(text)


def lines_with(bad, count=3000):
    """Numbered lines; those in `bad` say what is to happen."""
    return [f"{number} {bad[number]}" if number in bad else str(number) for number in range(count)]


@pytest.fixture
def pool():
    with Pool(2, max_deaths=2) as shared:
        yield shared


def write(path, lines, opener=open):
    with opener(path, "wt") as file:
        file.write("\n".join(lines) + "\n")
    return str(path)


def outcome(stream, pool, **options):
    """Numbers that came out, and failures."""
    out = []
    run(stream.map(work, on_error="return", **options).to(out), pool=pool)
    return out


@pytest.mark.parametrize("opener", [open, gzip.open])
def test_records_that_kill_are_named_and_all_others_come_out_once_in_order(pool, tmp_path, opener):
    bad = {0: "exit", 1: "kill", 1500: "segv", 1501: "raise", 2999: "kill"}
    name = write(tmp_path / ("in.gz" if opener is gzip.open else "in.txt"), lines_with(bad), opener)
    letters = str(tmp_path / "dead")
    out = outcome(Stream.read(name, block_bytes=4000), pool, dead_letters=letters)
    assert [each.error.place.line - 1 if isinstance(each, Failure) else each for each in out] == list(range(3000))
    failures = {each.error.place.line - 1: each.error for each in out if isinstance(each, Failure)}
    assert failures.keys() == bad.keys()
    for number, error in failures.items():
        assert isinstance(error, WorkerDiedError) == (bad[number] != "raise")
        assert error.item == f"{number} {bad[number]}"
        assert f"{name}, line {number + 1} (" in str(error)
    dead = list(read_dead_letters(letters))
    assert [(each.item, each.place.line - 1) for each in dead] == [(f"{n} {what}", n) for n, what in bad.items()]
    with opener(name, "rb") as file:
        text = file.read()
    assert all(text[each.place.start : each.place.end].decode() == f"{each.item}\n" for each in dead)


def test_records_that_hang_are_named_and_those_that_are_slow_together_are_not(pool, tmp_path):
    bad = {10: "hang", 600: "deaf"}
    name = write(tmp_path / "in.txt", lines_with(bad, 601))
    out = outcome(Stream.read(name), pool, timeout=0.4)
    assert [each.error.place.line - 1 if isinstance(each, Failure) else each for each in out] == list(range(601))
    failures = [each.error for each in out if isinstance(each, Failure)]
    assert all(isinstance(error, ItemTimeoutError) for error in failures)
    assert all(error.attempts <= 2 for error in failures)  # found at once, not by halves


class NoPickle:
    def __reduce__(self):
        raise TypeError("not to be sent")


class NoUnpickle:
    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return (unreadable, (self.number,))


def unreadable(number):
    raise LookupError(f"{number} can't be read here")


def odd_results(text):
    return {"7": NoPickle, "70": lambda: NoUnpickle(70), "77": lambda: Poison(77)}.get(text, lambda: int(text))()


def parsed_later(record):
    """Succeed at the third try."""
    import workers

    if record["n"] % 10 == 3 and workers.current().attempt < 3:
        raise ValueError(record["n"])
    return (record["n"], workers.current().attempt)


def test_results_that_can_not_travel_are_their_own_records_failure(pool, tmp_path):
    name = write(tmp_path / "in.txt", map(str, range(100)))
    out = []
    run(Stream.read(name).map(odd_results, on_error="return").to(out), pool=pool)
    assert [each.error.place.line - 1 if isinstance(each, Failure) else each for each in out] == list(range(100))
    kinds = {each.item: type(each.error.__cause__ or each.error).__name__ for each in out if isinstance(each, Failure)}
    assert kinds == {"7": "UnpicklableResultError", "70": "LookupError", "77": "WorkerDiedError"}


def test_records_are_tried_again_one_by_one_and_keep_their_places(pool, tmp_path):
    values = ["{nonsense", *(json.dumps({"n": number}) for number in range(1, 200)), "", b"\xff".decode("latin-1")]
    (tmp_path / "in.jsonl").write_bytes("\n".join(values).encode("latin-1"))
    out = []
    stream = Stream.read(tmp_path / "in.jsonl", format="jsonl", block_bytes=300)
    report = run(stream.map(parsed_later, retries=2, on_error="return").to(out), pool=pool)
    assert out[1:-1] == [(number, 3 if number % 10 == 3 else 1) for number in range(1, 200)]
    assert [(each.error.place.line, each.item) for each in (out[0], out[-1])] == [(1, "{nonsense"), (202, b"\xff")]
    assert "UnicodeDecodeError" in str(out[-1].error)
    assert report.failed == 2


def test_rows_with_line_ends_in_quotes_and_a_flat_map_behind_them(pool, tmp_path):
    rows = "".join(f'{number},"a\n{"kill" if number in {50, 51} else ""}"\n' for number in range(300))
    (tmp_path / "in.csv").write_text("n,text\n" + rows)
    out = []
    stream = Stream.read(tmp_path / "in.csv", format="csv", block_bytes=900).map(row_work).flat_map(twice, on_error="skip")
    report = run(stream.to(out), pool=pool)
    assert out == [number for number in range(300) if number not in {50, 51} for _ in "ab"]
    assert report.failed == 2


def row_work(row):
    return work(f"{row['n']} {row['text'].split()[-1]}") if "kill" in row["text"] else int(row["n"])


def twice(x):
    yield x
    yield x


def test_the_run_stops_at_the_record_and_gives_what_stood_before_it(pool, tmp_path):
    name = write(tmp_path / "in.txt", lines_with({120: "raise", 130: "kill"}, 200))
    given = []
    with pytest.raises(Exception, match=r"in\.txt, line 121 \('120 raise'\) failed in step 'work': ValueError: 120"):
        given.extend(Stream.read(name, block_bytes=100).map(work))
    assert given == list(range(120))
    with pytest.raises(WorkerDiedError, match=r"SIGKILL.*in\.txt, line 131 \('130 kill'\), death 3 of 3"):
        list(Stream.read(name).filter(lambda line: "raise" not in line).map(work))
