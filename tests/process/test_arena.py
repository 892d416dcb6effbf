"""Large payloads in shared memory: never overwritten while somebody holds them, never left behind."""

import gc
import hashlib
import json
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from support.scripts import run_script, start_script, succeeded
from support.waiting import Gate, Tally, is_at_rest, is_running, until

from orchestrator import Pool

ARRAY_BYTES = 256 << 10  # well over the size from which a payload goes through shared memory
SMALL_BUFFER = 8 << 20


def pattern(n, size=ARRAY_BYTES):
    """An array that tells its number everywhere."""
    return np.full(size // 8, n, dtype=np.int64)


def is_pattern(array, n):
    return bool((array == n).all())


# ---- results that the caller keeps --------------------------------------------------------------------------------


def test_every_result_of_a_long_run_may_be_kept(pool):
    kept = list(pool.map(pattern, range(300)))
    assert len(kept) == 300
    assert all(is_pattern(array, n) for n, array in enumerate(kept))
    list(pool.map(pattern, range(1000, 1100)))  # would be written where kept ones lie, were these not held
    assert all(is_pattern(array, n) for n, array in enumerate(kept))


def test_more_results_may_be_kept_than_the_buffer_holds():
    with Pool(workers=2, buffer_bytes=SMALL_BUFFER) as pool:
        kept = list(pool.map(pattern, range(100)))
        assert sum(array.nbytes for array in kept) > 3 * SMALL_BUFFER
        again = list(pool.map(pattern, range(100, 150)))
        assert all(is_pattern(array, n) for n, array in enumerate(kept + again))


def test_every_third_result_is_kept():
    """Holes are reused around what is held."""
    with Pool(workers=2, buffer_bytes=SMALL_BUFFER) as pool:
        kept = {}
        for n, array in enumerate(pool.map(pattern, range(300))):
            assert is_pattern(array, n)
            if n % 3 == 0:
                kept[n] = array
        assert all(is_pattern(array, n) for n, array in kept.items())


@pytest.mark.parametrize(
    "view",
    [
        lambda array: array[5:-5],
        lambda array: array.reshape(2, -1)[1],
        lambda array: array[::3],
        memoryview,
        lambda array: memoryview(array)[3:9],
        lambda array: np.frombuffer(array, dtype=np.uint8),
        lambda array: array.view(np.int64).T,
    ],
)
def test_a_view_of_a_result_holds_it(view):
    with Pool(workers=1) as pool:
        views = [view(array) for array in pool.map(pattern, range(40))]
        gc.collect()
        before = [bytes(np.ascontiguousarray(v)) for v in views]
        for _ in pool.map(pattern, range(1000, 1100)):
            pass
        assert [bytes(np.ascontiguousarray(v)) for v in views] == before
        for n, held in enumerate(views):
            assert bytes(np.ascontiguousarray(held)) == bytes(np.ascontiguousarray(view(pattern(n))))


def test_results_outlive_their_pool():
    with Pool(workers=2) as pool:
        kept = list(pool.map(pattern, range(20)))
    del pool
    gc.collect()
    assert all(is_pattern(array, n) for n, array in enumerate(kept))
    kept[0][:] = -1
    assert is_pattern(kept[0], -1)
    assert is_pattern(kept[1], 1)


def test_results_may_be_written_to_in_place(pool):
    kept = []
    for n, array in enumerate(pool.map(pattern, range(60))):
        array += 1000
        kept.append((n, array))
    assert all(is_pattern(array, n + 1000) for n, array in kept)


def test_results_of_submit_may_be_kept(pool):
    futures = [pool.submit(pattern, n) for n in range(60)]
    kept = [future.result() for future in futures]
    assert all(is_pattern(array, n) for n, array in enumerate(kept))
    del futures
    list(pool.map(pattern, range(100)))
    assert all(is_pattern(array, n) for n, array in enumerate(kept))


# ---- inputs that user code keeps ----------------------------------------------------------------------------------


def test_user_code_may_keep_every_input(pool):
    def keep(item):
        import numpy

        n, array = item
        held = numpy.__dict__.setdefault("_kept_by_test", [])
        held.append((n, array))
        return all((a == m).all() for m, a in held)

    assert all(pool.map(keep, ((n, pattern(n)) for n in range(150)), chunk=1))


def test_more_inputs_may_be_kept_than_the_buffer_holds():
    def keep(item):
        import numpy

        held = numpy.__dict__.setdefault("_kept_by_test", [])
        held.append(item)
        return all((a == m).all() for m, a in held)

    with Pool(workers=1, buffer_bytes=SMALL_BUFFER) as pool:
        assert all(pool.map(keep, ((n, pattern(n)) for n in range(100))))


def test_inputs_may_be_written_to_in_place(pool):
    def add(item):
        n, array = item
        array += 1000
        return array

    originals = [(n, pattern(n)) for n in range(60)]
    results = list(pool.map(add, originals))
    assert all(is_pattern(array, n + 1000) for n, array in enumerate(results))
    assert all(is_pattern(array, n) for n, array in originals), "the caller's own arrays are untouched"


def test_an_input_given_back_as_result(pool):
    results = list(pool.map(lambda array: array, (pattern(n) for n in range(100))))
    assert all(is_pattern(array, n) for n, array in enumerate(results))


# ---- kinds of payload ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64 << 10) - 1, 64 << 10, (64 << 10) + 1, (4 << 20) + 3, 17 << 20])
def test_sizes_around_the_thresholds(pool, size):
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    back, text, digest = next(pool.map(lambda a: (a, bytes(a), hashlib.sha256(a).hexdigest()), [data]))
    assert np.array_equal(back, data)
    assert text == data.tobytes()
    assert digest == hashlib.sha256(data).hexdigest()


def test_many_shapes(pool):
    arrays = [
        np.zeros((0, 5)),
        np.arange(12.0).reshape(3, 4).T,
        np.asfortranarray(np.arange(200_000.0).reshape(400, 500)),
        np.arange(400_000)[::2],
        np.array(["a", None], dtype=object),
        np.arange(100_000, dtype=">i4"),
        np.ma.masked_array(np.arange(50_000), mask=False),
    ]
    for array, back in zip(arrays, pool.map(lambda a: a, arrays), strict=True):
        assert type(back) is type(array)
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        assert (back == array).all()


def test_a_payload_larger_than_the_buffer():
    with Pool(workers=2, buffer_bytes=1 << 20) as pool:
        items = [pattern(n, 5 << 20) for n in range(6)]
        kept = list(pool.map(lambda a: a * 2, items))
        assert all(is_pattern(array, 2 * n) for n, array in enumerate(kept))
        texts = [bytes([n]) * (5 << 20) for n in range(4)]
        assert list(pool.map(lambda text: text, texts)) == texts
        del kept, items
        assert until(lambda: is_at_rest(pool))


def test_large_payloads_use_shared_memory_and_not_the_pipes():
    with Pool(workers=1) as pool:
        list(pool.map(lambda a: a, [pattern(n, 4 << 20) for n in range(5)]))
        stats = pool.stats()
    sent, received = stats.lane_bytes[0]
    assert sent < 1 << 20
    assert received < 1 << 20
    assert stats.arena_bytes[0] >= 4 << 20


def test_memory_is_used_again():
    """A gigabyte goes through a few dozen megabytes."""
    with Pool(workers=1) as pool:
        for _ in pool.map(lambda a: a, (pattern(n) for n in range(1000))):
            pass
        assert pool.stats().arena_bytes[0] <= 64 << 20


# ---- where there is no shared memory ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_without_shared_memory_the_pipe_serves_with_one_warning(tmp_path, method):
    text = f"""
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    import warnings
    import numpy as np
    from orchestrator import Pool
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Pool(workers=2, start_method={method!r}) as pool:
            results = list(pool.map(lambda a: a + 1, [np.full(200_000, n) for n in range(20)]))
            more = list(pool.map(lambda n: np.full(200_000, n), range(20)))
            texts = list(pool.map(lambda t: t[::-1], ["ab" * 100_000] * 4))
    assert all((array == n + 1).all() for n, array in enumerate(results))
    assert all((array == n).all() for n, array in enumerate(more))
    assert texts == ["ba" * 100_000] * 4
    for warning in caught:
        print(warning.category.__name__, warning.message)
    """
    lines = succeeded(run_script(tmp_path, text)).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("ResourceWarning")
    assert "shared memory" in lines[0]
    assert "pipes" in lines[0]


# ---- nothing is left ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_arenas_have_no_name_so_nothing_is_left_when_all_are_killed(tmp_path, method):
    text = f"""
    import json, os, sys
    import numpy as np
    from orchestrator import Pool
    pool = Pool(workers=2, start_method={method!r})
    results = pool.map(lambda n: (os.getppid(), np.full(1_000_000, n)), range(10**9))
    kept = [next(results) for _ in range(5)]
    print(json.dumps([worker.pid for worker in pool.workers]), flush=True)
    for _ in results:
        pass
    """
    with start_script(tmp_path, text) as process:
        pids = json.loads(process.stdout.readline())
        mapped = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in [*pids, process.pid]).splitlines()
        arenas = [line for line in mapped if "/memfd:orchestrator-" in line or "/dev/shm/" in line]
        assert len(arenas) >= 4
        assert all(line.endswith(" (deleted)") for line in arenas)
        for pid in [*pids, process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.wait()
        until(lambda: not any(map(is_running, pids)))


@pytest.mark.parametrize("results_before", [0, 1])
def test_results_of_a_worker_that_died_wait_for_their_turn(tmp_path, results_before):
    """They are read from the arena of the dead worker, not from the one of the worker in its place."""
    gate, done = Gate(tmp_path / "gate"), Tally(tmp_path / "done")

    def first_waits(n):
        if n == results_before:
            gate.wait()
        if n < results_before + 100:
            done.add()
        return n, pattern(n)

    with Pool(workers=2, buffer_bytes=64 << 20) as pool:
        results = pool.map(first_waits, range(300), chunk=1)
        kept = [next(results) for _ in range(results_before)]
        opener = threading.Thread(target=_kill_workers_then_open, args=(pool, done, results_before + 3, gate))
        opener.start()
        kept += results
        opener.join()
        assert [n for n, _ in kept] == list(range(300))
        assert all(is_pattern(array, n) for n, array in kept)


def _kill_workers_then_open(pool, done, wanted, gate):
    until(lambda: done.count >= wanted)
    for worker in pool.workers:
        os.kill(worker.pid, signal.SIGKILL)
    gate.open()


def test_memory_that_the_workers_held_goes_with_them():
    """Workers die with results under way; the pool goes on, and their arenas are not kept."""
    with Pool(workers=2) as pool:
        kept = list(pool.map(pattern, range(10)))
        for worker in pool.workers:
            os.kill(worker.pid, signal.SIGKILL)
        more = list(pool.map(pattern, range(10, 30)))
        assert all(is_pattern(array, n) for n, array in enumerate(kept + more))
        assert pool.stats().deaths >= 1
