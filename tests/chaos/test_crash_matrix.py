"""Where a worker dies, how it dies, and how it was started: whatever the three are, only the item at fault is missing.

`CHAOS_MATRIX=full` takes the whole cross product (`scripts/chaos matrix`); else each place meets each start method, and
nearly each way of dying.
"""

import os
from functools import partial

import numpy
import pytest
from support.traps import (
    DEADLY,
    HOW,
    Trap,
    WhenLoaded,
    WhenPickled,
    having_written,
    holding,
    in_step,
    placing,
    raising,
    running,
    same,
    spring_beside,
    with_trap,
    writing,
)
from support.waiting import Gate, is_at_rest, is_running, until

from orchestrator import Failure, ItemError, Pool, WorkerDiedError, WorkerStartError

ITEMS, ALWAYS, ONCE = 12, 4, 9
"""Of the items one is always deadly, and one only the first time."""
CHUNK = 4
MAX_DEATHS = 3
EXIT_CODES = {"SIGKILL": -9, "SIGSEGV": -11, "os._exit(0)": 0, "os._exit(3)": 3}


class Cell:
    """One field of the matrix: its pool, and its two traps."""

    def __init__(self, how, pool, start_method, folder):
        self.how, self.pool, self.start_method, self.folder = how, pool, start_method, folder
        self.always, self.once = Trap(how), Trap(how, str(folder / "once"))
        self.traps = {ALWAYS: self.always, ONCE: self.once}

    def check_map(self, function, items, *, pool=None, fails_otherwise=(), tries=2, **options):
        """Run the items: all come out once, in order, but the one at fault, which is named."""
        pool = pool or self.pool
        results = list(pool.map(function, items, chunk=CHUNK, retries=1, on_error="return", **options))
        faults = {ALWAYS: self.error, **dict.fromkeys(fails_otherwise, ItemError)}
        expected = [faults.get(n, n) for n in range(ITEMS)]
        assert [type(r.error) if isinstance(r, Failure) else r for r in results] == expected
        assert [r.index for r in results if isinstance(r, Failure)] == sorted(faults)
        assert results[ALWAYS].attempts == (MAX_DEATHS if self.error is WorkerDiedError else tries)
        if self.error is WorkerDiedError:
            assert results[ALWAYS].error.exitcode == EXIT_CODES[self.how]

    @property
    def error(self):
        return WorkerDiedError if self.how in DEADLY else ItemError


# ---- the places ---------------------------------------------------------------------------------------------------


def unpickling_the_function(cell):
    """No item is at fault: where it dies every time the call ends, not the pool."""
    always = cell.pool.map(WhenLoaded(cell.always, same), range(2), on_error="return")
    if cell.how in DEADLY:
        assert list(cell.pool.map(WhenLoaded(cell.once, same), range(ITEMS), chunk=CHUNK)) == list(range(ITEMS))
        with pytest.raises(WorkerStartError, match="died while they loaded the function"):
            list(always)
    else:  # an exception stays with the worker that could not load it
        assert [(r.index, type(r.error)) for r in always] == [(0, ItemError), (1, ItemError)]


def unpickling_the_item(cell):
    items = [WhenLoaded(cell.traps[n], n) if n in cell.traps else n for n in range(ITEMS)]
    cell.check_map(same, items, tries=1)


def running_it(cell):
    cell.check_map(partial(with_trap, running, cell.traps), range(ITEMS))


def running_it_where_one_death_is_enough(cell):
    """Whoever else is in the worker has died with it once too, and is innocent."""
    with Pool(2, start_method=cell.start_method, max_deaths=1) as pool:
        function = partial(with_trap, running, {100: cell.always, 300: cell.always})
        results = list(pool.map(function, range(400), chunk=1, on_error="return"))
    assert [(r.index, type(r.error)) for r in results if isinstance(r, Failure)] == [
        (100, WorkerDiedError), (300, WorkerDiedError)]  # fmt: skip


def running_it_under_a_deadline(cell):
    cell.check_map(partial(with_trap, running, cell.traps), range(ITEMS), timeout=60)


def pickling_the_result(cell):
    cell.check_map(partial(with_trap, WhenPickled, cell.traps), range(ITEMS))


def pickling_the_exception(cell):
    cell.check_map(partial(with_trap, raising, cell.traps), range(ITEMS), fails_otherwise=(ONCE,))


