"""Fused steps against the plain loop: one item after the other, one step after the other."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.functions.fused import FusedRunner
from workers.functions.runner import CallSpec
from workers.functions.steps import Step, StepCounts, Steps

small = st.integers(-20, 20)


class Raises:
    """`function`, but it fails for some items."""

    def __init__(self, function, bad, error):
        self.function, self.bad, self.error = function, bad, error

    def __call__(self, item):
        if item in self.bad:
            raise self.error(item)
        return self.function(item)


def calls(functions):
    """A function that fails for some of the items."""
    return st.builds(
        Raises,
        st.sampled_from(functions),
        st.frozensets(small, max_size=3),
        st.sampled_from([ValueError, StopIteration, KeyError, SystemExit]),
    )


MAPS = [lambda x: x + 1, lambda x: -x, lambda x: x // 2]
TESTS = [lambda x: x % 2, lambda x: x > 0, lambda x: "", lambda x: True]
SPREADS = [lambda x: [x] * (x % 3), lambda x: range(x, x + 2), lambda x: iter((x, -x)), lambda x: ()]
LABELS = [lambda x: x % 2, lambda x: x % 3, lambda x: -1]


def plain_steps(when):
    kinds = [("map", MAPS), ("filter", TESTS), ("flat_map", SPREADS)]
    return st.one_of(
        [st.builds(Step, st.just(kind), st.just(kind), calls(functions), when) for kind, functions in kinds]
    )


def nesting_steps(chains, when):
    branch = st.builds(
        lambda by, zero, one, default, when: Step("branch", "branch", by, when, ((0, zero), (1, one)), default),
        calls(LABELS),
        chains,
        chains,
        st.none() | chains,
        when,
    )
    chain = st.builds(
        lambda inner, when: Step("chain", "chain", None, when, ((None, inner),)), chains, calls(TESTS)
    )
    return branch | chain


when = st.none() | calls(TESTS)
chains = st.recursive(
    st.lists(plain_steps(when), max_size=4).map(tuple),
    lambda inner: st.lists(plain_steps(when) | nesting_steps(inner, when), max_size=3).map(tuple),
    max_leaves=4,
)


class ItemFailedError(Exception):
    """An item failed, in a step."""


def through(steps, item):
    """All that comes of an item: the plain, recursive telling of what steps mean."""
    values = [item]
    for step in steps:
        values = [result for value in values for result in one(step, value)]
    return values


def one(step, value):
    try:
        if step.when is not None and not step.when(value):
            return [value]
        if step.kind == "map":
            return [step.function(value)]
        if step.kind == "filter":
            return [value] if step.function(value) else []
        if step.kind == "flat_map":
            return list(step.function(value))
        if step.kind == "chain":
            return through(step.branches[0][1], value)
        chosen = dict(step.branches).get(step.function(value), step.default)
        if chosen is None:
            raise LookupError
        return through(chosen, value)
    except ItemFailedError:
        raise
    except BaseException as error:
        raise ItemFailedError(step.name, type(error).__name__) from None


def expected(steps, items):
    """Results of each item, None where it failed."""
    found = []
    for item in items:
        try:
            found.append(through(steps, item))
        except ItemFailedError:
            found.append(None)
    return found


def run(steps, chunks, *, stop=False):
    """Run chunks after each other; return for each the answer."""
    made = Steps(steps)
    runner = FusedRunner(CallSpec(made, False, stop, False), made)
    return [runner.run(chunk, lambda: False) for chunk in chunks]


def cut(items, size):
    return [items[start : start + size] for start in range(0, len(items), size)]


some_items = st.lists(small, max_size=40)


@settings(max_examples=400, deadline=None)
@given(chains, some_items, st.integers(1, 41))
def test_every_item_gives_what_the_plain_loop_gives(steps, items, size):
    for chunk, answer in zip(cut(items, size), run(steps, cut(items, size)), strict=True):
        model = expected(steps, chunk)
        assert [position for position, _ in answer.failures] == [i for i, r in enumerate(model) if r is None]
        assert [list(group) for group in answer.by_item(stop=False)] == [r for r in model if r is not None]
        assert answer.flat() == [value for r in model if r is not None for value in r]


@settings(max_examples=400, deadline=None)
@given(chains, some_items, st.integers(1, 41))
def test_where_a_failure_ends_all_nothing_behind_it_comes_out(steps, items, size):
    for chunk, answer in zip(cut(items, size), run(steps, cut(items, size), stop=True), strict=True):
        model = expected(steps, chunk)
        first = model.index(None) if None in model else len(model)
        assert [position for position, _ in answer.failures] == [first] * (first < len(model))
        assert [list(group) for group in answer.by_item(stop=True)] == model[:first]


@settings(max_examples=200, deadline=None)
@given(st.lists(plain_steps(st.none()), min_size=1, max_size=5).map(tuple), some_items, st.integers(1, 41))
def test_the_failing_step_is_named_and_the_counts_add_up(steps, items, size):
    named = tuple(Step(f"{i}", s.kind, s.function, workflow="w") for i, s in enumerate(steps))
    totals = [StepCounts() for _ in steps]
    failed = Counter()
    for answer in run(named, cut(items, size)):
        assert len(answer.tally) == 5 * len(steps)
        for number, counts in enumerate(totals):
            counts.add(*answer.tally[5 * number : 5 * number + 5])
        assert all(record.workflow == "w" for _, record in answer.failures)
        failed.update(record.step for _, record in answer.failures)
    assert sum(failed.values()) == expected(steps, items).count(None)
    assert totals[0].items_in == len(items)
    for number, (step, counts) in enumerate(zip(steps, totals, strict=True)):
        assert counts.failed >= failed[str(number)]
        assert bool(counts.failed) == bool(failed[str(number)])
        if step.kind == "map":
            assert counts.items_in == counts.items_out + counts.failed
    for before, after in zip(totals, totals[1:], strict=False):
        assert after.items_in <= before.items_out
        assert after.items_in == before.items_out or before.failed


def test_names_stand_in_the_order_of_the_counts():
    inner = (Step("b/x/one", "map", abs), Step("b/x/two", "map", abs))
    steps = Steps((Step("a", "map", abs), Step("b", "branch", abs, None, (("x", inner),), ()), Step("a", "map", abs)))
    assert steps.names == ("a", "b", "b/x/one", "b/x/two", "a-2")


def test_an_unknown_label_is_named():
    [answer] = run((Step("kind", "branch", abs, None, ((1, ()), (2, ()))),), [[1, -2, 3]])
    assert answer.flat() == [1, -2]
    [(position, record)] = answer.failures
    assert (position, record.type_name, record.step) == (2, "UnknownLabelError", "kind")
    assert record.text == "no branch for 3; there are 1, 2"


def test_a_truth_that_raises_is_the_item_s_failure():
    class Vague:
        def __bool__(self):
            raise ValueError("neither")

    [answer] = run((Step("f", "filter", lambda x: Vague() if x else True),), [[0, 1, 0]])
    assert (answer.flat(), [p for p, _ in answer.failures]) == ([0, 0], [1])


@pytest.mark.parametrize("items", [range(7), (1, 2), [1]])
def test_any_sequence_will_do(items):
    [answer] = run((Step("f", "filter", lambda x: True),), [items])
    assert answer.flat() == list(items)
    assert type(answer.flat()) is list


def test_an_abandoned_chunk_ends_between_two_slices():
    seen = []
    made = Steps((Step("see", "map", seen.append),))
    FusedRunner(CallSpec(made, False, False, False), made).run(list(range(100)), lambda: True)
    assert seen == [0]
