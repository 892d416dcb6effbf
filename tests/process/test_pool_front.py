"""`orchestrator.fronts.multiprocessing.Pool` beside `multiprocessing.Pool`: the same program gives the same."""

import gc
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import time
from functools import partial
from itertools import chain

import pytest
from support.waiting import until

from orchestrator import WorkerDiedError
from orchestrator.fronts.multiprocessing import Pool


def divide(x, y=2):
    return 100 // y + x


def fails_at_seven(x):
    if x == 7:
        raise LookupError(x)
    return x


def breaks_off(n):
    yield from range(n)
    raise OSError("no more")


def outcome(call):
    try:
        return call()
    except BaseException as error:
        return type(error), str(error), type(error.__cause__)


def taken(iterator):
    """Give all that an iterator gives and raises, until it ends."""
    found = []
    while True:
        try:
            found.append(next(iterator))
        except StopIteration:
            return found
        except Exception as error:
            found.append(repr(error))
            if isinstance(error, OSError):
                return found


def by_callbacks(submit):
    told = []
    result = submit(told.append, lambda error: told.append(repr(error)))
    result.wait()
    return told, result.successful()


CASES = {
    "apply": lambda p: p.apply(divide, (1,), {"y": 5}),
    "apply raises": lambda p: p.apply(divide, (1, 0)),
    "apply_async": lambda p: p.apply_async(divide, [1]).get(),
    "callback": lambda p: by_callbacks(lambda done, failed: p.apply_async(divide, (1,), {}, done, failed)),
    "error_callback": lambda p: by_callbacks(lambda done, failed: p.apply_async(divide, (1, 0), {}, done, failed)),
    "map": lambda p: p.map(divide, range(30)),
    "map of a generator": lambda p: p.map(divide, (n for n in range(30)), 7),
    "map of nothing": lambda p: p.map(divide, []),
    "map raises": lambda p: p.map(fails_at_seven, range(30), 4),
    "map of a source that raises": lambda p: p.map(divide, breaks_off(5)),
    "map callback": lambda p: by_callbacks(lambda done, failed: p.map_async(divide, range(9), 2, done, failed)),
    "map error_callback": lambda p: by_callbacks(lambda done, failed: p.map_async(fails_at_seven, range(9), 2, done, failed)),
    "map callback of nothing": lambda p: by_callbacks(lambda done, failed: p.map_async(divide, [], 2, done, failed)),
    "starmap": lambda p: p.starmap(divide, [(1, 2), (3, 4)], 1),
    "starmap_async": lambda p: p.starmap_async(divide, zip(range(9), range(1, 10), strict=True)).get(),
    "imap": lambda p: list(p.imap(divide, range(50))),
    "imap in chunks": lambda p: list(p.imap(divide, range(50), 7)),
    "imap goes on after a failure": lambda p: taken(p.imap(fails_at_seven, range(12))),
    "imap of a source that raises": lambda p: taken(p.imap(divide, breaks_off(5), 2)),
    "imap_unordered": lambda p: sorted(p.imap_unordered(divide, range(50), 3)),
    "imap_unordered with a failure": lambda p: sorted(map(str, taken(p.imap_unordered(fails_at_seven, range(12))))),
    "chunksize 0": lambda p: p.imap(divide, [1], 0),
    "get too early": lambda p: outcome(lambda: p.apply_async(time.sleep, (0.5,)).get(0.01))[0],
    "next too early": lambda p: outcome(lambda: p.imap(time.sleep, [0.5]).next(0.01))[0],
    "unordered too early": lambda p: outcome(lambda: p.imap_unordered(time.sleep, [0.5]).next(timeout=0.01))[0],
    "successful too early": lambda p: outcome(lambda: p.apply_async(time.sleep, (0.5,)).successful())[0],
    "an argument that can't be sent": lambda p: outcome(lambda: p.apply(id, (threading.Lock(),)))[0],
    "a result that can't": lambda p: outcome(lambda: p.apply(threading.Lock))[0].__name__,
    "pickled": lambda p: outcome(lambda: pickle.dumps(p))[0],
    "join too early": lambda p: p.join(),
}
ENDS = {
    "closed": lambda p: (p.close(), outcome(lambda: p.apply(divide, (1,)))),
    "terminated": lambda p: (p.terminate(), outcome(lambda: p.map(divide, [1])), p.join()),
    "left by with": lambda p: (p.__exit__(None, None, None), outcome(lambda: p.imap(divide, [1]))),
    "close finishes": lambda p: [(r := p.map_async(divide, range(40), 1)), p.close(), p.join(), r.get()][-1],
    "close finishes an imap": lambda p: [(r := p.imap(divide, range(400))), next(r), p.close(), p.join(), list(r)][-1],
    "twice": lambda p: (p.close(), p.close(), p.join(), p.join(), p.terminate()),
}


