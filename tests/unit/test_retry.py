"""How often an item is tried, after what wait, and how many workers it may take down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.core.retry import RetryPolicy, Verdict
from orchestrator.errors import ConfigError, ItemTimeoutError, WorkerDiedError
from orchestrator.settings import MapOptions, exception_class, retries_by_name
from workers.errors.describe import class_names


class OwnError(ConnectionResetError, KeyError):
    """Has two lines of ancestors."""


KINDS = [
    BaseException, Exception, OSError, ConnectionError, ConnectionResetError, LookupError, KeyError, OwnError,
    TimeoutError, ItemTimeoutError, ValueError, UnicodeDecodeError,
]  # fmt: skip


def test_by_default_nothing_is_tried_again():
    assert RetryPolicy().delay_after(1) is None


@given(st.dictionaries(st.sampled_from(KINDS), st.integers(0, 5)), st.sampled_from(KINDS), st.integers(1, 7))
def test_the_nearest_class_decides_as_an_except_clause_for_each_class_of_the_mro_would(limits, kind, failures):
    allowed = next((limits[each] for each in kind.__mro__ if each in limits), 0)
    delay = RetryPolicy(retries_by_name(limits)).delay_after(failures, class_names(kind))
    assert delay == (0.0 if failures <= allowed else None)


@given(st.floats(1e-6, 1e6), st.integers(1, 10**6), st.integers(0, 10**9), st.integers(0, 2**64))
def test_the_wait_is_between_half_and_whole_of_the_doubled_delay_and_ends_somewhere(delay_s, failures, index, seed):
    policy = RetryPolicy(10**6, delay_s, seed=seed)
    wait = policy.delay_after(failures, (), index)
    most = min(delay_s * 2.0 ** min(failures - 1, 64), max(600.0, delay_s))
    assert most / 2 <= wait <= most
    assert policy.delay_after(failures, (), index) == wait  # the same again, whatever came in between


def test_items_that_failed_together_are_not_tried_together_again():
    waits = {RetryPolicy(1, 1.0, seed=seed).delay_after(1, (), index) for seed in range(3) for index in range(50)}
    assert len(waits) == 150
    assert max(waits) - min(waits) > 0.4


def test_without_a_delay_there_is_no_wait():
    assert RetryPolicy(retries=3).delay_after(3) == 0.0
    assert RetryPolicy(retries=3).delay_after(4) is None


@pytest.mark.parametrize(
    ("retries", "said"),
    [
        (-1, "at least 0"),
        (True, "at least 0"),
        ("3", "at least 0"),
        ({KeyError: -1}, "at least 0"),
        ({"KeyError": 1}, "must be exception classes"),
        ({int: 1}, "must be exception classes"),
        ({WorkerDiedError: 1}, "max_deaths"),
    ],
)
def test_retries_that_can_not_be(retries, said):
    with pytest.raises(ConfigError, match=said):
        MapOptions(retries=retries)


def test_a_class_by_name(tmp_path):
    assert exception_class("ConnectionError") is ConnectionError
    assert exception_class("ItemTimeoutError") is ItemTimeoutError
    (tmp_path / "mine_of_retry.py").write_text("class Lost(Exception): pass")
    assert class_names(exception_class("mine_of_retry:Lost", str(tmp_path)))[0] == "mine_of_retry.Lost"
    for name, said in [
        ("ConectionError", "did you mean 'ConnectionError'"),
        ("print", "no exception 'print'"),
        ("mine_of_retry:Last", "did you mean 'Lost'"),
        ("os:getcwd", "no exception"),
    ]:
        with pytest.raises(ConfigError, match=said):
            exception_class(name, str(tmp_path))


@pytest.mark.parametrize(
    ("deaths", "single", "verdict"),
    [
        (1, True, Verdict.RUN_ALONE),
        (2, True, Verdict.RUN_ALONE),
        (3, True, Verdict.GIVE_UP),
        (4, True, Verdict.GIVE_UP),
        (3, False, Verdict.RUN_ALONE),  # another item of the chunk may have been at fault
        (9, False, Verdict.RUN_ALONE),
    ],
)
def test_only_a_single_item_with_enough_dead_workers_is_given_up(deaths, single, verdict):
    assert RetryPolicy(max_deaths=3).after_death(deaths, single=single) is verdict


def test_with_one_death_allowed_the_first_one_of_a_single_item_ends_it():
    assert RetryPolicy(max_deaths=1).after_death(1, single=True) is Verdict.GIVE_UP
    assert RetryPolicy(max_deaths=1).after_death(1, single=False) is Verdict.RUN_ALONE
