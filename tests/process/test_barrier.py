"""The barrier between processes of each start method, threads, a running pool; and the deaths of parties."""

import importlib.util
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.waiting import Gate, until

from orchestrator import Barrier, BrokenBarrierError, OrchestratorError

HERE = Path(__file__).resolve().parent


@pytest.mark.skipif(not importlib.util.find_spec("test._test_multiprocessing"), reason="a Python without its tests")
def test_cpythons_own_tests_pass():
    suite = [sys.executable, "-W", "ignore", "-m", "unittest", "-q", "support.cpython_barrier"]
    path = os.pathsep.join([str(HERE.parent), str(HERE.parents[1])])
    ran = subprocess.run(
        suite, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=200
    )
    assert ran.returncode == 0, ran.stderr
    assert "Ran 2" in ran.stderr


def started(context, target, *arguments):
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def meet(barrier, rounds):
    for _ in range(rounds):
        barrier.wait(20)


def test_processes_of_each_start_method_meet(start_method):
    context = multiprocessing.get_context(start_method)
    barrier = Barrier(3)
    others = [started(context, meet, barrier, 50) for _ in range(2)]
    meet(barrier, 50)
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0]


def wait_for_it(barrier):
    return barrier.wait(20)


def test_it_reaches_the_workers_of_a_running_pool(pool):
    barrier = Barrier(2)
    assert sorted(pool.run_on_all(wait_for_it, barrier)) == [0, 1]
    barrier.wait(0.0) if barrier.parties == 1 else barrier.resize(1)
    assert barrier.wait() == 0


def test_threads_and_a_process_are_parties_alike():
    barrier = Barrier(3)
    other = started(multiprocessing.get_context("forkserver"), meet, barrier, 20)
    thread = threading.Thread(target=meet, args=(barrier, 20))
    thread.start()
    meet(barrier, 20)
    thread.join()
    other.join()
    assert other.exitcode == 0


def wait_and_stay(barrier, gate):
    barrier.wait(20)
    gate.open()
    signal.pause()


def test_one_that_dies_before_it_arrives_breaks_the_barrier_and_is_named(start_method, tmp_path):
    barrier, gate = Barrier(2), Gate(tmp_path / "through")
    other = started(multiprocessing.get_context(start_method), wait_and_stay, barrier, gate)
    barrier.wait(20)
    gate.wait()
    threading.Timer(0.0, other.kill).start()
    with pytest.raises(BrokenBarrierError, match=f"process {other.pid}, died") as caught:
        barrier.wait(20)
    other.join()
    assert isinstance(caught.value, OrchestratorError)
    assert isinstance(caught.value, threading.BrokenBarrierError)
    assert barrier.broken


def say_and_wait_for_the_end(gate, barrier):
    gate.open()
    del barrier
    signal.pause()


def test_one_that_has_never_waited_is_a_party_too(start_method, tmp_path):
    barrier, gate = Barrier(2), Gate(tmp_path / "started")
    other = started(multiprocessing.get_context(start_method), say_and_wait_for_the_end, gate, barrier)
    gate.wait()
    other.kill()
    with pytest.raises(BrokenBarrierError, match=f"process {other.pid}, died"):
        barrier.wait(20)
    other.join()


def test_one_that_dies_while_it_waits_breaks_the_barrier(start_method):
    barrier = Barrier(3)
    other = started(multiprocessing.get_context(start_method), meet, barrier, 1)
    until(lambda: barrier.n_waiting == 1)
    other.kill()
    other.join()
    with pytest.raises(BrokenBarrierError, match=f"process {other.pid}, died"):
        barrier.wait(20)
    barrier.reset()
    barrier.resize(1)
    assert barrier.wait(20) == 0


def fail(barrier):
    barrier.wait(20)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    raise RuntimeError


def test_one_that_ends_by_an_exception_breaks_it_and_one_that_ends_in_order_does_not(start_method):
    context = multiprocessing.get_context(start_method)
    barrier = Barrier(2)
    other = started(context, meet, barrier, 1)
    barrier.wait(20)
    other.join()
    with pytest.raises(BrokenBarrierError, match="timed out"):
        barrier.wait(0.2)
    barrier.reset()
    other = started(context, fail, barrier)
    barrier.wait(20)
    with pytest.raises(BrokenBarrierError, match=f"process {other.pid}, died"):
        barrier.wait(20)
    other.join()


def test_resize_releases_those_who_wait():
    barrier = Barrier(3)
    indexes = []
    threads = [threading.Thread(target=lambda: indexes.append(barrier.wait(20))) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: barrier.n_waiting == 2)
    barrier.resize(2)
    for thread in threads:
        thread.join()
    assert sorted(indexes) == [0, 1]
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (2, 0, False)


def test_more_threads_than_parties_go_through_in_groups():
    barrier, released = Barrier(2), []
    threads = [threading.Thread(target=lambda: released.append(barrier.wait(20))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(released) == [0] * 4 + [1] * 4


def test_a_pickle_that_outlives_its_maker_says_so():
    barrier = Barrier(2)
    assert pickle.loads(pickle.dumps(barrier)).parties == 2
    data = pickle.dumps(barrier)
    del barrier
    with pytest.raises(FileNotFoundError, match="the barrier can't be reached"):
        pickle.loads(data)


@pytest.mark.parametrize("parties", [0, -1, 5000])
def test_a_wrong_number_of_parties_is_refused(parties):
    with pytest.raises(ValueError, match="parties must be"):
        Barrier(parties)


def take_part(barrier, rounds):
    for _ in range(rounds):
        barrier.wait(20)


def test_a_slot_that_is_just_being_left_is_passed_over(monkeypatch):
    """Its owner marks it free, and only then takes its sign of life away: a party that comes between takes another."""
    barrier = Barrier(2)
    memory = barrier._memory
    claimed = []

    def claim(at, real=memory.claim):
        claimed.append(at)
        if len(claimed) == 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        real(at)

    monkeypatch.setattr(memory, "claim", claim)
    other = threading.Thread(target=take_part, args=(barrier, 3))
    other.start()
    take_part(barrier, 3)
    other.join()
    assert claimed[:2] == [1, 2]
