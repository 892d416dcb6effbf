"""`fronts.tqdm.process_map` is `tqdm.contrib.concurrent.process_map`."""

import io
import multiprocessing
import os
import signal
import traceback
from concurrent.futures.process import BrokenProcessPool
from typing import ClassVar

import pytest
from support.waiting import Gate, Tally
from tqdm import tqdm

from orchestrator import WorkerDiedError
from orchestrator.fronts.tqdm import process_map


def double(x):
    return 2 * x


def fail_at_three(x):
    if x == 3:
        raise KeyError(x)
    return x


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def wait(gate):
    gate.wait()


def write(x):
    tqdm.write(f"line {x}", file=io.StringIO())
    with tqdm.get_lock():
        return x


def pid(tally):
    tally.add()
    return os.getpid()


class Counting(tqdm):
    made: ClassVar[list[tqdm]] = []

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.made.append(self)


@pytest.fixture(scope="module", autouse=True)
def what_tqdm_keeps():
    """Make and share tqdm's lock, which it keeps, before anybody counts, and start no thread that outlives a bar."""
    tqdm.monitor_interval = 0
    tqdm.get_lock()
    process_map(abs, [1], max_workers=1, disable=True)


@pytest.fixture
def bars(monkeypatch):
    monkeypatch.setattr(Counting, "made", made := [])
    return made


@pytest.mark.parametrize(
    ("kind", "n", "options"),
    [
        (range, 50, {}),
        (range, 50, {"max_workers": 2, "chunksize": 7}),
        (lambda n: iter(range(n)), 50, {"chunksize": 3}),
        (range, 0, {}),
        (range, 20, {"timeout": 60, "lock_name": "other", "smoothing": 0.3, "max_tasks_per_child": 5}),
        (range, 20, {"mp_context": multiprocessing.get_context("spawn"), "lock_name": "th_lock", "buffersize": 3}),
    ],
)
def test_results_are_those_of_map(kind, n, options, bars):
    shown = io.StringIO()
    assert process_map(double, kind(n), **options, file=shown, tqdm_class=Counting, desc="doubling") == list(range(0, 2 * n, 2))
    assert len(bars) == 1
    assert "doubling" in shown.getvalue()


def test_the_bar_counts_items(bars):
    assert process_map(pow, [2, 3, 4], range(10), file=io.StringIO(), max_workers=2, tqdm_class=Counting) == [1, 3, 16]
    assert (bars[0].total, bars[0].n) == (3, 3)
    process_map(double, (n for n in range(9)), file=io.StringIO(), max_workers=2, tqdm_class=Counting, total=9, chunksize=4)
    assert (bars[1].total, bars[1].n) == (9, 9)


def test_long_iterables_need_no_chunk_size():
    assert process_map(double, range(10_001), disable=True) == list(range(0, 20_002, 2))


def test_a_failure_is_the_functions_own():
    with pytest.raises(KeyError) as caught:
        process_map(fail_at_three, range(9), chunksize=2, disable=True)
    assert type(caught.value) is KeyError
    assert caught.value.args == (3,)
    assert "raise KeyError(x)" in "".join(traceback.format_exception(caught.value))


def test_a_death_is_told():
    with pytest.raises(BrokenProcessPool) as caught:
        process_map(die, [1], max_workers=1, disable=True)
    assert isinstance(caught.value.__cause__, WorkerDiedError)


@pytest.mark.parametrize("shown", [True, False])
def test_it_gives_up_after_its_time(tmp_path, shown):
    with pytest.raises(TimeoutError):
        process_map(wait, [Gate(tmp_path / "never")], timeout=0.1, max_workers=1, disable=not shown, file=io.StringIO())


def test_bars_in_workers_share_its_lock():
    before = getattr(tqdm, "_lock", None)
    assert process_map(write, range(20), max_workers=2, file=io.StringIO()) == list(range(20))
    assert getattr(tqdm, "_lock", None) is before


def test_workers_are_replaced(tmp_path):
    tally = Tally(tmp_path / "tally")
    pids = process_map(pid, [tally] * 6, max_workers=1, max_tasks_per_child=2, chunksize=1, disable=True)
    assert tally.count == 6
    assert len(set(pids)) >= 2
