"""A random worker is killed every 50 ms; what comes out is what a plain loop over the same items gives.

`CHAOS_ITEMS` says how many items each run has (the long form is `scripts/chaos storm`), `CHAOS_SEED` who is killed.
"""

import os

from support.seed import SEED
from support.storm import Storm, step, work
from support.waiting import is_at_rest, until

from orchestrator import Pool, Stream, run

ITEMS = int(os.environ.get("CHAOS_ITEMS", "4000"))
MAX_DEATHS = 1000
"""The storm blames the innocent: whoever runs is killed."""


def is_even(n):
    return n % 2 == 0


def by_thousand(n):
    return n % 1000


def ordered(pool):
    assert list(pool.map(work, range(ITEMS))) == [n * 7 for n in range(ITEMS)]


def unordered(pool):
    assert sorted(pool.map(work, iter(range(ITEMS)), ordered=False)) == [n * 7 for n in range(ITEMS)]


def stateful(pool):
    """A tee, a route, a window, a join of two sources, and sinks."""
    copied, sums, joined = [], [], []
    routes = Stream(range(ITEMS)).map(work).tee(copied).route({"even": is_even})
    run(
        routes["even"].window(5, 3).map_inline(sum).to(sums),
        routes["rest"].join(Stream(range(1, 1000, 2)).map(work), by_thousand, many=True).to(joined),
        pool=pool,
    )
    worked = [n * 7 for n in range(ITEMS)]
    even, rest = worked[::2], worked[1::2]
    assert copied == worked
    assert sums == [sum(even[at : at + 5]) for at in range(0, len(even), 3)]
    partners = {}
    for n in range(7, 7000, 14):
        partners.setdefault(n % 1000, []).append(n)
    assert sorted(joined) == sorted((n, other) for n in rest for other in partners.get(n % 1000, ()))


def futures_and_steps(pool):
    futures = [pool.submit(work, n) for n in range(ITEMS // 4)]
    assert [future.result() for future in futures] == [n * 7 for n in range(ITEMS // 4)]
    for number in range(ITEMS // 200):
        assert pool.run_on_all(step, number) == [number + 1, number + 1]


def test_a_storm_of_deaths_changes_no_result():
    for scene in (ordered, unordered, stateful, futures_and_steps):
        print(f"CHAOS_SEED={SEED} {scene.__name__}", end="", flush=True)
        with Pool(2, max_deaths=MAX_DEATHS) as pool:
            with Storm(pool, f"{SEED} {scene.__name__}") as storm:
                scene(pool)
            until(lambda: len(pool.workers) == 2)
            until(lambda: is_at_rest(pool))
            print(f": {storm.kills} kills, {pool.stats().deaths} deaths")
            assert storm.kills
