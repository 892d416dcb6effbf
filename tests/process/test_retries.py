"""Items that are tried again: by class of exception, at a deadline, after a death; in their places, their tries counted."""

import os
import time
from pathlib import Path

import workers
from orchestrator import Failure, ItemTimeoutError, Pool, Stream, Workflow, run


class OwnError(ConnectionResetError):
    """Can't be pickled, so only its names cross."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def run_number(x):
    """Note that this item runs; return how often it has begun."""
    path = os.path.join(os.environ["RUNS"], str(x))
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, b"+")
    size = os.fstat(fd).st_size
    os.close(fd)
    return size


def runs_of(x):
    path = Path(os.environ["RUNS"], str(x))
    return path.stat().st_size if path.exists() else 0


def troubled(x):
    """Fail in a way that the item's number says, in its first two runs (6 and 8: in all)."""
    runs = run_number(x)
    if x in (6, 8) or runs <= 2:
        if x == 2:
            raise OwnError("lost", x)
        if x == 3:
            time.sleep(60)
        if x == 4:
            os._exit(9)
        if x == 6:
            raise BrokenPipeError(x)
        if x == 8:
            raise ValueError(x)
    return x, runs, workers.current().attempt


BY_CLASS = {ConnectionError: 2, BrokenPipeError: 1, TimeoutError: 2}


def test_each_class_has_its_retries_and_every_try_is_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNS", str(tmp_path))
    with Pool(2) as pool:
        results = list(pool.map(troubled, range(12), chunk=4, timeout=0.5, retries=BY_CLASS, on_error="return"))
        stats = pool.stats()
    good = {x for x in range(12) if x not in (6, 8)}
    assert [each.index if isinstance(each, Failure) else each[0] for each in results] == list(range(12))
    for each in results:
        if isinstance(each, Failure):
            assert each.attempts >= runs_of(each.index)
        else:
            x, runs, attempt = each
            assert runs == runs_of(x)
            assert attempt >= runs  # exactly, but for those that went down with the worker that item 4 ended
    assert {x for x, *_ in (each for each in results if each)} == good
    assert runs_of(6) == 2  # its class is nearer than ConnectionError
    assert results[8].attempts >= runs_of(8) >= 1
    assert isinstance(results[8].error.__cause__, ValueError)
    assert stats["retries"] >= 4  # of 2, 3, 3 and 6; the first failure of 2 may go down with the worker of 3
    assert stats["deaths"] == 2


def late_once(x):
    runs = run_number(x)
    if x % 5 == 3 and runs == 1:
        time.sleep(60)
    return runs, workers.current().attempt


def test_behind_a_deadline_the_attempt_is_how_often_the_item_has_begun(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNS", str(tmp_path))
    out = []
    with Pool(2) as pool:
        run(Stream(range(10)).map(late_once, chunk=5, timeout=1.0, retries={ItemTimeoutError: 1}).to(out), pool=pool)
    assert all(runs == attempt for runs, attempt in out), out
    assert [runs for runs, _ in out] == [2, 2, 2, 2, 1] * 2


def fails_once(x):
    if run_number(x) == 1:
        raise OwnError("lost", x)
    return x


def test_a_workflow_with_a_barrier_and_a_delay(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNS", str(tmp_path))
    steps = Workflow("w").step("one", str).step("two", fails_once).barrier().step("three", int)
    with Pool(1) as pool:
        assert list(pool.map(steps, range(6), retries={OSError: 1}, retry_delay=0.01)) == list(range(6))
