"""Functions that run in all workers together: they meet, exchange values, and none waits for one that will not come."""

import os
import random
import signal
import threading

import numpy as np
import pytest
from support.waiting import Gate, Tally, is_at_rest, until

import workers
from orchestrator import ClosedError, ConfigError, ItemError, Pool, WorkerDiedError

WORKERS = 3


@pytest.fixture
def rested():
    """A pool that goes on, with nothing left over, whatever the test did to it."""
    with Pool(workers=WORKERS) as pool:
        yield pool
        assert list(pool.map(abs, range(-20, 0))) == list(range(20, 0, -1))
        until(lambda: is_at_rest(pool))


# ---- together -----------------------------------------------------------------------------------------------------


def test_all_meet_and_exchange(pool):
    def step(factor):
        here = workers.current()
        place = here.barrier.wait()
        return sorted(here.all_gather(place)), here.all_gather(here.id * factor), here.all_reduce(here.id + 1)

    assert pool.run_on_all(step, 10) == [([0, 1], [0, 10], 3)] * 2


def meet():
    return workers.current().barrier.wait()


def test_there_is_no_barrier_outside(rested):
    def ask(name):
        here = workers.current()
        ask_for = {"barrier": lambda: here.barrier, "gather": lambda: here.all_gather(1)}[name]
        with pytest.raises(RuntimeError, match=r"only in a function that Pool\.run_on_all runs"):
            ask_for()
        return name

    assert list(rested.map(ask, ["barrier", "gather"])) == ["barrier", "gather"]
    rested.run_on_all(meet)
    assert list(rested.map(ask, ["barrier", "gather"])) == ["barrier", "gather"]
    with pytest.raises(RuntimeError, match="outside a worker"):
        workers.current()


