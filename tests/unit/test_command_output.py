"""What commands wrote, on its way out: order, tags, and when it is too much to hold."""

import io
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.exec import output as command_output
from orchestrator.cli.exec.arguments.sources import InputSettings, rows_of
from orchestrator.cli.exec.feed import CommandFeed, OverdueError
from orchestrator.cli.exec.output import GroupedOutput, _tagged
from orchestrator.cli.session.console import Console


def rows(*words, **options):
    """The rows of arguments that these words behind the command mean."""
    return rows_of(InputSettings(words, **options))[0]


@given(st.lists(st.binary(max_size=6)), st.sampled_from([b"", b"a b\t"]))
def test_every_line_has_its_tag_however_the_output_is_cut(pieces, tag):
    data = b"".join(pieces)
    expected = b"".join(tag + line for line in data.splitlines(keepends=True)) if b"\r" not in data else None
    found = b"".join(_tagged(tag, (piece for piece in pieces if piece)))
    if expected is not None and not any(byte in data for byte in (b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x85")):
        assert found == expected
    assert found.count(b"\n") == data.count(b"\n")


@pytest.fixture
def feed():
    feed = CommandFeed(rows(*map(str, range(8))), slots=lambda: 100)
    yield feed
    feed.close()


def begin(feed, count):
    """Take so many commands off the feed, each of which writes its argument."""
    for _ in range(count):
        assert feed.ready()
        running = feed.running[next(feed).seq]
        running.out.write(running.command.arguments[0].encode() * 3)


def output(sink, **options):
    return GroupedOutput(sink, Console(None, data_on_stdout=False), to_stdout=False, **options)


def test_outputs_wait_for_their_turn_and_are_all_passed_on_in_the_end(feed):
    sink = io.BytesIO()
    grouped = output(sink, ordered=True, done={1, 3})
    begin(feed, 8)
    for seq, expected in ((2, b""), (0, b"000222"), (6, b"000222"), (4, b"000222444"), (7, b"000222444")):
        grouped.put(feed.back(seq))
        assert sink.getvalue() == expected
    grouped.flush()
    assert sink.getvalue() == b"000222444666777"


def test_unordered_ones_pass_at_once(feed):
    sink = io.BytesIO()
    grouped = output(sink, ordered=False)
    begin(feed, 3)
    for seq in (2, 0, 1):
        grouped.put(feed.back(seq))
    assert sink.getvalue() == b"222000111"


@pytest.mark.parametrize(
    ("limit", "value"), [("_MOST_HELD", 3), ("_MOST_HELD_BYTES", 9), ("_MOST_HELD_FILES", 3)]
)
def test_what_is_held_has_limits(feed, monkeypatch, limit, value):
    monkeypatch.setattr(command_output, limit, value)
    if limit == "_MOST_HELD_FILES":
        monkeypatch.setattr(command_output, "_SMALL_BYTES", 2)
    sink = io.BytesIO()
    grouped = output(sink, ordered=True)
    begin(feed, 4)
    for seq, room in ((1, True), (2, True), (3, False), (0, True)):
        grouped.put(feed.back(seq))
        assert grouped.has_room == room
    assert sink.getvalue() == b"000111222333"


def test_a_feed_gives_what_failed_again_and_ends_when_nothing_can_come_any_more():
    slots = SimpleNamespace(count=2)
    feed = CommandFeed(rows("a", "b", "c"), retries=1, done={1}, slots=lambda: slots.count)
    first, second = next_of(feed), next_of(feed)
    assert [(each.seq, each.arguments) for each in (first, second)] == [(0, ("a",)), (2, ("c",))]
    assert not feed.ready()  # both slots are taken
    slots.count = 3
    assert not feed.ready()  # nothing is left, but what runs may fail
    running = feed.back(0)
    running.close()
    assert feed.try_again(running)
    assert feed.given_up == 0
    again = next_of(feed)
    assert (again.seq, again.attempt) == (0, 2)
    running = feed.back(0)
    assert not feed.try_again(running)
    running.close()
    assert not feed.ready()
    feed.back(2).close()
    assert feed.ready()
    assert list(feed) == []


def test_a_feed_that_is_stopped_gives_nothing_and_ends_with_what_runs():
    feed = CommandFeed(rows("a", "b", "c"), retries=1, retry_delay_s=1e6, slots=lambda: 2)
    first, second = next_of(feed), next_of(feed)
    running = feed.back(first.seq)
    running.close()
    assert feed.try_again(running)
    assert feed.wait_s > 1e5
    feed.stop()
    assert (feed.ready(), feed.wait_s, feed.given_up) == (False, None, 1)
    assert not feed.try_again(feed.running[second.seq])
    feed.overdue = True
    with pytest.raises(OverdueError):
        feed.ready()
    feed.back(second.seq).close()
    assert feed.ready()
    assert list(feed) == []


def next_of(feed):
    assert feed.ready()
    return next(feed)
