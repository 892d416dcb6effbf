"""`MapResults.next(timeout)` loses nothing, and `start()` begins what is otherwise lazy."""

from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.waiting import Gate, Tally, until

from orchestrator import ClosedError, ConfigError, ItemError, Pool


@pytest.fixture(scope="module")
def shared():
    with Pool(workers=2) as pool:
        yield pool


@pytest.fixture(scope="module", autouse=True)
def before_the_leak_check(shared):
    """Have the shared pool there before the leak check of the first test counts."""


def double(x):
    return x * 2


def three_fails(x):
    return 1 // (x - 3)


def asked(results, timeout):
    """The next result, however often it has to be asked for; "end" at the end."""
    while True:
        try:
            return results.next(timeout)
        except TimeoutError:
            continue
        except StopIteration:
            return "end"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ways=st.lists(st.sampled_from(["next", "for", 0, 1e-5, 0.001, 5, "start"]), max_size=40),
    chunk=st.sampled_from(["auto", 1, 7]),
    engine=st.sampled_from(["local", "serial"]),
)
def test_however_it_is_asked_for_each_result_comes_once(shared, ways, chunk, engine):
    pool = shared if engine == "local" else Pool(engine="serial")
    found, results = [], pool.map(double, range(30), chunk=chunk)
    for way in ways:
        if way == "start":
            assert results.start() is results
        elif way == "for":
            found += islice(results, 1)
        else:
            found.append(next(results, "end") if way == "next" else asked(results, way))
    found += results
    assert [each for each in found if each != "end"] == [double(x) for x in range(30)]
    if pool is not shared:
        pool.close()


def test_a_result_that_is_not_there_is_asked_for_again(shared, tmp_path):
    gate = Gate(tmp_path / "gate")

    def wait(x):
        gate.wait()
        return x

    with shared.map(wait, range(2), chunk=1) as results:
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError, match="not there after"):
                results.next(timeout)
        gate.open()
        assert [results.next(60), results.next()] == [0, 1]
        with pytest.raises(StopIteration):
            results.next(0)


def test_a_failure_comes_at_its_place(shared):
    results = shared.map(three_fails, range(6), chunk=1)
    assert [asked(results, 0.001) for _ in range(3)] == [-1, -1, -1]
    with pytest.raises(ItemError, match="ZeroDivisionError"):
        asked(results, 0.001)
    assert asked(results, 0.001) == "end"


def test_a_map_that_is_started_runs_though_nobody_asks(shared, tmp_path):
    ran = Tally(tmp_path / "ran")

    def tell(x):
        ran.add()
        return x

    results = shared.map(tell, range(5), chunk=1)
    assert "not started" in repr(results)
    results.start().start()
    assert "running" in repr(results)
    until(lambda: ran.count >= 2)
    assert list(results) == list(range(5))
    results.start()
    assert ran.count == 5


def test_one_that_is_started_and_dropped_ends_without_a_word(shared):
    shared.map(double, range(10)).start()
    results = shared.map(double, range(10)).start()
    results.close()
    assert "ended" in repr(results)


def test_what_can_not_start_says_so(shared):
    pool = Pool(1)
    late, closed = pool.map(double, [1]), shared.map(double, [1])
    closed.close()
    pool.close()
    for results in (late, closed):
        with pytest.raises(ClosedError):
            results.start()
        assert "ended" in repr(results)
    with pytest.raises(ConfigError, match="timeout"):
        shared.map(double, [1]).start().next("soon")
