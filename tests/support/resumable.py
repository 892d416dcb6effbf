"""Runs that can be killed at any instant: `python -m tests.support.resumable NAME FOLDER` runs one, or resumes it.

A third argument is the seed of a storm that kills a worker of it every 50 ms.

Each is slow enough to be hit in the middle, and gives the same in every undisturbed run.
"""

import gc
import random
import sys
import time
from contextlib import closing, nullcontext
from pathlib import Path

from orchestrator import Pool, Stream, Workflow, run
from orchestrator.checkpoint.journal import Journal
from orchestrator.checkpoint.plain_data import has_pickles
from orchestrator.graph import barrier
from tests.support.storm import Storm


def pace(x):
    """Be slow now and then, so that chunks end in any order."""
    if x % 100 == 0:
        time.sleep(0.005)
    return x * 7


def is_even(x):
    return x % 2 == 0


def by_five(x):
    return x % 5


def by_thousand(x):
    return x % 1000


def seconds(x):
    return x / 100


def span(window):
    return [window.start_s, len(window.items), sum(window.items)]


def numbers(count):
    """A source that can't be sliced."""
    yield from range(count)


def one_stage(folder):
    return [Stream(numbers(30_000)).map(pace).to(f"{folder}/out.txt")]


def patterns(folder):
    """Two stages, a tee, a route, two kinds of windows, a join of two sources, outputs by key."""
    worked = Stream(range(20_000)).map(pace).tee(f"{folder}/tee.jsonl.gz")
    routes = worked.route({"even": is_even})
    even, timed = routes["even"].broadcast(2)
    left, right = Stream(numbers(6_000)).map(pace), Stream(range(0, 3_000, 2))
    return [
        even.window(5, 3).map_inline(sum).to(f"{folder}/sums.txt"),
        timed.window_by_time(30, seconds, step_s=10).map(span).to(f"{folder}/spans.txt"),
        routes["rest"].map(pace, chunk=7).demultiplex(by_five, to=lambda key: f"{folder}/rest-{key}.txt"),
        left.join(right, by_thousand, many=True, how="full").to(f"{folder}/joined.txt"),
    ]


def behind_a_barrier(folder):
    barrier.HELD_ITEMS = 4_000  # so that some are on the disk, and some are not
    steps = Workflow("both").step("first", pace).barrier(gc.collect).step("second", pace)
    return [Stream(numbers(15_000)).through(steps).to(f"{folder}/out.txt")]


def unordered(folder):
    return [Stream(range(30_000)).map(pace, ordered=False).to(f"{folder}/out.txt")]


def fails_at_13(x):
    pace(x)
    if x % 97 == 13:
        raise ValueError(x)
    return x


def fails_at_6(x):
    pace(x)
    if x % 89 == 6:
        raise KeyError((x, "a tuple"))
    return x


def with_dead_letters(folder):
    first = Stream(numbers(12_000)).map(fails_at_13, on_error="skip", dead_letters=f"{folder}/first")
    both = {"on_error": "skip", "retries": 1, "dead_letters": f"{folder}/second"}
    return [first.filter_inline(is_even).map(fails_at_6, **both).to(f"{folder}/out.txt")]


def draws(x):
    """Return an item with what the pool's seed has it draw."""
    return [pace(x), random.random()]


def draws_again(pair):
    return [*pair, random.randrange(1000)]


def seeded(folder):
    """Stages that draw random numbers, one of them ended before the other begins."""
    steps = Workflow("drawn").step("first", draws).barrier().step("second", draws_again)
    return [
        Stream(numbers(5_000)).through(steps).to(f"{folder}/steps.txt"),
        Stream(range(4_000)).filter(is_even).map(draws, ordered=False).map(draws_again).to(f"{folder}/fused.txt"),
    ]


RUNS = {each.__name__: each for each in (one_stage, patterns, behind_a_barrier, unordered, with_dead_letters, seeded)}
ANY_ORDER = {"unordered", "seeded"}

if __name__ == "__main__":
    name, where, *weather = sys.argv[1:]
    output = Path(where, "out")
    output.mkdir(parents=True, exist_ok=True)
    with closing(Journal(str(Path(where, "journal")))) as journal:
        if journal.complete:  # killed behind its end: once more would add to the dead letters
            sys.exit()
        assert not has_pickles(journal.state), "items that are plain data are kept as data"
    seed = 7 if name == "seeded" else None
    with Pool(2, max_deaths=1000, seed=seed) as shared, Storm(shared, weather[0]) if weather else nullcontext():
        run(*RUNS[name](output), pool=shared, checkpoint=Path(where, "journal"), checkpoint_every_s=0.02)
