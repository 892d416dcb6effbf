"""What holds commands back: --delay, --load, --limit, and the time that --timeout N% gives."""

import pytest

from orchestrator.cli.exec.feed import Pace
from orchestrator.cli.exec.options.parse import parse_exec
from orchestrator.cli.exec.tally import CommandTally


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        ((), True),
        (("--limit", "true"), True),
        (("--limit", "exit 1"), False),
        (("--load", "1000000"), True),
        (("--load", "0"), False),
        (("--load", "0", "--limit", "true"), False),
    ],
)
def test_a_load_or_a_limit_holds_the_next_command_back_for_a_while(monkeypatch, options, begins):
    monkeypatch.setattr("os.getloadavg", lambda: (1.0, 0.0, 0.0))
    pace = Pace(parse_exec([*options, "true"]).pace, "/bin/sh")
    assert pace.may_begin() == begins
    assert (pace.wait_s is None) == begins


def test_a_delay_lies_between_two_starts():
    pace = Pace(parse_exec(["--delay", "1000", "true"]).pace, "/bin/sh")
    assert pace.may_begin()
    pace.begun()
    assert not pace.may_begin()
    assert 0 < pace.wait_s <= 1000


def test_a_share_of_the_median_is_of_those_that_succeeded():
    tally = CommandTally(keeps_times=True, times_s=[1.0, 2.0])
    assert tally.share_of_median(2.0) is None
    tally.times_s.append(30.0)
    assert tally.share_of_median(2.0) == 4.0
    assert tally.share_of_median(0.0) > 0
