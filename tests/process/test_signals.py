"""Signal handlers call the pool while the thread that they interrupt is inside a call on it."""

import contextlib
import random
import signal
import threading
import time

import pytest
from support.scripts import start_script

from orchestrator import Barrier, ConfigError, Pool, ReentrantCallError, ResourcePool, Stream

SCRIPT = """
    import signal, sys, time
    from orchestrator import Pool, Stream

    def nap(x):
        time.sleep(600 if x else 0)
        return x

    def ends(*_):
        pool.{end}()
        sys.exit(7)

    if __name__ == "__main__":
        pool = Pool(2)
        list(pool.map(abs, range(10)))
        signal.signal(signal.SIGTERM, ends)
        print("ready", flush=True)
        {inside}
"""
INSIDE = {
    "map": "list(pool.map(nap, [0, 1, 1, 1], chunk=1))",
    "busy map": "sum(1 for _ in pool.map(abs, iter(int, 1), chunk=1))",
    "result": "pool.submit(nap, 1).result()",
    "close": "pool.submit(nap, 1); pool.close()",
    "with": "\n        with pool: list(pool.map(nap, [1, 1], chunk=1))",
    "run_on_all": "pool.run_on_all(nap, 1)",
    "executor": (
        "import concurrent.futures; pool = Pool(engine=concurrent.futures.ProcessPoolExecutor(2)); "
        "pool.submit(nap, 1); list(pool.map(nap, [1, 1], chunk=1))"
    ),
    "serial engine": 'Pool(engine="serial", initializer=lambda: (pool.submit(nap, 1), nap(1)))',
}


@pytest.mark.parametrize(("inside", "end"), [*((each, "close") for each in INSIDE), ("busy map", "terminate")])
def test_a_handler_ends_the_pool_and_the_program(tmp_path, inside, end):
    with start_script(tmp_path, SCRIPT.format(end=end, inside=INSIDE[inside])) as program:
        assert program.stdout.readline() == "ready\n"
        time.sleep(random.Random(inside + end).uniform(0, 0.2))  # somewhere in the call: any moment must do
        program.send_signal(signal.SIGTERM)
        _, errors = program.communicate(timeout=60)  # the items take ten minutes
    assert program.returncode == 7, errors
    assert not errors


def double(x):
    return 2 * x


@contextlib.contextmanager
def alarms(handler, every_s=0.002):
    """Have `handler` called over and over in the main thread, wherever that is."""
    inside = False

    def called(*_):
        nonlocal inside
        if not inside:
            inside = True
            try:
                handler()
            finally:
                inside = False

    before = signal.signal(signal.SIGALRM, called)
    signal.setitimer(signal.ITIMER_REAL, every_s, every_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def calls_of(pool, results, futures):
    """Every public method, with what it must give where it does not refuse."""

    def consult(future):
        futures.append(future)
        return future.result(timeout=30)

    return {
        "submit": lambda: futures.append(pool.submit(double, 4)),
        "result": lambda: consult(pool.submit(double, 4)) == 8,
        "map": lambda: list(pool.map(double, range(3))) == [0, 2, 4],
        "stream": lambda: Stream(range(5)).map_inline(double).collect() == [0, 2, 4, 6, 8],
        "run_on_all": lambda: set(pool.run_on_all(double, 1)) == {2},
        "resize": lambda: pool.resize(random.choice([1, 2, 3])),
        "look": lambda: (str(pool.status()), pool.workers, pool.stats(), pool.size, pool.on_output),
        "share": lambda: pool.share([1, 2]).get() == [1, 2],
        "next": lambda: next(results, None),
        "iter": lambda: iter(results),
        "stats": lambda: results.stats,
    }


@pytest.mark.parametrize("inside", ["map", "submit", "run_on_all"])
def test_every_method_works_or_refuses_at_once(inside):
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    refused, worked, futures = set(), set(), []
    with Pool(2) as pool:
        results = pool.map(double, range(20000 if inside == "map" else 0), chunk=1)
        calls = calls_of(pool, results, futures)
        if inside != "map":
            assert list(results) == []

        def handler():
            name = chance.choice(list(calls))
            try:
                assert calls[name]() is not False, name
                worked.add(name)
            except (ReentrantCallError, ConfigError) as error:
                if "signal handler" not in str(error):
                    raise
                refused.add(name)

        with alarms(handler):
            if inside == "map":
                assert list(results) == [double(x) for x in range(20000)]
            elif inside == "submit":
                assert [pool.submit(double, x).result() for x in range(100)] == [double(x) for x in range(100)]
            else:
                assert all(set(pool.run_on_all(double, 2)) == {4} for _ in range(20))
        assert {future.result(timeout=30) for future in futures} <= {8}
    assert worked
    assert not refused & {"resize", "look", "share", "stats"}


def test_results_closed_by_a_handler():
    pool = Pool(2)
    results = pool.map(double, iter(int, 1), chunk=1)
    next(results)
    with alarms(results.close, 0.05), pytest.raises(Exception, match="results were closed"):
        for _ in results:
            pass
    assert list(pool.map(double, range(10))) == [double(x) for x in range(10)]
    pool.close()


def test_a_handler_may_use_the_pool_while_another_thread_waits():
    with Pool(2) as pool:
        answers = []
        first = pool.submit(time.sleep, 0.1)
        threads = [threading.Thread(target=lambda: answers.append(list(pool.map(double, [1] * 50, chunk=1))))]

        def waits():
            with contextlib.suppress(ReentrantCallError):
                first.result(30)

        with alarms(waits):
            threads[0].start()
            assert list(pool.map(double, range(500), chunk=1)) == [double(x) for x in range(500)]
            threads[0].join(30)
        assert answers == [[2] * 50]


@pytest.mark.parametrize("kind", ["barrier", "resources"])
def test_barrier_and_resources_refuse_at_once(kind):
    if kind == "barrier":
        barrier = Barrier(1)
        use, look = barrier.wait, lambda: (barrier.n_waiting, barrier.broken)
    else:
        resources = ResourcePool(object, limit=2)

        def use():
            with resources.acquire():
                pass

        def look():
            use()
            resources.stats()

    seen = []

    def handler():
        try:
            look()
            seen.append("worked")
        except RuntimeError as error:
            if "signal handler" not in str(error):
                raise
            seen.append("refused")

    with alarms(handler, 0.0005):
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            use()
    assert "worked" in seen
    if kind == "resources":
        resources.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # raised within a garbage collection
def test_what_a_handler_raises_in_the_pool_never_leaves_a_hang():
    class StopHereError(Exception):
        pass

    def stops():
        raise StopHereError

    for number in range(8):
        with pytest.raises(StopHereError), Pool(2) as pool, alarms(stops, 0.02 + number * 0.0007):
            for _ in pool.map(double, iter(int, 1), chunk=1):
                pass
