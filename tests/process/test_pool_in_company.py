"""One pool, many users at once: graphs, maps, futures, sources that use the pool themselves, deaths and resizes."""

import os
import queue
import threading
from itertools import count

import pytest
from support.storm import Storm
from support.waiting import DEADLINE_S

from orchestrator import Pool, Stream, run

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "8"))
WANTED = list(range(300))


def graph(pool, source=range(300)):
    got = []
    run(Stream(source).map(abs).map_inline(abs).map(abs).to(got), pool=pool)
    assert got == WANTED


def merged(pool):
    """A map behind a node that holds items itself."""
    got = []
    odd, even = Stream(range(1, 300, 2)).map(abs), Stream(range(0, 300, 2)).map(abs, chunk=1)
    run(Stream.merge(odd, even).map(abs, chunk=3).to(got), pool=pool)
    assert sorted(got) == WANTED


def small_map(pool):
    assert list(pool.map(abs, range(300), chunk=1)) == WANTED


def futures(pool):
    assert [future.result(DEADLINE_S) for future in [pool.submit(abs, n) for n in WANTED]] == WANTED


def source_of_futures(pool):
    graph(pool, (pool.submit(abs, n).result(DEADLINE_S) for n in WANTED))


def source_of_a_map(pool):
    graph(pool, pool.map(abs, WANTED, chunk=7))


def blocking_source(pool):
    arriving = queue.Queue()
    feeder = threading.Thread(target=lambda: [arriving.put(n) for n in (*WANTED, None)])
    feeder.start()
    graph(pool, arriving)
    feeder.join()


USES = (graph, merged, small_map, futures, source_of_futures, source_of_a_map, blocking_source)


class Users:
    """Threads that use the pool, each in its own way, again and again; none may hang, and each must be right."""

    def __init__(self, pool, uses, rounds):
        self.errors = []
        self.threads = [threading.Thread(target=self._go, args=(pool, use, rounds), daemon=True) for use in uses]
        for thread in self.threads:
            thread.start()

    def _go(self, pool, use, rounds):
        try:
            for _ in range(rounds):
                use(pool)
        except BaseException as error:
            self.errors.append((use.__name__, error))

    def join(self):
        for thread in self.threads:
            thread.join(2 * DEADLINE_S)
        assert not self.errors
        assert not [thread for thread in self.threads if thread.is_alive()]


@pytest.mark.parametrize("other", USES, ids=lambda use: use.__name__)
def test_two_at_once(other):
    pool = Pool(2)
    try:
        Users(pool, (graph, other), ROUNDS).join()
    finally:
        pool.terminate()


def test_all_at_once_with_deaths_and_resizes():
    pool = Pool(2, max_deaths=1000)
    try:
        users = Users(pool, USES, ROUNDS)
        with Storm(pool, "company"):
            for size in (1, 3, 2, 4, 2):
                pool.resize(size)
                users.threads[size % len(USES)].join(0.2)
        users.join()
    finally:
        pool.terminate()


def test_a_call_that_refills_the_lanes_at_once_does_not_starve_the_others():
    pool = Pool(2)
    try:
        endless = pool.map(abs, count(), chunk=1)
        over = threading.Event()
        hog = threading.Thread(target=lambda: [None for _ in iter(lambda: over.is_set() or next(endless) < 0, True)])
        hog.start()
        Users(pool, (graph, futures), ROUNDS).join()
        over.set()
        hog.join()
    finally:
        pool.terminate()
