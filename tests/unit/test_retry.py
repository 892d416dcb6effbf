"""How often an item is tried, after what wait, and how many workers it may take down."""

import pytest

from orchestrator.retry import RetryPolicy, Verdict


def test_by_default_nothing_is_tried_again():
    assert RetryPolicy().delay_before(2) is None


def test_the_wait_doubles_until_the_retries_are_used_up():
    policy = RetryPolicy(retries=4, delay_s=0.5)
    assert [policy.delay_before(n) for n in (2, 3, 4, 5, 6)] == [0.5, 1.0, 2.0, 4.0, None]


def test_without_a_delay_there_is_no_wait():
    assert RetryPolicy(retries=3).delay_before(4) == 0.0


@pytest.mark.parametrize("delay_s", [0, 0.0, 0.001, 1])
def test_any_number_of_retries_can_be_asked_for(delay_s):
    delay = RetryPolicy(retries=10**6, delay_s=delay_s).delay_before(10**6)
    assert delay == 0.0 if not delay_s else delay > 10**9


@pytest.mark.parametrize(
    ("deaths", "alone", "verdict"),
    [
        (1, True, Verdict.RUN_ALONE),
        (2, True, Verdict.RUN_ALONE),
        (3, True, Verdict.GIVE_UP),
        (4, True, Verdict.GIVE_UP),
        (3, False, Verdict.RUN_ALONE),  # something else may have been at fault
        (9, False, Verdict.RUN_ALONE),
    ],
)
def test_only_what_was_alone_with_enough_dead_workers_is_given_up(deaths, alone, verdict):
    assert RetryPolicy(max_deaths=3).after_death(deaths, alone=alone) is verdict


def test_with_one_death_allowed_the_first_one_alone_ends_it():
    assert RetryPolicy(max_deaths=1).after_death(1, alone=True) is Verdict.GIVE_UP
    assert RetryPolicy(max_deaths=1).after_death(1, alone=False) is Verdict.RUN_ALONE
