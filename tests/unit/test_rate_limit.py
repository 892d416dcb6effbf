"""A rate limit by a clock of the test: how many turns there are in a second, who waits how long, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ConfigError, RateLimit, Stream, Workflow
from orchestrator.errors import ResourceTimeoutError
from workers.resources.rate_limit import Rated


class Timed(RateLimit):
    """A limit whose time passes only while somebody waits for it, or as the test says."""

    def __init__(self, *args, **options):
        self.now_s = 1000.0
        super().__init__(*args, **options)

    def clock(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


@given(
    steps=st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0, 0.01, 0.3, 2.0])), max_size=60),
    rate=st.sampled_from([1, 4, 10]),
    burst=st.integers(1, 5),
)
def test_no_second_has_more_than_its_turns_and_none_is_lost_while_somebody_waits(steps, rate, burst):
    limit, went = Timed(rate, burst), []
    for count, pause_s in steps:
        for _ in range(count):
            limit.acquire()
            went.append(limit.now_s)
        limit.now_s += pause_s
    for start in went:
        assert sum(start <= time < start + 1 - 1e-6 for time in went) <= rate + burst - 1
    waited = sum(later - earlier for earlier, later in zip(went, went[1:], strict=False))
    assert waited <= len(went) / rate + sum(pause_s for _, pause_s in steps) + 1e-3


def test_what_nobody_took_is_there_at_once_up_to_the_burst():
    limit = Timed(2, burst=3)
    limit.now_s += 1000
    for _ in range(3):
        limit.acquire(timeout=0)
    with pytest.raises(ResourceTimeoutError, match=r"no turn within 0 s: the limit is 2 a second, the next turn is due in 0.5 s"):
        limit.acquire(timeout=0)
    limit.acquire(timeout=0.6)
    assert limit.now_s == pytest.approx(2000.5)


def test_a_wait_that_would_be_too_long_is_not_begun():
    limit = Timed(0.1)
    limit.acquire()
    with pytest.raises(TimeoutError):
        limit.acquire(timeout=5)
    assert limit.now_s == 1000


def test_a_function_keeps_to_it_and_its_name():
    limit = Timed(4)
    call = Rated(divmod, limit)
    assert [call(7, 2) for _ in range(5)] == [(3, 1)] * 5
    assert limit.now_s == pytest.approx(1001)
    assert (call.__name__, repr(limit), repr(RateLimit(0.5))) == ("divmod", "Timed(4)", "RateLimit(0.5)")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: RateLimit(0), "per_second"),
        (lambda: RateLimit(float("inf")), "per_second"),
        (lambda: RateLimit(True), "per_second"),
        (lambda: RateLimit(10**400), "per_second"),
        (lambda: RateLimit(1, 0), "burst"),
        (lambda: RateLimit(1, 10**400), "burst"),
        (lambda: RateLimit(1, 1.5), "burst"),
        (lambda: Stream([]).map(abs, rate=0), "rate"),
        (lambda: Stream([]).map(abs, rate="fast"), "rate must be a number of calls a second"),
        (lambda: Stream([]).map(Workflow().step("a", abs), rate=1), "pace of one function"),
        (lambda: Stream([]).sort(rate=1), "sort has no rate"),
        (lambda: Stream([]).map_inline(abs, rate=1), "map_inline has no rate"),
    ],
)
def test_what_cannot_be_is_refused(make, told):
    with pytest.raises(ConfigError, match=told):
        make()


@pytest.mark.parametrize("per_second", [5e-324, 1e-320, 1.7e308])
def test_the_slowest_and_the_fastest_rate_can_be_kept(per_second):
    limit = RateLimit(per_second)
    limit.acquire(0)
    if per_second < 1:
        with pytest.raises(TimeoutError, match="no turn within 0 s"):
            limit.acquire(0)