def test_both_give_the_same():
    found = []
    for make in (Pool, multiprocessing.get_context("forkserver").Pool):
        pool = make(2)
        found.append({name: outcome(lambda call=call, p=pool: call(p)) for name, call in CASES.items()})
        pool.close()
        pool.join()
        for name, call in ENDS.items():
            pool = make(2)
            found[-1][name] = outcome(lambda call=call, p=pool: call(p))
            pool.terminate()
            pool.join()
        del pool
    gc.collect()  # theirs hold on to semaphores
    ours, theirs = found
    assert ours == theirs


@pytest.mark.parametrize("bad", [{"processes": 0}, {"maxtasksperchild": 0}, {"maxtasksperchild": "3"}, {"initializer": 3}])
def test_what_theirs_refuses_ours_does(bad):
    assert outcome(lambda: Pool(**bad))[:2] == outcome(lambda: multiprocessing.Pool(**bad))[:2]


def test_a_worker_that_dies_hangs_nobody():
    with Pool(2) as pool:
        with pytest.raises(WorkerDiedError):
            pool.apply(dies)
        assert pool.map(divide, range(4)) == [50, 51, 52, 53]
    pool.join()


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_generator_is_read_only_as_far_as_workers_need_it():
    with Pool(2) as pool:
        results = pool.imap(divide, itertools.count())
        assert [next(results) for _ in range(3)] == [50, 51, 52]
    pool.join()


def test_what_nobody_takes_runs_all_the_same(tmp_path):
    with Pool(2) as pool:
        pool.imap_unordered(partial(leave_in, tmp_path), range(300), 7)
        until(lambda: any(tmp_path.iterdir()))
        pool.close()
        pool.join()
    assert len(list(tmp_path.iterdir())) == 300


def leave_in(folder, n):
    (folder / str(n)).touch()


def test_threads_share_an_iterator():
    with Pool(2) as pool:
        results = pool.imap(divide, range(400), 3)
        found = [[] for _ in range(4)]
        threads = [threading.Thread(target=mine.extend, args=(results,)) for mine in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(chain(*found)) == [n + 50 for n in range(400)]
    pool.join()


def test_a_worker_is_replaced_after_its_share_and_has_its_initializer():
    with Pool(1, initializer=os.putenv, initargs=("FRONT", "set"), maxtasksperchild=2) as pool:
        assert len({pool.apply(os.getpid) for _ in range(6)}) == 3
        assert pool.apply(os.system, ('test "$FRONT" = set',)) == 0
    pool.join()


def test_a_callback_that_raises_is_logged_and_harms_nobody(caplog):
    with Pool(1) as pool:
        assert pool.apply_async(divide, (1,), callback=lambda _: 1 / 0).get(60) == 51
        assert "ZeroDivisionError" in caplog.text
        assert pool.apply(divide, (2,)) == 52
    pool.join()


def test_one_that_is_dropped_warns_and_ends():
    pool = Pool(1)
    pid = pool.apply(os.getpid)
    with pytest.warns(ResourceWarning, match="unclosed running multiprocessing pool"):
        del pool
    until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_a_result_keeps_its_pool(recwarn):
    result = Pool(1).apply_async(divide, (1,))
    assert result.get(60) == 51
    result._pool.terminate()
    result._pool.join()


def test_a_failure_costs_its_chunk_and_nothing_else():
    with Pool(2) as pool:
        assert taken(pool.imap(fails_at_seven, range(12), 4)) == [0, 1, 2, 3, "LookupError(7)", 8, 9, 10, 11]
    pool.join()
