"""GNU parallel's grammar of --halt, and the count that leads to a halt."""

import pytest

from orchestrator.cli.flags.halt import NEVER, Halt, HaltCount, parse_halt
from orchestrator.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("never", NEVER),
        ("never,fail=1", NEVER),  # as GNU parallel has it
        ("soon,fail=1", Halt("soon", "fail", 1)),
        ("now,fail=30%", Halt("now", "fail", 30, percent=True)),
        ("now,success=2", Halt("now", "success", 2)),
        ("soon,done=100%", Halt("soon", "done", 100, percent=True)),
        ("0", NEVER),
        ("1", Halt("soon", "fail", 1)),
        ("2", Halt("now", "fail", 1)),
        ("-1", Halt("soon", "success", 1)),
        ("-2", Halt("now", "success", 1)),
        ("7%", Halt("soon", "fail", 7, percent=True)),
    ],
)
def test_what_is_written_and_what_it_means(text, meaning):
    assert parse_halt(text) == meaning
    assert parse_halt(str(meaning)) == meaning


@pytest.mark.parametrize(
    "text", ["", "now", "soon,fail", "now,fail=", "now,fail=-1", "now,fail=x", "now,fail=1.5%", "3", "NOW,fail=1",
             "now,fail=5%%", "now,lost=1", "soon,fail=1,done=2", "%", "\u0661%"]
)  # fmt: skip
def test_what_means_nothing_is_refused_and_named(text):
    with pytest.raises(ConfigError, match="--halt "):
        parse_halt(text)


def halted_after(text, outcomes, total):
    """How many outcomes ("f" or "s") it takes; None: it goes on to the end."""
    count = HaltCount(parse_halt(text), total)
    for number, outcome in enumerate(outcomes, 1):
        if count.add(failed=outcome == "f", succeeded=outcome == "s"):
            assert count.reached
            return number
    return None


@pytest.mark.parametrize(
    ("text", "outcomes", "total", "after"),
    [
        ("never", "ffff", 4, None),
        ("soon,fail=1", "ssfs", 4, 3),
        ("now,fail=2", "fsfs", 4, 3),
        ("now,success=2", "fsfs", 4, 4),
        ("soon,done=2", "fsfs", 4, 2),
        ("now,fail=0", "ssfs", 4, 3),  # one at least
        # These were seen with GNU parallel 20221122.
        ("soon,fail=30%", "fff", 3, 1),
        ("soon,fail=30%", "fffff", 5, 2),
        ("soon,fail=30%", "f" * 10, 10, 3),
        ("soon,fail=30%", "f" * 50, 50, 15),
        ("soon,fail=10%", "s" * 9 + "f" * 11, 20, 11),
        ("now,fail=101%", "ffff", 4, None),
        ("100%", "fsff", 4, None),
        ("soon,done=50%", "sssss", 4, 2),
        # Where the number of all is not known: of those so far, and at least three.
        ("soon,fail=10%", "fsfssssf", None, 8),
        ("soon,fail=50%", "ssssfff" + "f", None, 8),
    ],
)
def test_when_it_halts(text, outcomes, total, after):
    assert halted_after(text, outcomes, total) == after


def test_counts_of_chunks_and_what_is_said():
    count = HaltCount(parse_halt("soon,fail=5"), None)
    assert not count.add(succeeded=996, failed=4)
    assert count.add(succeeded=1_000, failed=2)
    assert count.reason("records") == "--halt soon,fail=5: 6 of 2,002 records so far failed"
    known = HaltCount(parse_halt("now,done=50%"), 8)
    known.add(succeeded=4)
    assert known.reason("commands") == "--halt now,done=50%: 4 of 8 commands finished"
