"""What has not begun of a chunk that runs is given back, and each item has one result, in order."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.core.reorder import ReorderBuffer
from workers.functions.runner import CallRunner, CallSpec


def run(items, function, **spec):
    runner = CallRunner(CallSpec(function, star=False, stop_at_failure=False, forward_output=False, **spec))
    functions.append(runner)
    return runner.run(items, lambda: False)


functions = []


@pytest.mark.parametrize("kind", [list, tuple, range])
@pytest.mark.parametrize("asked_at", [0, 3, 9])
def test_the_chunk_ends_with_the_item_that_has_begun(kind, asked_at):
    given_back = []

    def function(x):
        if x == asked_at:
            given_back.append(functions[-1].give_back())
            given_back.append(functions[-1].give_back())
        return -x

    items = range(10) if kind is range else kind(range(10))
    results, failures = run(items, function)
    assert results == [-x for x in range(asked_at + 1)]
    assert not failures
    assert given_back == [asked_at + 1 if asked_at < 9 else None, None]
    assert functions[-1].give_back() is None


@pytest.mark.parametrize("watched", [False, True])
def test_asked_before_any_line(watched):
    """A signal comes when it likes: what is told to have begun is what has a result, and that is never none."""

    def asked_before(line):
        runner = CallRunner(CallSpec(abs, star=False, stop_at_failure=False, forward_output=False))
        begun, seen = [], 0

        def traced(frame, event, argument):
            nonlocal seen
            if frame.f_code is CallRunner.run.__code__ and event == "line":
                seen += 1
                if seen == line:
                    begun.append(runner.give_back())
            return traced

        before = sys.gettrace()
        sys.settrace(traced)
        try:
            results, failures = runner.run(list(range(-9, 0)), lambda: False, (lambda _: None) if watched else None)
        finally:
            sys.settrace(before)
        return seen, begun, results, failures

    line, told = 0, set()
    while (line := line + 1) <= asked_before(0)[0]:
        _, [begun], results, failures = asked_before(line)
        assert begun is None or 0 < begun < 9
        assert results == list(range(9, 0, -1))[: begun or 9]
        assert not failures
        told.add(begun)
    assert told >= {None, 1}


def test_failures_keep_their_places():
    def function(x):
        if x == 4:
            functions[-1].give_back()
        if x % 2:
            raise StopIteration if x == 1 else ValueError
        return x

    results, failures = run(list(range(10)), function)
    assert results == [0, 2, 4]
    assert [position for position, _ in failures] == [1, 3]


def test_one_that_fails_after_it_gave_back():
    def function(x):
        if x == 4:
            functions[-1].give_back()
            raise StopIteration
        return x

    results, failures = run(list(range(10)), function, watched=True)
    assert results == [0, 1, 2, 3]
    assert [position for position, _ in failures] == [4]


@given(st.data())
def test_what_is_inserted_comes_right_behind(data):
    """Against a list: chunks are inserted behind ones that are not there yet, and arrive in any order."""
    buffer = ReorderBuffer()
    order, away = list(range(data.draw(st.integers(1, 6)))), []
    away += order
    came = []
    while away:
        seq = data.draw(st.sampled_from(away))
        if len(order) < 20 and data.draw(st.booleans()):
            new = buffer.insert(seq)
            order.insert(order.index(seq) + 1, new)
            away.append(new)
            continue
        away.remove(seq)
        buffer.put(seq, seq)
        while (value := buffer.pop()) is not None:
            came.append(value)
    assert came == order
    buffer.put(sum(seq >= 0 for seq in order), "next")
    assert buffer.pop() == "next"
