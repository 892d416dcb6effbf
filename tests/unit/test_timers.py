"""Looks from time to time: when the next is due, and what is called."""

from orchestrator.local.timers import Timers


def test_what_is_due_is_called_and_the_next_wait_is_the_shortest():
    timers, called = Timers(), []
    assert timers.wait_s is None
    timers.run_due()
    soon = timers.start(5.0, lambda: called.append("soon"))
    late = timers.start(60.0, lambda: called.append("late"))
    assert 4.0 < timers.wait_s <= 5.0
    timers.run_due()
    assert not called
    soon.due_s = 0.0
    assert timers.wait_s == 0.0
    timers.run_due()
    assert called == ["soon"]
    assert 4.0 < timers.wait_s <= 5.0
    timers.cancel(soon)
    timers.cancel(soon)
    assert 50.0 < timers.wait_s <= 60.0
    late.due_s = 0.0
    late.act = lambda: timers.cancel(late)
    timers.run_due()
    assert timers.wait_s is None
