"""Hostile objects: each gives its typed error, none hangs the pool, and the pool goes on."""

import os
import signal
import sys
import threading

import pytest
from support.scripts import run_script, succeeded
from support.waiting import Tally, is_at_rest, until

from orchestrator import (
    ClosedError,
    ConfigError,
    Failure,
    InternalError,
    ItemError,
    OrchestratorError,
    Pool,
    RemoteError,
    WorkerDiedError,
    WorkerStartError,
)


def same(x):
    return x


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("will not be pickled")


class FailsToLoad:
    """Pickles; loading it raises."""

    def __init__(self, kind=ValueError):
        self.kind = kind

    def __reduce__(self):
        return _raise, (self.kind,)


def _raise(kind):
    raise kind("will not be loaded")


class FailsToLoadHere:
    """Loads in a worker, not where it came from."""

    def __init__(self, pid, kind=ValueError):
        self.pid, self.kind = pid, kind

    def __reduce__(self):
        return _raise_in, (self.pid, self.kind)


def _raise_in(pid, kind):
    if os.getpid() == pid:
        raise kind("will not be loaded here")
    return FailsToLoadHere(pid, kind)


class DiesWhenLoaded:
    def __reduce__(self):
        return os._exit, (3,)


class EvilText:
    def __repr__(self):
        raise RuntimeError("no repr")

    __str__ = __repr__


