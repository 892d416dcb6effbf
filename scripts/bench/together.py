"""Rows of what workers do together: exchange arrays, k-means over several passes, look at one shared array.

numpy is imported where it is used, since the other rows are measured from the same program.
"""

import multiprocessing
import os
import pickle
import threading
import time
from pathlib import Path

from sides import OURS

MANAGER, PIPES = "multiprocessing.Manager", "pipes"
GATHER_SIDES = (OURS, MANAGER, PIPES)
K_MEANS_SIDES = ("1 worker", "2 workers")
PARTIES = 4
ARRAY_BYTES = 1 << 20
PARTITIONS = 8


# ---- all_gather ---------------------------------------------------------------------------------------------------


def _clocked(gather, rank, rounds):
    """Seconds that a party takes for so many rounds, each checked; two before them are for the first touch."""
    import numpy as np

    for number in range(rounds + 2):
        if number == 2:
            started = time.perf_counter()
        values = gather(np.full(ARRAY_BYTES // 8, float(number * PARTIES + rank)))
        if [value[-1] for value in values] != [number * PARTIES + other for other in range(PARTIES)]:
            raise RuntimeError("a value of another round")
    return time.perf_counter() - started


def _with_us(rounds):
    import workers

    here = workers.current()
    return _clocked(here.all_gather, here.id, rounds)


def _with_manager(rank, rounds, values, barrier, answer):
    def gather(value):
        values[rank] = value
        barrier.wait()
        gathered = [values[other] for other in range(PARTIES)]
        barrier.wait()
        return gathered

    answer.put(_clocked(gather, rank, rounds))


def _with_pipes(rank, rounds, pipes, answer):
    """Each pickles once and writes to all others in a thread, since a pipe holds less than an array."""

    def send(data):
        for other in range(PARTIES):
            if other != rank:
                pipes[rank][other][1].send_bytes(data)

    def gather(value):
        sender = threading.Thread(target=send, args=(pickle.dumps(value, 5),))
        sender.start()
        gathered = [
            value if other == rank else pickle.loads(pipes[other][rank][0].recv_bytes()) for other in range(PARTIES)
        ]
        sender.join()
        return gathered

    answer.put(_clocked(gather, rank, rounds))


def _processes(target, *arguments):
    answer = multiprocessing.SimpleQueue()
    others = [multiprocessing.Process(target=target, args=(rank, *arguments, answer)) for rank in range(PARTIES)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    return max(answer.get() for _ in others)


def gather4(side, *, quick):
    rounds = 5 if quick else 100
    if side == OURS:
        from orchestrator import Pool

        with Pool(workers=PARTIES) as pool:
            seconds = max(pool.run_on_all(_with_us, rounds))
    elif side == MANAGER:
        with multiprocessing.Manager() as manager:
            values = manager.list([None] * PARTIES)
            seconds = _processes(_with_manager, rounds, values, multiprocessing.Barrier(PARTIES))
    else:
        pipes = [[multiprocessing.Pipe(duplex=False) for _ in range(PARTIES)] for _ in range(PARTIES)]
        seconds = _processes(_with_pipes, rounds, pipes)
    return {"value": seconds / rounds * 1e3}


# ---- k-means ------------------------------------------------------------------------------------------------------


def _sums(points, centres):
    """Sums and counts of the points nearest to each centre, by blocks that stay in the cache."""
    import numpy as np

    total = np.zeros((len(centres), points.shape[1] + 1))
    squares = (centres**2).sum(axis=1)
    for start in range(0, len(points), 8192):
        block = points[start : start + 8192]
        nearest = (squares - 2 * block @ centres.T).argmin(axis=1)
        for column in range(points.shape[1]):
            total[:, column] += np.bincount(nearest, block[:, column], len(centres))
        total[:, -1] += np.bincount(nearest, minlength=len(centres))
    return total


def _passes(points, centres, passes):
    import numpy as np

    import workers

    here = workers.current()
    parts = np.array_split(points.get(), PARTITIONS)
    for _ in range(passes):
        own = {number: _sums(parts[number], centres) for number in range(here.id, PARTITIONS, here.pool_size)}
        every = {number: sums for gathered in here.all_gather(own) for number, sums in gathered.items()}
        total = every[0]
        for number in range(1, PARTITIONS):
            total = total + every[number]
        centres = total[:, :-1] / np.maximum(total[:, -1:], 1)
    return centres


def k_means(side, *, quick):
    """Every worker's BLAS has one thread, so that one worker is one core."""
    import numpy as np

    from orchestrator import Pool

    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    points = np.random.default_rng(1).normal(size=(100_000 if quick else 2_000_000, 8))
    with Pool(workers=int(side[0])) as pool:
        shared = pool.share(points)
        pool.run_on_all(_passes, shared, points[:16], 1)
        started = time.perf_counter()
        found = pool.run_on_all(_passes, shared, points[:16], 2 if quick else 10)
        seconds = time.perf_counter() - started
    return {"value": seconds, "detail": {"result": found[0].tobytes().hex()[:16]}}


# ---- share --------------------------------------------------------------------------------------------------------


def _look(handle):
    return float(handle.get().sum())


def _shared_bytes(pid):
    total, counts = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if "-" in line.split(maxsplit=1)[0]:
            counts = "orchestrator-shared" in line
        elif counts and line.startswith("Pss:"):
            total += int(line.split()[1]) << 10
    return total


def share(side, *, quick):  # noqa: ARG001 - there is one side
    """What an array takes in 4 workers that look at all of it, as a part of its size; and how long that takes."""
    import numpy as np

    from orchestrator import Pool

    array = np.ones((1 << 24 if quick else 1 << 30) // 8)
    with Pool(workers=4) as pool:
        pool.run_on_all(os.getpid)
        started = time.perf_counter()
        handle = pool.share(array)
        written = time.perf_counter() - started
        pool.run_on_all(_look, handle)
        seconds = time.perf_counter() - started
        copies = sum(_shared_bytes(info.pid) for info in pool.workers) / array.nbytes
    return {
        "value": copies,
        "detail": {"seconds to share": round(written, 3), "until all have summed it": round(seconds, 3)},
    }
