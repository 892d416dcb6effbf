"""One object in shared memory for all workers: one copy, read-only, freed when nobody needs it."""

import functools
import gc
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from support.scripts import run_script, succeeded
from support.waiting import until

import workers
from orchestrator import ClosedError, ItemError, Pool, SharedMemoryError

LARGE_BYTES = 100 << 20
NAME = "memfd:orchestrator-shared"


def shared_pss_bytes(pid):
    """What of shared objects a process accounts for: its share of each page that it has mapped."""
    total, counts = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if "-" in line.split(maxsplit=1)[0]:
            counts = NAME in line
        elif counts and line.startswith("Pss:"):
            total += int(line.split()[1]) << 10
    return total


def mapped(pool):
    return sum(shared_pss_bytes(info.pid) for info in pool.workers)


def total(handle):
    return int(handle.get().sum())


def test_every_worker_sees_it(pool):
    array = np.arange(1 << 20)
    handle = pool.share({"array": array, "words": ["a", "b"]})

    def look(n):
        value = handle.value
        return n, int(value["array"][n]), value["words"], value["array"].flags.writeable

    assert list(pool.map(look, range(50), chunk=1)) == [(n, n, ["a", "b"], False) for n in range(50)]
    assert pool.submit(lambda shared: int(shared.get()["array"].sum()), handle).result() == array.sum()
    assert handle.get()["array"].sum() == array.sum()
    assert handle.get() is handle.get()


def test_a_handle_is_small_and_may_be_an_item(pool):
    handles = [pool.share(np.full(1 << 17, n)) for n in range(5)]
    before = sum(sent for sent, _ in pool.stats().lane_bytes.values())
    assert list(pool.map(total, handles)) == [n << 17 for n in range(5)]
    assert sum(sent for sent, _ in pool.stats().lane_bytes.values()) - before < 4000


def test_there_is_one_copy_in_all():
    with Pool(workers=4) as pool:
        handle = pool.share(np.ones(LARGE_BYTES // 8))
        assert pool.run_on_all(total, handle) == [LARGE_BYTES // 8] * 4
        assert LARGE_BYTES * 0.9 < mapped(pool) < LARGE_BYTES * 1.1
        handle.close()
        until(lambda: pool.run_on_all(abs, 1) and not mapped(pool))


def test_it_is_freed_when_the_handle_is_dropped(pool):
    handle = pool.share(np.ones(1 << 17))
    assert pool.run_on_all(total, handle) == [1 << 17] * 2
    assert mapped(pool)
    del handle
    gc.collect()
    until(lambda: not mapped(pool))
    assert not any(NAME in os.readlink(f"/proc/self/fd/{fd}") for fd in numbers())


def numbers():
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]


def test_a_call_keeps_what_it_was_sent_with(pool):
    results = pool.map(functools.partial(pick, pool.share(np.arange(1 << 17))), range(1000))
    gc.collect()
    assert list(results) == list(range(1000))
    del results
    gc.collect()
    until(lambda: not mapped(pool))


def pick(handle, n):
    return int(handle.get()[n])


def keep_view(handle):
    workers.kept = handle.get()[10:20]  # a module: a function that travels by value has globals of its own
    return True


def kept_list():
    return workers.kept.tolist()


def test_a_view_in_a_worker_outlives_the_handle(pool):
    handle = pool.share(np.arange(1 << 17))
    assert all(pool.run_on_all(keep_view, handle))
    handle.close()
    assert pool.run_on_all(kept_list) == [list(range(10, 20))] * 2


def test_a_closed_one_says_so(pool):
    handle = pool.share([1, 2])
    assert not handle.closed
    handle.close()
    handle.close()
    with pytest.raises(ClosedError, match="share it again"):
        handle.get()
    with pytest.raises(ItemError, match="closed or dropped"):
        list(pool.map(lambda h: h.get(), [handle]))


def test_a_replacement_reaches_it(pool):
    handle = pool.share(np.arange(1 << 17))
    before = {info.pid for info in pool.workers}
    os.kill(pool.workers[0].pid, signal.SIGKILL)
    until(lambda: len(pool.workers) == 2 and {info.pid for info in pool.workers} != before)
    assert pool.run_on_all(total, handle) == [total(handle)] * 2


def test_a_forked_child_of_the_coordinator_reaches_it_too(pool):
    handle = pool.share(np.arange(1 << 17))
    handle.get()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if handle.get()[77] == 77 and total(handle) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert handle.get()[77] == 77


def test_a_nested_pool_reaches_it(pool):
    def nested(handle):
        with Pool(workers=1, start_method="forkserver") as inner:
            return list(inner.map(total, [handle]))

    handle = pool.share(np.arange(1 << 17))
    assert pool.submit(nested, handle).result() == [total(handle)]


def test_a_result_may_be_the_handle(pool):
    handle = pool.share("x")
    assert pool.submit(lambda h: h, handle).result() is handle


def test_classes_of_the_main_module_and_lambdas(tmp_path):
    script = """
        from orchestrator import Pool
        class Model:
            def __init__(self, factor): self.factor = factor
            def predict(self, x): return self.factor * x
        with Pool(workers=2) as pool:
            model = pool.share(Model(3))
            double = pool.share(lambda x: 2 * x)
            print(list(pool.map(lambda x: model.get().predict(double.get()(x)), range(4))))
    """
    assert succeeded(run_script(tmp_path, script)) == "[0, 6, 12, 18]\n"


def test_no_memory_is_a_clear_error(pool):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(SharedMemoryError, match=r"object of 8,\d+,\d+ bytes.*Share less"):
            pool.share(np.zeros(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert pool.share(np.zeros(1 << 20)).get().sum() == 0


def test_arrays_of_every_order(pool):
    whole = np.arange(60_000.0).reshape(200, 300)
    arrays = [whole, whole.T, whole[::2, ::3], np.asfortranarray(whole), whole[:0]]
    handle = pool.share(arrays)
    for seen in [handle.get(), *pool.run_on_all(handle.get)]:
        assert all(np.array_equal(one, other) for one, other in zip(seen, arrays, strict=True))


def test_a_closed_pool_shares_nothing():
    pool = Pool(workers=1)
    pool.close()
    with pytest.raises(ClosedError):
        pool.share(1)


def test_every_array_inside_is_read_only_small_ones_too():
    with Pool(1) as pool:
        shared = pool.share({"small": np.arange(3), "large": np.zeros(100_000), "in": [(np.ones(1),)]})
        for value in (shared.get(), pool.submit(shared.get).result()):
            assert not value["small"].flags.writeable
            assert not value["large"].flags.writeable
            assert not value["in"][0][0].flags.writeable
        assert pool.submit(writes, shared).exception().args


def writes(shared):
    shared.get()["small"][0] = 5
