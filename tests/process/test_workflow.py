"""Workflows over a pool, against plain Python."""

import pytest

from orchestrator import ConfigError, Failure, ItemError, Workflow


def parse(text):
    return {"id": int(text), "score": int(text) % 7 / 7}


def validate(item):
    if item["id"] == 41:
        raise ValueError("forty-one")
    return {**item, "valid": True}


def needs_it(item):
    return item["id"] % 2


def enrich(item):
    return {**item, "name": f"item {item['id']}"}


def good(item):
    return item["score"] > 0.5


def to_line(item):
    return f"{item['name']}:{item['score']:.2f}:{item.get('valid', False)}"


FLOW = (
    Workflow("clean")
    .step("parse", parse)
    .step("validate", validate, when=needs_it)
    .step("enrich", enrich)
    .filter("keep", good)
    .step("format", to_line)
)
TEXTS = [str(i) for i in range(200)]


def plain(text):
    item = parse(text)
    item = enrich(validate(item) if needs_it(item) else item)
    return [to_line(item)] if good(item) else []


def test_parse_validate_if_needed_enrich_keep_format(pool):
    results = pool.map(FLOW, TEXTS, on_error="return")
    got = list(results)
    failures = [r for r in got if isinstance(r, Failure)]
    assert [r for r in got if not isinstance(r, Failure)] == [line for t in TEXTS if t != "41" for line in plain(t)]
    assert "failed in step 'validate' of workflow 'clean': ValueError: forty-one" in str(failures[0].error)
    steps = results.stats.steps
    assert (steps["parse"].items_in, steps["parse"].items_out) == (200, 200)
    assert (steps["validate"].skipped, steps["validate"].failed, steps["validate"].items_out) == (100, 1, 199)
    assert steps["keep"].items_in - steps["keep"].items_out == 199 - steps["format"].items_in
    assert all(counts.seconds > 0 for counts in steps.values())


def seen(item):
    with open(item["log"], "a") as log:
        log.write(f"{item['stage']}\n")
    return {**item, "stage": item["stage"] + 1}


def test_before_a_barrier_nothing_goes_on(pool, tmp_path):
    """Each line of the log is one write of one process."""
    log = tmp_path / "log"
    flow = Workflow("w").step("one", seen).barrier().step("two", seen).step("three", seen).barrier().step("four", seen)
    results = pool.map(flow, ({"log": str(log), "stage": 1} for _ in range(50)), chunk=2)
    assert [item["stage"] for item in results] == [5] * 50
    lines = [int(line) for line in log.read_text().split()]
    assert lines[:50] == [1] * 50
    assert sorted(lines[50:150]) == [2] * 50 + [3] * 50
    assert lines[150:] == [4] * 50
    assert [counts.items_out for counts in results.stats.steps.values()] == [50] * 4
    assert results.stats.items == 50


def fails_on_3(x):
    return x + 0 * (1 // (x - 3))


def fails_on_5(x):
    return x + 0 * (1 // (x - 5))


def test_failures_before_a_barrier_are_no_items_behind_it(pool):
    flow = Workflow("w").step("three", fails_on_3).barrier().step("five", fails_on_5).flat_map("twice", lambda x: [x, x])
    expected = [x for x in range(4, 12) if x != 5 for _ in "ab"]
    results = pool.map(flow, range(4, 12), on_error="skip")
    assert list(results) == expected
    results = pool.map(flow, range(3, 12), on_error="return")
    got = list(results)
    assert got[0].error.step == "three"
    assert [r.error.step for r in got if isinstance(r, Failure)] == ["three", "five"]
    assert [r for r in got if not isinstance(r, Failure)] == expected
    assert results.stats.failures == 2
    with pytest.raises(ItemError, match="in step 'three' of workflow 'w'"):
        list(pool.map(flow, range(12)))


def test_all_failing_before_a_barrier_are_told(pool):
    flow = Workflow().step("a", fails_on_3).barrier().step("b", abs)
    assert [f.error.step for f in pool.map(flow, [3, 3], on_error="return")] == ["a", "a"]
    assert list(pool.map(flow, [], on_error="return")) == []


def test_a_consumer_may_leave_a_workflow_with_barriers(pool):
    with pool.map(Workflow().step("a", abs).barrier().step("b", abs), range(1000), chunk=1) as results:
        assert next(results) == 0
    unstarted = pool.map(Workflow().step("a", abs).barrier().step("b", abs), range(1000))
    unstarted.close()
    assert list(pool.map(abs, [-1])) == [1]


def test_a_workflow_takes_one_iterable(pool):
    with pytest.raises(ConfigError, match="one item at a time"):
        pool.map(FLOW, TEXTS, TEXTS)
    with pytest.raises(ConfigError, match="no steps"):
        pool.map(Workflow(), TEXTS)
