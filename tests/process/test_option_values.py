"""Whatever an option is given: it is refused in one sentence or works, and the pool goes on."""

import math
import os
import time
from fractions import Fraction

import pytest

from orchestrator import ConfigError, Pool, Stream, run
from orchestrator.engine.core.retry import RetryPolicy
from orchestrator.engine.protocol.counts import StageCounts
from orchestrator.engine.recovery.recovery import Recovery
from orchestrator.errors import ItemError, ItemTimeoutError, WorkerDiedError

HUGE = 10**5000


class Bad:
    """Raises whatever is asked of it."""

    def _refuse(self, *_):
        raise RuntimeError("mine")

    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __bool__ = __float__ = __index__ = __repr__ = __str__ = __iter__ = _refuse
    __hash__ = object.__hash__


class Meta(type):
    def __getattribute__(cls, name):
        raise ValueError


class NamelessKind(metaclass=Meta):
    pass


HOSTILE = [HUGE, -HUGE, 1e308, math.nan, math.inf, -math.inf, -1, 0, -0.5, 2.5, True, None, "x"]
HOSTILE += ["9" * 5000, "\0", "", object(), Bad(), b"1", [], {}, (1, 2), Fraction(1, 3), 1j, range(3), int]
POOL = ("start_method", "initializer", "initargs", "buffer_bytes", "max_deaths", "memory_limit", "items_per_worker",
        "memfree", "memory", "seed", "threads_per_worker", "env", "finalizer")  # fmt: skip
MAP = ("ordered", "chunk", "timeout", "retries", "retry_delay", "on_error", "at_most_once", "drop_none")
CALL = ("timeout", "retries", "retry_delay", "priority", "at_most_once", "args", "kwargs")


@pytest.fixture
def pool():
    with Pool(1) as pool:
        yield pool


def refused(attempt, *others):
    """Whether an attempt is refused in one sentence of ours; `others` may be raised too."""
    try:
        attempt()
    except ConfigError as error:
        sentence = str(error)
    except others:
        return True
    else:
        return False
    return 10 < len(sentence) < 400 or pytest.fail(f"no sentence: {sentence!r}")


@pytest.mark.parametrize("name", POOL)
@pytest.mark.filterwarnings("ignore:memory_limit is")
def test_a_pool_refuses_what_it_cannot_use_before_it_starts(name):
    values = [value for value in HOSTILE if value is not int]  # it could be called
    assert sum(refused(lambda value=value: Pool(1, **{name: value}).terminate()) for value in values)


@pytest.mark.parametrize("name", MAP)
def test_a_map_refuses_what_it_cannot_use(pool, name):
    def in_a_map(value):
        assert list(pool.map(abs, [-1], **{name: value})) == [1]

    def in_a_stream(value):
        results = []
        run(Stream([-1]).map(abs, **{name: value}).to(results), pool=pool)
        assert results == [1]

    for value in HOSTILE:
        assert refused(lambda value=value: in_a_map(value)) == refused(lambda value=value: in_a_stream(value))
        assert list(pool.map(abs, [-3])) == [3]


@pytest.mark.parametrize("name", CALL)
def test_a_call_refuses_what_it_cannot_use(pool, name):
    allowed = (TypeError, ItemError, RuntimeError) if name in {"args", "kwargs"} else ()  # as abs() says itself
    for value in HOSTILE:
        options = {"args": (-1,), name: value}
        refused(lambda options=options: pool.call(abs, **options).result(60), *allowed)
        assert pool.submit(abs, -3).result() == 3


def test_waits_and_sizes_refuse_what_they_cannot_use(pool):
    for value in HOSTILE:
        future = pool.submit(abs, -1)
        for wait in (future.result, future.exception):
            refused(lambda wait=wait, value=value: wait(value), TimeoutError)
        refused(lambda value=value: pool.resize(value))
        pool.resize(1)
        assert list(pool.map(abs, [-3])) == [3]
        other = Pool(1)
        if refused(lambda other=other, value=value: other.close(value)):
            assert other.submit(abs, -1).result() == 1
        other.terminate()


def test_workers_that_cannot_be_are_refused():
    for value in [*HOSTILE[:9], *HOSTILE[10:11], *HOSTILE[12:], f"{HUGE:x}", "auto:" + "9" * 5000, "+" + "9" * 5000]:
        with pytest.raises(ConfigError):
            Pool(value)


def test_what_is_no_function_is_named_whatever_its_class_does(pool):
    for value in (NamelessKind(), Bad(), HUGE, None):
        for attempt in (
            lambda value=value: pool.map(value, [1]),
            lambda value=value: pool.map(value, value),
            lambda value=value: pool.submit(value),
            lambda value=value: pool.run_on_all(value),
            lambda value=value: Stream([1]).map(value),
            lambda value=value: Stream([1]).filter(value),
        ):
            with pytest.raises(ConfigError, match="function"):
                attempt()


def give(*args, **kwargs):
    if kwargs.get("die"):
        os._exit(1)
    return args


def test_failures_of_calls_name_the_call():
    with Pool(1, max_deaths=1) as pool:
        with pytest.raises(WorkerDiedError, match=r"while it ran call of give\(3, 'aaaa.{,40}…, die=True\)"):
            pool.submit(give, 3, "a" * 10**6, die=True).result()
        with pytest.raises(WorkerDiedError, match=r"call of give\(0, 1, 2, 3, 4, 5, …\)"):
            pool.submit(give, *range(10**4), die=True).result()
        with pytest.raises(ItemTimeoutError, match=r"^call of sleep\(600\) timed out"):
            pool.call(time.sleep, (600,), timeout=0.05).result()


def test_a_retry_that_is_due_waits_for_room_without_a_clock():
    counts = StageCounts()
    recovery = Recovery(RetryPolicy(1, 1.0), counts, lambda assembly: None)
    recovery.again._later = [(time.monotonic() - 1, "due"), (time.monotonic() + 600, "later")]
    assert recovery.again.wait_s > 1
    assert recovery.again.head == "due"
    assert recovery.again.next() == "due"
    assert recovery.again.next() is None


def test_long_delays_are_waits_like_others(pool):
    call = pool.call(int, ("x",), retries=1, retry_delay=1e9)
    assert list(pool.map(abs, [-3])) == [3]
    pool.cancel(call)
