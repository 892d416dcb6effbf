"""Under memory pressure, which a number stands for here: nothing more is sent, the youngest is ended and runs again."""

import os
import threading
from pathlib import Path

import pytest

import workers
from orchestrator import ConfigError, Pool, WorkerDiedError, WorkerStartError
from tests.support.waiting import Gate, is_running, until


class Machine:
    """Has as much memory as the test says."""

    def __init__(self, available, total=1 << 40):
        self.available, self.total = available, total
        self.looks = 0

    def total_bytes(self):
        return self.total

    def available_bytes(self):
        self.looks += 1
        return self.available


def waits_at_first(x):
    """Note who runs it; item 0 and 1 wait for the gate in their first attempt."""
    here = Path(os.environ["PLACE"])
    attempt = workers.current().attempt
    (here / f"{x}-{attempt}").write_text(str(os.getpid()))
    if x < 2 and attempt == 1:
        Gate(here / "gate").wait()
    return x, attempt


def test_the_youngest_is_ended_nothing_is_sent_and_all_runs_later(tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", str(tmp_path))
    machine = Machine(100 << 20)
    seen = {}

    def be_short_for_a_while():
        pids = [int(until(lambda x=x: (tmp_path / f"{x}-1").exists() and (tmp_path / f"{x}-1").read_text())) for x in (0, 1)]
        machine.available = 10 << 20
        until(lambda: not is_running(pids[1]))
        until(lambda: [each.state for each in pool.workers] == ["ready"] * 2)  # another is there, and gets nothing
        looks = machine.looks
        until(lambda: machine.looks >= looks + 2)
        seen["the elder works on"] = is_running(pids[0])
        seen["begun"] = sorted(path.name for path in tmp_path.iterdir())
        machine.available = 100 << 20
        Gate(tmp_path / "gate").open()

    with Pool(2, memfree="50M", memory=machine) as pool:
        results = pool.map(waits_at_first, range(8), chunk=1)
        thread = threading.Thread(target=be_short_for_a_while)
        thread.start()
        got = list(results)
        thread.join()
        assert seen == {"the elder works on": True, "begun": ["0-1", "1-1"]}
        assert [x for x, _ in got] == list(range(8))
        assert [attempt for _, attempt in got[:2]] == [1, 2]
        assert (pool.stats().deaths, results.stats.deaths, results.stats.retries) == (0, 0, 0)


def waits_for(gate):
    Gate(gate).wait()
    return os.getpid()


def test_however_little_is_free_one_worker_works_on(tmp_path):
    machine = Machine(0)
    with Pool(3, memfree="50M", memory=machine) as pool:
        assert list(pool.map(abs, range(-30, 0), chunk=5)) == list(range(30, 0, -1))
        assert pool.submit(abs, -1).result() == 1
        looks = machine.looks  # a step of all workers is not ended: it would only begin anew
        opener = threading.Thread(target=lambda: until(lambda: machine.looks > looks + 1) and Gate(tmp_path / "gate").open())
        opener.start()
        assert len(set(pool.run_on_all(waits_for, tmp_path / "gate"))) == 3
        opener.join()


HOARD = []


def hoards(x):
    if x == 3:
        HOARD.append(b"x" * (400 << 20))
    return x


def loads_a_model():
    HOARD.append(b"x" * (200 << 20))


def test_an_item_beyond_the_limit_is_named_with_what_it_held():
    with Pool(2, memory_limit="150M", max_deaths=2) as pool:
        results = pool.map(holds_for_long, range(6), chunk=1)
        with pytest.raises(WorkerDiedError, match=r"used \d{3} MiB, far above its memory_limit of 150 MiB, while it ran item 3"):
            list(results)


def holds_for_long(x):
    hoards(x)
    if x == 3:
        until(lambda: False)
    return x


def test_workers_that_are_too_large_before_they_begin_say_so():
    said = r"uses \d{3} MiB before it has run anything.*memory_limit allows \(150 MiB\).*initializer"
    with pytest.raises(WorkerStartError, match=said), Pool(2, memory_limit="150M", initializer=loads_a_model) as pool:
        list(pool.map(abs, range(10)))


def test_a_limit_that_can_not_be_reached_is_lowered_and_told_of():
    with pytest.warns(UserWarning, match=r"memory_limit is 1,024 MiB.*100 MiB in all.*lowered to 90 MiB"):
        pool = Pool(1, memory_limit="1G", memory=Machine(50 << 20, 100 << 20))
    pool.terminate()
    with pytest.raises(ConfigError, match="memfree is 200 MiB, but there are only 100 MiB in all"):
        Pool(1, memfree="200M", memory=Machine(50 << 20, 100 << 20))
