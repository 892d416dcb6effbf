"""Deadlines, memory limits, a share of items, and live resize: against plain Python, with hostile functions."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from orchestrator import (
    ClosedError,
    ConfigError,
    Failure,
    ItemTimeoutError,
    Pool,
    Stream,
    WorkerDiedError,
    WorkerStartError,
    run,
)
from orchestrator.local import deadlines
from tests.support.waiting import Gate, Tally, until


def sleeps_at_seven(x):
    if x == 7:
        time.sleep(60)
    return x * 2


def ignores_sigterm(x):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if x == 3:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        with open(os.environ["CHILD_PID"], "w") as file:
            file.write(str(child.pid))
        time.sleep(60)
    return x


def slow_once(x):
    import workers

    if x == 5 and workers.current().attempt == 1:
        time.sleep(60)
    return (x, workers.current().attempt)


def stops_itself(x):
    if x == 11 and not os.path.exists(os.environ["STOPPED"]):
        open(os.environ["STOPPED"], "w").close()
        os.kill(os.getpid(), signal.SIGSTOP)
    return x


def pid_of(_):
    return os.getpid()


HOARD = []


def hoards(x):
    HOARD.append(b"x" * (8 << 20))
    time.sleep(0.02 if len(HOARD) < 25 else 1)  # a supervisor that gets no processor has the time to look
    return (x, os.getpid(), psutil.Process().memory_info().rss)


def hoards_too_much(x):
    if x == 20:
        HOARD.append(bytearray(600 << 20))
        time.sleep(5)
    return x


def short(x):
    time.sleep(0.001)
    return x + 1


def refuses_to_start():
    print("no licence was found", file=sys.stderr, flush=True)
    os._exit(3)


def refuses_slowly(folder):
    """The first worker to come here dies third: it was started before anybody listened."""
    try:
        (folder / "slow").touch(exist_ok=False)
    except FileExistsError:
        (folder / f"died-{os.getpid()}").touch()
    else:
        until(lambda: len(list(folder.glob("died-*"))) >= 2)
    refuses_to_start()


def crashes_at_start():
    print("loading the plug-in", file=sys.stderr, flush=True)
    ctypes.string_at(0)


@pytest.mark.parametrize("chunk", ["auto", 1, 50])
def test_only_the_item_that_takes_too_long_fails(chunk):
    with Pool(2) as pool:
        results = list(pool.map(sleeps_at_seven, range(200), timeout=0.5, chunk=chunk, on_error="return"))
    failures = [each for each in results if isinstance(each, Failure)]
    assert [each.index for each in failures] == [7]
    assert isinstance(failures[0].error, ItemTimeoutError)
    assert isinstance(failures[0].error, TimeoutError)
    assert [each for each in results if not isinstance(each, Failure)] == [x * 2 for x in range(200) if x != 7]


def test_a_timeout_in_a_stream_of_fused_steps():
    out = []
    with Pool(2) as pool:
        report = run(Stream(range(100)).map(sleeps_at_seven, timeout=0.5, on_error="skip").filter(bool).to(out), pool=pool)
    assert out == [x * 2 for x in range(1, 100) if x != 7]
    assert report.failed == 1


def test_one_that_ignores_sigterm_dies_and_its_children_too(tmp_path, monkeypatch):
    monkeypatch.setenv("CHILD_PID", str(tmp_path / "pid"))
    with Pool(2) as pool, pytest.raises(ItemTimeoutError, match="item 3"):
        list(pool.map(ignores_sigterm, range(10), timeout=0.7))
    child = int((tmp_path / "pid").read_text())
    for _ in range(200):
        try:
            if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
                break
        except FileNotFoundError:
            break
        time.sleep(0.02)
    else:
        pytest.fail("the child of a function outlived it")


def test_a_timeout_is_an_attempt():
    with Pool(2) as pool:
        results = list(pool.map(slow_once, range(20), timeout=0.5, retries=1))
    assert [x for x, _ in results] == list(range(20))
    assert results[5] == (5, 2)
    assert {attempt for _, attempt in results[6:]} == {1}  # they had not begun when its worker was ended


def test_a_stopped_worker_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("STOPPED", str(tmp_path / "stopped"))
    with Pool(2) as pool:
        assert list(pool.map(stops_itself, range(50), timeout=0.5, retries=1)) == list(range(50))


def test_an_import_that_takes_its_time_is_waited_for_and_one_that_hangs_is_given_up(tmp_path, monkeypatch):
    (tmp_path / "hangs_in_workers.py").write_text(
        "import os, time\n"
        f"while os.getpid() != {os.getpid()} and not os.path.exists({str(tmp_path / 'gate')!r}): time.sleep(0.01)\n"
        "def function(x): return x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from hangs_in_workers import function

    monkeypatch.setattr(deadlines, "_STILL_S", 0.1)
    with Pool(1, max_deaths=2) as pool:
        with monkeypatch.context() as less, pytest.raises(WorkerDiedError, match=r"made no progress.*import.*ran item 0"):
            less.setattr(deadlines, "_LOADING_S", 0.2)
            list(pool.map(function, [1], timeout=0.1))
        threading.Timer(0.6, Gate(tmp_path / "gate").open).start()  # longer than the item's time, and patience
        assert list(pool.map(function, [1], timeout=0.2)) == [1]


def test_a_worker_with_its_share_of_items_is_replaced():
    with Pool(2, items_per_worker=50) as pool:
        assert len(set(pool.map(pid_of, range(1000)))) > 1000 / 100  # its last chunk may take it past its share
        assert pool.stats()["deaths"] == 0


def test_a_leaking_function_runs_on_in_bounded_memory():
    with Pool(2, memory_limit="120M") as pool:
        results = list(pool.map(hoards, range(120), chunk=1))
    assert [x for x, _, _ in results] == list(range(120))
    assert len({pid for _, pid, _ in results}) > 2
    assert max(rss for _, _, rss in results) < 350 << 20  # of 960 MiB that were leaked; looked at four times a second


def test_an_item_that_alone_exceeds_the_memory_limit_is_given_up():
    with Pool(2, memory_limit="200M", max_deaths=2) as pool:
        results = list(pool.map(hoards_too_much, range(40), on_error="return"))
    failures = [each for each in results if isinstance(each, Failure)]
    assert [each.index for each in failures] == [20]
    assert "memory_limit" in str(failures[0].error)
    assert [each for each in results if not isinstance(each, Failure)] == [x for x in range(40) if x != 20]


def test_a_paused_pool_goes_on():
    with Pool(2) as pool:
        pool.resize(0)
        threading.Timer(1.5, lambda: pool.resize(3)).start()  # longer than a stuck graph is given
        assert list(pool.map(short, range(100))) == list(range(1, 101))
        assert pool.size == 3


def waits_for(gate, begun):
    begun.add()
    gate.wait()
    return os.getpid()


def test_resizing_while_futures_steps_and_pauses_are_under_way(tmp_path):
    def gate():
        gates.append(Gate(tmp_path / f"gate{len(gates)}"))
        return gates[-1], Tally(tmp_path / f"begun{len(gates)}")

    gates = []
    with Pool(2) as pool:
        # A worker that is to leave finishes what it has, and nothing waits for that.
        closed, begun = gate()
        held = [pool.submit(waits_for, closed, begun) for _ in range(2)]
        until(lambda: begun.count == 2)
        both = {each.pid for each in pool.workers}
        pool.resize(1)
        assert [each.id for each in pool.workers] == [0]
        closed.open()
        assert {each.result() for each in held} == both
        until(lambda: len(pool.status().workers) == 1)

        # A step has the workers that were there when it began; the next one has those that came meanwhile.
        closed, begun = gate()
        results = []
        step = threading.Thread(target=lambda: results.append(pool.run_on_all(waits_for, closed, begun)))
        step.start()
        until(lambda: begun.count)
        pool.resize(3)
        closed.open()
        step.join()
        assert len(results[0]) == 1
        assert len(set(pool.run_on_all(os.getpid))) == 3

        # In a pause nothing runs, not even what a worker was killed with as it left; then all of it does.
        closed, begun = gate()
        held = [pool.submit(waits_for, closed, begun)]
        until(lambda: begun.count)
        busy = next(each.pid for each in pool.status().workers if each.runs)
        pool.resize(0)
        held.append(pool.submit(os.getpid))
        os.kill(busy, signal.SIGKILL)
        until(lambda: not pool.status().workers)
        closed.open()
        assert not any(each.done() for each in held)
        pool.resize(1)
        assert len({each.result() for each in held}) == 1

        # A pool that is closed in a pause does not wait for what nobody will run.
        pool.resize(0)
        until(lambda: not pool.status().workers)
        left = pool.submit(os.getpid)
    with pytest.raises(ClosedError, match="closed while it was paused"):
        left.result()


@pytest.mark.parametrize(
    ("initializer", "said"),
    [
        (refuses_to_start, r"exited with code 3[^$]*no licence was found"),
        (crashes_at_start, r"SIGSEGV[^$]*Fatal Python error: Segmentation fault[^$]*crashes_at_start"),
    ],
)
def test_workers_that_can_not_start_say_why(capfd, initializer, said):
    with pytest.raises(WorkerStartError, match=said), Pool(2, initializer=initializer) as pool:
        list(pool.map(short, range(10)))


def test_the_words_of_one_that_was_heard_are_told_though_another_died_last(capfd, tmp_path):
    options = {"initializer": refuses_slowly, "initargs": (tmp_path,)}
    with pytest.raises(WorkerStartError, match="no licence was found"), Pool(2, **options) as pool:
        list(pool.map(short, range(10)))


@pytest.mark.parametrize("bad", [{"timeout": 0}, {"timeout": -1}])
def test_a_timeout_that_can_not_be(bad):
    with Pool(1) as pool, pytest.raises(ConfigError, match="timeout"):
        pool.map(short, [1], **bad)
    with pytest.raises(ConfigError, match="items_per_worker"):
        Pool(1, items_per_worker=0)
