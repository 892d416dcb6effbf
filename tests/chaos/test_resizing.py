"""The pool is resized to 0 to 16 workers every 20 ms while workers are killed: what comes out is what a loop gives.

`CHAOS_ITEMS` says how many items there are at least (the long form is `scripts/chaos resize`), `CHAOS_SEED` what happens.
"""

import contextlib
import os
import random
import signal
import threading
from functools import partial
from itertools import count
from operator import eq, mul

from support.seed import SEED
from support.waiting import is_at_rest, until

from orchestrator import Pool
from orchestrator.pool.internals import internals_of

ITEMS = int(os.environ.get("CHAOS_ITEMS", "2000"))
ROUNDS = max(50, ITEMS // 200)
EVERY_S = 0.02
MOST = 16
WORK = partial(mul, 7)
"""Of no module that takes long to import: most of these workers live for a moment."""
KILLED = 0.02
"""Of the workers that there are, each time."""


class ResizeStorm:
    """Resizes and kills from a thread of its own, until it is left."""

    def __init__(self, pool):
        self.pool = pool
        self.rounds = self.kills = 0
        self._chance = random.Random(SEED)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._blow)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        self.pool.resize(2)

    def _blow(self):
        while not self._done.wait(EVERY_S):
            self.pool.resize(self._chance.randrange(MOST + 1))
            self.rounds += 1
            for pid in internals_of(self.pool).engine.worker_pids():
                if self._chance.random() < KILLED:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        self.kills += 1


def test_a_storm_of_resizes_and_deaths_changes_no_result():
    print(f"CHAOS_SEED={SEED}", end="", flush=True)
    given = 0
    with Pool(2, max_deaths=10**6) as pool:
        with ResizeStorm(pool) as storm:

            def source():
                nonlocal given
                while given < ITEMS or storm.rounds < ROUNDS or not storm.kills:
                    yield given
                    given += 1

            results = pool.map(WORK, source(), chunk=5)
            assert all(map(eq, results, count(0, 7)))
            assert results.stats.items == given
        until(lambda: len(pool.workers) == 2)
        until(lambda: is_at_rest(pool))
        print(f": {given} items, {storm.rounds} resizes, {storm.kills} kills, {pool.stats().deaths} deaths")