class EvilError(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class NeedsTwo(Exception):  # noqa: N818
    """Pickles, and does not unpickle: its __init__ wants what args does not hold."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


class HoldsLock(Exception):  # noqa: N818
    def __init__(self):
        super().__init__("holds a lock")
        self.lock = threading.Lock()


def raises(kind, *args):
    raise kind(*args)


@pytest.fixture
def two():
    with Pool(workers=2) as pool:
        yield pool
        assert list(pool.map(same, range(20))) == list(range(20)), "the pool goes on"
        until(lambda: is_at_rest(pool))


@pytest.fixture(params=[1, 4, "auto"])
def chunk(request):
    return request.param


# ---- what can't be pickled, or not unpickled ----------------------------------------------------------------------


def test_unpicklable_function(two):
    lock = threading.Lock()
    with pytest.raises(ItemError, match="can't be sent"):
        list(two.map(lambda x: (lock, x), [1]))
    with pytest.raises(ItemError, match="can't be sent"):
        two.submit(lambda: lock).result()
    with pytest.raises(ItemError, match="can't be sent"):
        two.run_on_all(lambda: lock)


def test_unpicklable_item(two, chunk):
    items = [0, 1, Unpicklable(), 3, 4, threading.Lock(), 6]
    results = list(two.map(same, items, on_error="return", chunk=chunk))
    assert [r for r in results if not isinstance(r, Failure)] == [0, 1, 3, 4, 6]
    assert [(r.index, type(r.error)) for r in results if isinstance(r, Failure)] == [(2, ItemError), (5, ItemError)]
    assert results[2].item is items[2]
    assert isinstance(results[2].error.__cause__, Exception)
    with pytest.raises(ItemError) as caught:
        list(two.map(same, items, chunk=chunk))
    assert caught.value.index == 2


def test_unpicklable_arguments_of_submit(two):
    assert isinstance(two.submit(same, Unpicklable()).exception(), ItemError)
    assert two.submit(same, 1).result() == 1


def test_unpicklable_result(two, chunk):
    def sometimes(n):
        return threading.Lock() if n % 3 == 1 else n

    results = list(two.map(sometimes, range(9), on_error="return", chunk=chunk))
    assert [r.index for r in results if isinstance(r, Failure)] == [1, 4, 7]
    assert [r for r in results if not isinstance(r, Failure)] == [0, 2, 3, 5, 6, 8]
    assert "lock" in str(results[1].error)
    with pytest.raises(ItemError) as caught:
        list(two.map(sometimes, range(9), chunk=chunk))
    assert (caught.value.index, caught.value.item) == (1, 1)
    assert isinstance(two.submit(threading.Lock).exception(), Exception)


def test_unpicklable_results_beside_failures(two, chunk):
    def mixed(n):
        if n % 4 == 1:
            raise ValueError(n)
        return threading.Lock() if n % 4 == 2 else n

    results = list(two.map(mixed, range(12), on_error="return", chunk=chunk))
    assert [isinstance(r, Failure) for r in results] == [n % 4 in (1, 2) for n in range(12)]
    assert [r for r in results if r] == [3, 4, 7, 8, 11]
    assert type(results[1].error.__cause__) is ValueError
    assert "pickled" in str(results[2].error)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, StopIteration, EvilError])
def test_item_that_fails_to_load_in_the_worker(two, chunk, kind):
    results = list(two.map(same, [0, FailsToLoad(kind), 2, 3], on_error="return", chunk=chunk))
    assert [isinstance(r, Failure) for r in results] == [False, True, False, False]
    assert results[1].index == 1
    assert isinstance(two.submit(same, FailsToLoad(kind)).exception(), BaseException)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, StopIteration, EvilError])
def test_result_that_fails_to_load_here(two, chunk, kind):
    pid = os.getpid()

    def sometimes(n):
        return FailsToLoadHere(pid, kind) if n == 2 else n

    results = list(two.map(sometimes, range(5), on_error="return", chunk=chunk))
    assert [isinstance(r, Failure) for r in results] == [n == 2 for n in range(5)]
    assert (results[2].index, results[2].item) == (2, 2)
    assert two.submit(sometimes, 2).exception() is not None


@pytest.mark.parametrize("error", [(NeedsTwo, 1, 2), (HoldsLock,), (EvilError,)], ids=["two", "lock", "evil"])
def test_exception_that_does_not_cross(two, chunk, error):
    kind, *args = error
    with pytest.raises(ItemError) as caught:
        list(two.map(lambda _: raises(kind, *args), [0], chunk=chunk))
    assert type(caught.value.__cause__) is (RemoteError if kind is not EvilError else EvilError)
    assert kind.__name__ in str(caught.value)
    assert caught.value.index == 0
    stands_for = two.submit(raises, kind, *args).exception()
    assert isinstance(stands_for, RemoteError if kind is not EvilError else EvilError)


def test_function_that_fails_to_load_in_the_worker(two):
    class Callable(FailsToLoad):
        def __call__(self, x):
            return x

    for _ in range(3):
        with pytest.raises(ItemError):
            list(two.map(Callable(), range(10)))
    with pytest.raises(ItemError):
        two.run_on_all(Callable(), 1)


# ---- what functions may raise -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, SystemExit, StopIteration, MemoryError, BaseException])
def test_any_exception_is_the_items_failure(two, chunk, kind):
    def sometimes(n):
        if n == 1:
            raise kind
        return n

    results = list(two.map(sometimes, range(4), on_error="return", chunk=chunk))
    assert [isinstance(r, Failure) for r in results] == [False, True, False, False]
    assert results[1].index == 1
    if kind is not StopIteration:  # the loop in C can't tell it from the end
        assert type(results[1].error.__cause__) is kind
    with pytest.raises(ItemError):
        list(two.map(sometimes, range(4), chunk=chunk))


def test_evil_items_may_fail(two, chunk):
    with pytest.raises(ItemError):
        list(two.map(lambda _: raises(ValueError, "x"), [EvilText()], chunk=chunk))
    assert type(next(two.map(same, [EvilText()]))) is EvilText
    with pytest.raises(ItemError):
        list(two.map(lambda _: raises(ValueError, EvilText()), [0], chunk=chunk))


def test_sys_exit(two, chunk):
    with pytest.raises(ItemError) as caught:
        list(two.map(sys.exit, [5], chunk=chunk))
    assert type(caught.value.__cause__) is SystemExit
    assert caught.value.__cause__.code == 5
    assert two.stats().deaths == 0


def test_recursion_without_end(two):
    def recurse(x):
        return recurse(x) + 1

    with pytest.raises(ItemError) as caught:
        list(two.map(recurse, [0]))
    assert type(caught.value.__cause__) is RecursionError


# ---- what kills a worker ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("die", "exitcode", "says"),
    [
        (lambda: os._exit(7), 7, "exited with code 7"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), -9, "SIGKILL"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), -11, "SIGSEGV"),
    ],
    ids=["_exit", "SIGKILL", "SIGSEGV"],
)
def test_a_deadly_item_is_named(pool, chunk, die, exitcode, says):
    def deadly(n):
        if n == 3:
            import faulthandler

            faulthandler.disable()
            die()
        return n

    with pytest.raises(WorkerDiedError, match=says) as caught:
        list(pool.map(deadly, range(8), chunk=chunk))
    error = caught.value
    assert (error.item, error.index, error.exitcode, error.attempts) == (3, 3, exitcode, 3)
    assert error.worker in (0, 1)
    assert list(pool.map(same, range(50))) == list(range(50))
    results = list(pool.map(deadly, range(8), on_error="return", chunk=chunk))
    assert [r for r in results if not isinstance(r, Failure)] == [0, 1, 2, 4, 5, 6, 7]
    until(lambda: is_at_rest(pool))


def test_a_deadly_call_of_submit(two):
    error = two.submit(os._exit, 4).exception()
    assert isinstance(error, WorkerDiedError)
    assert error.exitcode == 4
    assert two.submit(same, 1).result() == 1


def test_a_death_costs_a_retry_and_no_more(tmp_path, chunk):
    def dies_first_time(n):
        tally = Tally(tmp_path / str(n))
        tally.add()
        if n % 10 == 3 and tally.count == 1:
            os._exit(1)
        return n

    with Pool(workers=2) as pool:
        assert list(pool.map(dies_first_time, range(30), chunk=chunk)) == list(range(30))
        assert pool.stats().deaths == 3


def test_max_deaths_is_honoured(tmp_path):
    tally = Tally(tmp_path / "tries")

    def deadly(_):
        tally.add()
        os._exit(1)

    with Pool(workers=1, max_deaths=1) as pool, pytest.raises(WorkerDiedError):
        list(pool.map(deadly, [0]))
    assert tally.count == 1


def test_an_item_that_kills_while_it_is_loaded(two):
    results = list(two.map(same, [0, DiesWhenLoaded(), 2], on_error="return"))
    assert [r if not isinstance(r, Failure) else type(r.error) for r in results] == [0, WorkerDiedError, 2]


def test_run_on_all_with_a_deadly_function(two):
    with pytest.raises(WorkerDiedError):
        two.run_on_all(os._exit, 1)


# ---- starting -----------------------------------------------------------------------------------------------------


def test_an_initializer_that_raises(start_method):
    with Pool(workers=2, start_method=start_method, initializer=raises, initargs=(ValueError, "not today")) as pool:
        with pytest.raises(WorkerStartError, match="initializer") as caught:
            list(pool.map(same, range(3)))
        assert type(caught.value.__cause__) is ValueError
        with pytest.raises(WorkerStartError):
            list(pool.map(same, range(3)))
        with pytest.raises(WorkerStartError):
            pool.submit(same, 1).result()


def test_submit_with_an_initializer_that_raises():
    with Pool(workers=2, initializer=raises, initargs=(ValueError, "not today")) as pool, pytest.raises(WorkerStartError):
        pool.submit(same, 1).result()


class DiesInWorkers:
    """A function whose unpickling kills, as the import of a broken extension module does."""

    def __call__(self, x):
        return x

    def __reduce__(self):
        return (os._exit, (9,))


def test_a_function_that_kills_as_it_is_loaded_is_to_blame_and_no_item(pool):
    with pytest.raises(WorkerStartError, match=r"3 workers in a row died while they loaded the function.*exited with code 9"):
        list(pool.map(DiesInWorkers(), range(1000), on_error="skip"))
    assert list(pool.map(str, range(3))) == ["0", "1", "2"]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_an_initializer_that_dies(workers):
    with Pool(workers=workers, initializer=os._exit, initargs=(9,)) as pool:
        with pytest.raises(WorkerStartError, match="exited with code 9"):
            list(pool.map(same, range(3)))
        with pytest.raises(WorkerStartError):
            pool.submit(same, 1).result()
    with Pool(workers=workers, initializer=os._exit, initargs=(9,)) as pool, pytest.raises(WorkerStartError):
        pool.run_on_all(same, 1)


def test_an_initializer_that_can_not_be_pickled():
    with pytest.raises(Exception, match="pickle"):
        Pool(workers=1, initializer=same, initargs=(threading.Lock(),))


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"workers": -1},
        {"workers": 1.5},
        {"workers": True},
        {"start_method": "thread"},
        {"buffer_bytes": 0},
        {"buffer_bytes": "much"},
        {"max_deaths": 0},
        {"initializer": 5},
    ],
)
def test_settings_that_mean_nothing(options):
    with pytest.raises(ConfigError):
        Pool(**{"workers": 1, **options})


def test_fork_is_refused_when_threads_run(monkeypatch):
    monkeypatch.delenv("ORCHESTRATOR_FORCE_FORK", raising=False)
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait, name="bystander")
    thread.start()
    try:
        with pytest.raises(ConfigError, match="bystander"):
            Pool(workers=1, start_method="fork")
    finally:
        gate.set()
        thread.join()


# ---- closed -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [Pool.close, Pool.terminate])
def test_a_closed_pool_says_so(start_method, end):
    pool = Pool(workers=2, start_method=start_method)
    unread = pool.map(same, range(3))
    end(pool)
    end(pool)
    with pytest.raises(ClosedError):
        list(unread)
    with pytest.raises(ClosedError):
        pool.map(same, [1])
    with pytest.raises(ClosedError):
        pool.submit(same, 1)
    with pytest.raises(ClosedError):
        pool.run_on_all(same, 1)
    with pytest.raises(ClosedError):
        pool.__enter__()
    assert pool.size == 0
    assert pool.workers == ()
    assert pool.stats().chunks_in_flight == 0


@pytest.mark.parametrize("end", [Pool.close, Pool.terminate])
def test_a_map_in_the_middle_of_which_the_pool_is_closed(end):
    pool = Pool(workers=2)
    results = pool.map(same, iter(range(10**9)))
    assert next(results) == 0
    end(pool)
    with pytest.raises(ClosedError):
        for _ in results:
            pass


def test_a_pool_can_not_be_sent(two):
    with pytest.raises(ItemError, match="nested pools work"):
        list(two.map(same, [two]))


# ---- nested -------------------------------------------------------------------------------------------------------


def inner(n):
    with Pool(workers=2) as pool:
        return sum(pool.map(same, range(n)))


def test_a_pool_in_a_worker(pool):
    assert list(pool.map(inner, [10, 20, 30])) == [45, 190, 435]


def test_a_pool_in_a_worker_that_is_never_closed(tmp_path):
    """It goes with the worker; closing the outer pool does not wait for it."""
    text = """
    from orchestrator import Pool
    kept = []
    def leave_open(n):
        from orchestrator import Pool, pool
        pool.left_open = Pool(workers=2)
        return sum(pool.left_open.map(abs, range(n)))
    with Pool(workers=2) as outer:
        print(list(outer.map(leave_open, [3, 4])))
    """
    assert succeeded(run_script(tmp_path, text)) == "[3, 6]\n"


class UnaddableError(Exception):
    """Takes no attribute, no note, and has no text."""

    def __setattr__(self, name, value):
        raise AttributeError(name)

    def __str__(self):
        raise RuntimeError("no text")


class RefusesToBePickled:
    def __reduce__(self):
        raise UnaddableError


class RefusesToBeLoaded:
    def __reduce__(self):
        return _raise, (UnaddableError,)


@pytest.mark.parametrize("item", [RefusesToBePickled(), RefusesToBeLoaded()], ids=["pickling", "loading"])
def test_an_error_without_text_that_takes_no_note_is_an_items_failure(pool, item):
    results = list(pool.map(same, [1, item, 3], on_error="return"))
    assert results[0::2] == [1, 3]
    assert isinstance(results[1], Failure)
    assert "UnaddableError" in str(results[1].error)
    assert list(pool.map(same, [4])) == [4]


def forks_and_returns_twice(x):
    if x == 3 and (pid := os.fork()):
        os.waitpid(pid, 0)
    return x


def test_a_function_that_forks_and_returns_in_the_child_too_is_told_apart_from_a_bug_of_ours():
    with Pool(2) as pool, pytest.raises(OrchestratorError, match=r"forked in worker \d.*os\._exit") as raised:
        list(pool.map(forks_and_returns_twice, range(6), chunk=1))
    assert not isinstance(raised.value, InternalError)
