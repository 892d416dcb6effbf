"""The resource pool over processes of each start method, a running pool, forks with threads; and deaths of holders."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from pathlib import Path

import pytest
from support.waiting import Gate, Tally, until

from orchestrator import ClosedError, OrchestratorError, Pool, ResourcePool, ResourceTimeoutError


class Counted:
    """A resource that leaves a file while it exists; how many there are is seen in the folder by any process."""

    def __init__(self, folder, limit):
        self.pid, self.uses = os.getpid(), 0
        self.file = Path(folder) / f"{self.pid}-{id(self)}"
        self.file.touch()
        there = len(os.listdir(folder))
        if there > limit:
            (Path(folder).parent / "too-many").write_text(str(there))

    def close(self):
        assert self.pid == os.getpid()
        self.file.unlink()


class Making:
    """Makes them; a class, so that it can be pickled."""

    def __init__(self, folder, limit):
        self.folder, self.limit = folder, limit
        folder.mkdir(exist_ok=True)

    def __call__(self):
        return Counted(self.folder, self.limit)

    def check(self):
        assert not (self.folder.parent / "too-many").exists()


def started(context, target, *arguments):
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def take_turns(resources, rounds):
    for _ in range(rounds):
        with resources.acquire(timeout=30) as one:
            assert one.pid == os.getpid()
            one.uses += 1
            assert one.uses > 0


@pytest.mark.parametrize("limit", [1, 2])
def test_the_limit_holds_over_the_workers_of_a_pool(pool, tmp_path, limit):
    making = Making(tmp_path / "there", limit)
    with ResourcePool(making, limit, close=Counted.close) as resources:
        assert list(pool.map(take_turns, [resources] * 40, [3] * 40, chunk=1)) == [None] * 40
        take_turns(resources, 2)
        assert resources.stats().taken_everywhere <= limit
        making.check()
    until(lambda: not os.listdir(making.folder))


def test_one_resource_goes_round_four_workers_in_closures(tmp_path):
    making = Making(tmp_path / "there", 1)
    resources = ResourcePool(making, 1, close=Counted.close)

    def use(_):
        with resources.acquire() as one:
            return one.pid

    with Pool(4) as pool:
        assert len(list(pool.map(use, range(200), chunk=1))) == 200
        making.check()
    assert take_turns(resources, 1) is None
    resources.close()
    until(lambda: resources.stats().taken_everywhere == 0)


def test_a_worker_uses_its_resource_again_in_the_next_chunk(start_method, tmp_path):
    with Pool(1, start_method=start_method) as pool, ResourcePool(Making(tmp_path / "there", 1), 1) as resources:
        for _ in range(3):
            list(pool.map(take_turns, [resources] * 5, [1] * 5, chunk=1))
        [stats] = pool.run_on_all(ResourcePool.stats, resources)
        assert (stats.created, stats.reused, stats.idle) == (1, 14, 1)


def acquire_and_stay(resources, gate):
    with resources.acquire():
        gate.open()
        signal.pause()


def test_the_place_of_one_who_is_killed_goes_to_who_waits(start_method, tmp_path):
    context, gate = multiprocessing.get_context(start_method), Gate(tmp_path / "has it")
    with ResourcePool(object, 1) as resources:
        other = started(context, acquire_and_stay, resources, gate)
        gate.wait()
        with pytest.raises(ResourceTimeoutError, match=f"1 of 1 are in use \\(1 by process {other.pid}\\)") as caught:
            resources.acquire(timeout=0)
        assert isinstance(caught.value, OrchestratorError)
        assert isinstance(caught.value, TimeoutError)
        killer = threading.Thread(target=lambda: (until(lambda: resources.stats().waiting == 1), other.kill()))
        killer.start()
        resources.acquire(timeout=20).release()
        killer.join()
        other.join()


def test_nobody_need_wait_for_the_place_to_be_free_again(start_method, tmp_path):
    context, gate = multiprocessing.get_context(start_method), Gate(tmp_path / "has it")
    with ResourcePool(object, 1) as resources:
        other = started(context, acquire_and_stay, resources, gate)
        gate.wait()
        other.kill()
        other.join()
        resources.acquire(timeout=0).release()


def wait_for_one(resources, tally, gate):
    with resources.acquire(timeout=30):
        tally.add()
        gate.wait()


def test_when_the_first_who_waits_is_killed_the_next_moves_up(start_method, tmp_path):
    context, go = multiprocessing.get_context(start_method), Gate(tmp_path / "go")
    tally = Tally(tmp_path / "came")
    with ResourcePool(object, 1) as resources:
        mine = resources.acquire()
        others = []
        for count in range(1, 4):
            others.append(started(context, wait_for_one, resources, tally, go))
            until(lambda count=count: resources.stats().waiting_everywhere == count)
        others[0].kill()
        others[1].kill()
        others[0].join()
        others[1].join()
        mine.release()
        until(lambda: tally.count == 1)
        go.open()
        others[2].join()
        assert others[2].exitcode == 0


def note_my_turn(resources, path, name):
    with resources.acquire(timeout=30), open(path, "a") as file:
        file.write(name)


def test_processes_and_threads_come_in_the_order_they_asked_in(tmp_path):
    context, path = multiprocessing.get_context("forkserver"), tmp_path / "order"
    with ResourcePool(object, 1) as resources:
        mine = resources.acquire()
        crew = []
        for count, name in enumerate("abcdefg"):
            kind = context.Process if count % 3 else threading.Thread
            crew.append(kind(target=note_my_turn, args=(resources, path, name)))
            crew[-1].start()
            until(lambda count=count: resources.stats().waiting_everywhere == count + 1)
        mine.release()
        for one in crew:
            one.join()
    assert path.read_text() == "abcdefg"


def test_an_idle_resource_is_closed_for_one_who_waits_elsewhere(start_method, tmp_path):
    context = multiprocessing.get_context(start_method)
    making = Making(tmp_path / "there", 1)
    with ResourcePool(making, 1, close=Counted.close) as resources:
        take_turns(resources, 1)
        other = started(context, take_turns, resources, 1)
        other.join()
        assert other.exitcode == 0
        assert resources.stats().discarded == 1
        making.check()


def acquire_after_fork(resources, tally):
    with resources.acquire(timeout=30):
        tally.add()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_beside_threads_that_hold_and_wait(tmp_path):
    tally = Tally(tmp_path / "came")
    closed = []
    with ResourcePool(list, 2, close=closed.append) as resources:
        idle = resources.acquire()
        mine = resources.acquire()
        idle.release()
        threads = [threading.Thread(target=acquire_after_fork, args=(resources, tally)) for _ in range(4)]
        other_one = resources.acquire()
        for thread in threads:
            thread.start()
        until(lambda: resources.stats().waiting == 4)
        child = os.fork()
        if not child:
            try:
                mine.release()  # has no effect: it is the parent's
                with resources.acquire(timeout=30):
                    os._exit(0 if resources.stats().created == 1 and not closed else 3)
            finally:
                os._exit(4)
        until(lambda: resources.stats().waiting_everywhere == 5)
        assert tally.count == 0
        mine.release()
        other_one.release()
        assert os.waitpid(child, 0)[1] == 0
        for thread in threads:
            thread.join()
        assert tally.count == 4


def test_drain_waits_for_processes_and_for_none_that_dies(start_method, tmp_path):
    context, gates = multiprocessing.get_context(start_method), [Gate(tmp_path / str(i)) for i in range(2)]
    resources = ResourcePool(object, 2)
    others = [started(context, acquire_and_stay, resources, gate) for gate in gates]
    for gate in gates:
        gate.wait()
    with pytest.raises(ResourceTimeoutError, match=f"1 by process {others[0].pid}"):
        resources.drain(timeout=0)
    others[0].kill()
    killer = threading.Thread(target=lambda: (until(lambda: resources.stats().waiting == 1), others[1].kill()))
    killer.start()
    resources.drain(timeout=20)
    killer.join()
    assert resources.stats().taken_everywhere == 0
    for other in others:
        other.join()


def be_refused(resources):
    with contextlib.suppress(ClosedError):
        resources.acquire(timeout=30)
        os._exit(5)


def test_closing_ends_the_wait_in_other_processes(start_method):
    context = multiprocessing.get_context(start_method)
    resources = ResourcePool(object, 1)
    with resources.acquire():
        other = started(context, be_refused, resources)
        until(lambda: resources.stats().waiting_everywhere == 1)
        resources.close()
        other.join()
    assert other.exitcode == 0
    with pytest.raises(ClosedError):
        pickle.dumps(resources)