def writing_more_than_the_pipe_takes(cell):
    with Pool(2, start_method=cell.start_method, max_deaths=MAX_DEATHS, buffer_bytes=1 << 16) as pool:
        cell.check_map(partial(with_trap, writing, cell.traps), range(ITEMS), pool=pool)
        check_whole(pool)


def having_written_the_result(cell):
    """It is kept, although it takes several reads: what has run is not run again."""
    with Pool(1, start_method=cell.start_method, max_deaths=1, buffer_bytes=1 << 16) as pool:
        [pid] = [each.pid for each in pool.workers]
        results = pool.map(partial(with_trap, having_written, {2: cell.always}), [0, 2], chunk=1)
        assert next(results) == 0
        until(lambda: not is_running(pid))  # before anybody reads what it wrote
        assert next(results) == 2
        until(lambda: pool.workers and pool.stats().deaths == 1)


def placing_a_large_result(cell):
    cell.check_map(partial(with_trap, placing, cell.traps), range(ITEMS))


def holding_a_lease(cell):
    arrays = [numpy.full(50_000, n) for n in range(ITEMS)]
    cell.check_map(partial(holding, cell.traps), arrays)


def being_idle(cell):
    gate, pids = Gate(cell.folder / "gate"), {each.pid for each in cell.pool.workers}
    cell.pool.run_on_all(spring_beside, cell.always, str(gate.path))
    gate.open()
    until(lambda: not pids & {each.pid for each in cell.pool.workers})


def starting_up(cell):
    options = {"start_method": cell.start_method, "max_deaths": MAX_DEATHS}
    if cell.how in DEADLY:
        with Pool(2, initializer=cell.once.spring, **options) as pool:
            check_whole(pool)
    with Pool(2, initializer=cell.always.spring, **options) as pool, pytest.raises(WorkerStartError) as caught:
        list(pool.map(same, range(ITEMS)))
    assert cell.how.startswith("SIG") == ("was killed by" in str(caught.value))


def in_a_superstep(cell):
    if cell.how in DEADLY:
        assert cell.pool.run_on_all(in_step, cell.once) == [0, 1]
    with pytest.raises(cell.error) as caught:
        cell.pool.run_on_all(in_step, cell.always)
    assert caught.value.index == 1


WHERE = {
    unpickling_the_function: HOW,
    unpickling_the_item: HOW,
    running_it: HOW,
    running_it_where_one_death_is_enough: DEADLY,
    running_it_under_a_deadline: HOW,
    pickling_the_result: HOW,
    pickling_the_exception: HOW,
    writing_more_than_the_pipe_takes: DEADLY,
    having_written_the_result: DEADLY,
    placing_a_large_result: DEADLY,
    holding_a_lease: HOW,
    being_idle: DEADLY,
    starting_up: HOW,
    in_a_superstep: HOW,
}


TAKEN = {"forkserver": (0, 3), "spawn": (2,), "fork": (1, 4)}
"""Of each place's ways of dying, counted from the place's own number on."""


def cells(start_method):
    """The cells of a start method."""
    for row, (where, ways) in enumerate(WHERE.items()):
        ways = tuple(ways)
        taken = range(len(ways)) if os.environ.get("CHAOS_MATRIX") == "full" else TAKEN[start_method]
        yield from ((where, how) for how in dict.fromkeys(ways[(row + n) % len(ways)] for n in taken))


def check_whole(pool):
    """The pool has its size again, and works."""
    assert list(pool.map(same, range(20), chunk=3)) == list(range(20))
    until(lambda: len(pool.workers) == 2 and {each.state for each in pool.workers} == {"ready"})
    until(lambda: is_at_rest(pool))


def test_only_the_item_at_fault_is_missing(start_method, tmp_path, capfd):
    broken = []
    with Pool(2, start_method=start_method, max_deaths=MAX_DEATHS) as pool:
        for where, how in cells(start_method):
            folder = tmp_path / f"{where.__name__}-{how}"
            folder.mkdir()
            cell = Cell(how, pool, start_method, folder)
            try:
                where(cell)
                check_whole(pool)
            except Exception as error:
                broken.append(f"{where.__name__} by {how}: {type(error).__name__}: {error}")
    assert not broken, "\n".join(broken)