def value_of(seed, number, rank):
    """What a rank puts in in a round: of any kind and size, empty ones and several buffers among them."""
    chance = random.Random(f"{seed} {number} {rank}")
    length = chance.choice([0, 1, 1000, 8191, 8192, 8193, 40_000, 300_000])
    array = np.arange(length, dtype=np.float64) * chance.random() + rank
    return chance.choice([length, None, "x" * length, array, {"a": array, "b": [array[: length // 2], number]}])


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("seed", range(4))
def test_every_round_gives_each_what_all_put_in(rested, seed):
    """Values of earlier rounds stay as they were: regions are used again, what was handed out is not theirs."""

    def step(rounds):
        here = workers.current()
        chance = random.Random(f"{seed} {here.id}")
        kept = []
        for number in range(rounds):
            if chance.random() < 0.3:
                sum(range(chance.randrange(100_000)))  # fall behind
            if number % 5 == 3:
                here.barrier.wait()
            gathered = here.all_gather(value_of(seed, number, here.id))
            kept.append(gathered)
        return [
            all(same(got, value_of(seed, number, rank)) for rank, got in enumerate(gathered))
            for number, gathered in enumerate(kept)
        ]

    assert rested.run_on_all(step, 25) == [[True] * 25] * WORKERS


@pytest.mark.parametrize(
    ("op", "oracle"),
    [("sum", lambda a, b: a + b), ("min", np.minimum), ("max", np.maximum), (lambda a, b: 2 * a + b,) * 2],
    ids=["sum", "min", "max", "function"],
)
def test_reductions_fold_in_the_order_of_the_workers(rested, op, oracle):
    values = [np.random.default_rng(n).normal(size=50_000) * 10.0**n for n in range(WORKERS)]

    def step():
        here = workers.current()
        return [here.all_reduce(values[here.id], op), here.all_reduce(float(values[here.id][0]), op)]

    expected = values[0]
    for value in values[1:]:
        expected = oracle(expected, value)
    for array, number in rested.run_on_all(step):
        assert array.tobytes() == expected.tobytes()
        assert number == expected[0]
        assert array.flags.writeable


@pytest.mark.parametrize("every", [1, 3])
def test_what_is_kept_of_many_rounds_is_not_overwritten(rested, every):
    """More rounds than there are regions; what some workers keep, others have dropped."""

    def step():
        here = workers.current()
        kept = {}
        for number in range(60):
            gathered = here.all_gather(np.full(10_000, number * WORKERS + here.id))
            if number % every == 0 and (here.id or number < 5):
                kept[number] = gathered
            if number == 40:
                kept.pop(6, None)
        return all(
            (array == number * WORKERS + rank).all()
            for number, gathered in kept.items()
            for rank, array in enumerate(gathered)
        )

    assert rested.run_on_all(step) == [True] * WORKERS


def test_regions_are_used_again(rested):
    def step():
        here = workers.current()
        for number in range(50):
            gathered = here.all_gather(np.full(1 << 17, number))
        del gathered
        return sum(here.step._exchange._room)

    assert max(rested.run_on_all(step)) < 4 * 1.2 * (1 << 20)


def test_views_outlive_their_step(rested):
    def keep():
        here = workers.current()
        workers.kept = here.all_gather(np.full(20_000, here.id))

    def kept():
        return [(set(array.tolist()), array.flags.writeable) for array in vars(workers).pop("kept")]

    rested.run_on_all(keep)
    rested.run_on_all(lambda: workers.current().all_gather(np.full(20_000, 99)) and None)
    assert rested.run_on_all(kept) == [[({rank}, False) for rank in range(WORKERS)]] * WORKERS


def test_what_a_function_keeps_of_a_reduction_is_its_own(rested):
    def step():
        here = workers.current()
        first = here.all_reduce(np.full(20_000, here.id), lambda a, _: a)
        for _ in range(3):
            here.all_reduce(np.full(20_000, 99), "max")
        return set(first.tolist())

    assert rested.run_on_all(step) == [{0}] * WORKERS


def test_one_worker_alone():
    def step():
        here = workers.current()
        first = here.all_reduce(np.full(20_000, 1.0))
        here.all_reduce(np.full(20_000, 2.0)), here.all_reduce(np.full(20_000, 3.0))
        return here.barrier.wait(), here.all_gather("x"), set(first.tolist())

    with Pool(workers=1) as pool:
        assert pool.run_on_all(step) == [(0, ["x"], {1.0})]


# ---- what goes wrong ----------------------------------------------------------------------------------------------


def dies_at(place, here, tally):
    """Wait, exchange; at the labelled place the worker with id 1 is killed, the first `tally` times."""

    def at(label):
        if label == place and here.id == 1 and tally.count < 2:
            tally.add()
            os.kill(os.getpid(), signal.SIGKILL)

    at("first line")
    here.barrier.wait()
    at("after a barrier")
    gathered = here.all_gather(np.full(10_000, here.id))
    at("after a gather")
    total = here.all_reduce(sum(int(array[0]) for array in gathered), lambda a, b: (at("in a fold"), a + b)[1])
    at("last line")
    return total


@pytest.mark.parametrize("place", ["first line", "after a barrier", "after a gather", "in a fold", "last line"])
def test_a_death_runs_the_step_again_for_all(rested, tmp_path, place):
    tally, runs = Tally(tmp_path / "deaths"), Tally(tmp_path / "runs")

    def step():
        here = workers.current()
        runs.add()
        return here.attempt, dies_at(place, here, tally)

    assert rested.run_on_all(step) == [(3, 9)] * WORKERS
    assert tally.count == 2
    assert runs.count == 3 * WORKERS


def test_those_who_wait_are_told_who_died(rested, tmp_path):
    told, died = tmp_path / "told", tmp_path / "died"

    def step():
        here = workers.current()
        if here.attempt == 2:
            return
        if here.id == 2:
            until(lambda: here.barrier.n_waiting == WORKERS - 1)
            died.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            here.barrier.wait()
        except threading.BrokenBarrierError as error:
            with told.open("a") as out:
                out.write(f"{error}\n")
            raise

    assert rested.run_on_all(step) == [None] * WORKERS
    lines = told.read_text().splitlines()
    assert len(lines) == WORKERS - 1
    assert all(f"process {died.read_text()}, died" in line for line in lines)


def test_too_many_deaths_end_it(rested):
    def step():
        if workers.current().id == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        workers.current().barrier.wait()

    with pytest.raises(WorkerDiedError, match=r"worker 1 .* was killed by SIGSEGV.* 3 times") as caught:
        rested.run_on_all(step)
    assert (caught.value.worker, caught.value.exitcode, caught.value.attempts) == (1, -signal.SIGSEGV, 3)


def test_deaths_that_a_map_causes_are_not_its_fault(tmp_path):
    """Workers die of a map's items while the step is queued behind these: it runs in the end all the same."""
    queued = Gate(tmp_path / "queued")

    def deadly(n):
        queued.wait()
        os.kill(os.getpid(), signal.SIGKILL)

    with Pool(workers=2, max_deaths=3) as pool:
        results = pool.map(deadly, range(4), chunk=1, on_error="skip")
        thread = threading.Thread(target=list, args=(results,))
        thread.start()
        until(lambda: pool.stats().chunks_in_flight >= 2)
        queued.open()
        assert pool.run_on_all(lambda: workers.current().all_gather(workers.current().id)) == [[0, 1]] * 2
        thread.join()
        assert pool.stats().deaths >= 4


def test_the_error_is_that_of_the_worker_that_failed(rested):
    def step():
        here = workers.current()
        if here.id == 1:
            raise KeyError("mine")
        here.barrier.wait()

    with pytest.raises(ItemError, match="KeyError: 'mine'") as caught:
        rested.run_on_all(step)
    assert caught.value.index == 1
    assert type(caught.value.__cause__) is KeyError


def test_one_that_leaves_early_is_not_waited_for(rested):
    with pytest.raises(ItemError, match="broken") as caught:
        rested.run_on_all(lambda: workers.current().id == 2 or workers.current().barrier.wait())
    assert caught.value.index == 0
    assert any("worker 2 had already returned from its function" in note for note in caught.value.__notes__)


def test_exchanges_out_of_order_are_an_error(rested):
    def step():
        here = workers.current()
        return here.barrier.wait() if here.id == 1 else here.all_gather(1)

    with pytest.raises(ItemError, match=r"rank 1 is not at this exchange.*same order"):
        rested.run_on_all(step)


class Refuses:
    def __reduce__(self):
        raise ValueError("I stay")


def test_what_can_not_be_exchanged_or_sent(rested):
    with pytest.raises(ItemError, match="I stay"):
        rested.run_on_all(lambda: workers.current().all_gather(Refuses() if workers.current().id else 1))
    with pytest.raises(ItemError, match=r"can't be sent.*I stay"):
        rested.run_on_all(print, Refuses())
    with pytest.raises(ItemError, match="I stay"):
        rested.run_on_all(Refuses)
    with pytest.raises(ItemError, match="op must be"):
        rested.run_on_all(lambda: workers.current().all_reduce(1, "mean"))
    with pytest.raises(ConfigError, match="function first"):
        rested.run_on_all(3)


def test_a_full_memory_is_an_error_of_the_step(rested):
    def step():
        import resource

        if workers.current().id == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        try:
            return workers.current().all_gather(np.zeros(1 << 20))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    with pytest.raises(ItemError, match="no shared memory to exchange a value of 8,388,") as caught:
        rested.run_on_all(step)
    assert type(caught.value.__cause__) is MemoryError


# ---- beside other work --------------------------------------------------------------------------------------------


def reduced(value):
    return workers.current().all_reduce(value)


def test_steps_of_several_threads_and_maps_at_once(rested):
    """Chunks of maps and of steps are queued in all lanes in any order; none waits for ever."""
    outcomes = []

    def steps(n):
        outcomes.extend(rested.run_on_all(reduced, n * k) == [3 * n * k] * 3 for k in range(8))

    def maps():
        outcomes.extend(list(rested.map(abs, range(500), chunk=7)) == list(range(500)) for _ in range(5))

    threads = [threading.Thread(target=steps, args=(n,)) for n in (1, 2, 3)] + [threading.Thread(target=maps)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [True] * (3 * 8 + 5)


def test_closing_the_pool_ends_a_step():
    pool = Pool(workers=2)
    caught = []

    def call():
        try:
            pool.run_on_all(lambda: workers.current().id or workers.current().barrier.wait(600) or signal.pause())
        except (ClosedError, ItemError) as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    until(lambda: pool.stats().chunks_in_flight)
    pool.terminate()
    thread.join()
    assert len(caught) == 1
