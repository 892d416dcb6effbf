"""However workers come and go, no more run something at once than there are to be, and no more exist than twice as many."""

import os
import threading

import psutil
import pytest

from orchestrator import Failure, Pool, WorkerDiedError
from orchestrator.pool.internals import internals_of
from tests.support.timed import dies_now_and_then, hangs_now_and_then, hoards, most_at_once, timed
from tests.support.waiting import Gate, Tally, until

WORKERS = 2
def workers_there(pool):
    return sum(map(psutil.pid_exists, internals_of(pool).engine.worker_pids()))


@pytest.mark.parametrize(
    ("function", "limits", "options"),
    [
        (timed, {"items_per_worker": 1}, {"chunk": 1}),
        (timed, {"items_per_worker": 3}, {"chunk": 2}),
        (hoards, {"memory_limit": "100M"}, {"chunk": 1}),
        (dies_now_and_then, {"max_deaths": 2}, {"chunk": 1}),
        (hangs_now_and_then, {}, {"chunk": 1, "timeout": 0.1}),
    ],
    ids=["share of 1", "share of 3", "memory", "deaths", "deadlines"],
)
def test_no_more_run_at_once_and_no_more_exist_whatever_replaces_them(function, limits, options):
    with Pool(WORKERS, **limits) as pool:
        results, there = [], []
        for each in pool.map(function, range(40), on_error="return", **options):
            there.append(workers_there(pool))
            if not isinstance(each, Failure):
                results.append(each)
        results += [future.result() for future in [pool.submit(timed, x) for x in range(20)]]
    assert len({pid for _, _, pid in results}) > WORKERS
    assert most_at_once(results) <= WORKERS
    assert max(there) <= 2 * WORKERS


def test_sizes_that_come_and_go_leave_no_more_at_work_and_cost_no_new_workers(tmp_path):
    """Those that were to leave stay when they are wanted again."""
    gate, begun = Gate(tmp_path / "gate"), Tally(tmp_path / "begun")
    with Pool(4) as pool:
        held = [pool.submit(waits, gate, begun) for _ in range(4)]
        until(lambda: begun.count == 4)
        for size in (1, 4, 2, 3, 0, 4):
            pool.resize(size)
        pool.resize(1)
        more = [pool.submit(timed, x) for x in range(20)]
        assert len(pool.status().workers) == 4
        assert not any(future.done() for future in more)
        gate.open()
        at_once = [future.result() for future in more]
        pids = {future.result() for future in held}
    assert most_at_once(at_once) == 1
    assert len(pids) == 4
    assert {pid for *_, pid in at_once} <= pids


def waits(gate, begun):
    begun.add()
    gate.wait()
    return os.getpid()


def test_a_step_of_all_workers_beside_a_stream_of_replacements():
    with Pool(WORKERS, items_per_worker=1) as pool:
        results = []
        thread = threading.Thread(target=lambda: results.extend(pool.map(timed, range(30), chunk=1)))
        thread.start()
        steps = [pool.run_on_all(os.getpid) for _ in range(3)]
        thread.join()
    assert all(len(set(step)) == WORKERS for step in steps)
    assert len(results) == 30
    assert most_at_once(results) <= WORKERS


def test_one_that_takes_its_life_alone_is_named_beside_replacements():
    with Pool(WORKERS, items_per_worker=1, max_deaths=2) as pool:
        results = list(pool.map(dies_now_and_then, range(20), chunk=1, on_error="return"))
    failures = [each for each in results if isinstance(each, Failure)]
    assert [each.index for each in failures] == [9, 19]
    assert all(isinstance(each.error, WorkerDiedError) for each in failures)
